"""Law 6: never over budget, over restarts too."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.model.budget import FIRST_GRANTS, FULL_GRANT, HELD_SECONDS, Budget, grant

MINUTE, HOUR = 60.0, 3600.0
EDGE = 1e-6
"""What floating point may make of two instants that are exactly a span apart."""


def drive(per_minute, per_hour, steps, *, started=0.0) -> list[float]:
    """Call as soon as it is allowed, `calls` times at each step; restart or wait between steps."""
    now = started
    budget = Budget(per_minute, per_hour, now)
    made = []
    for calls, idle, restart in steps:
        for _ in range(calls):
            while (delay := budget.delay(now)) > 0:
                # A wait below the clock's own resolution must still end.
                now = max(now + delay, math.nextafter(now, math.inf))
            budget.spend(now)
            made.append(now)
        now += idle
        if restart:
            budget = Budget(per_minute, per_hour, now)
    return made


def most_in(span: float, made: list[float]) -> int:
    most = start = 0
    for end, at in enumerate(made):
        while made[start] <= at - span + EDGE:
            start += 1
        most = max(most, end - start + 1)
    return most


STEPS = st.lists(
    st.tuples(st.integers(0, 120), st.sampled_from([0.0, 0.5, 17.0, 60.0, 3600.0]), st.booleans()),
    max_size=8,
)


@settings(deadline=None, max_examples=50)
@given(
    per_minute=st.integers(2, 100),
    per_hour=st.integers(2, 1500),
    steps=STEPS,
    started=st.sampled_from([0.0, 1e6]),
)
def test_no_span_ever_sees_more_calls_than_the_limit(per_minute, per_hour, steps, started):
    made = drive(per_minute, per_hour, steps, started=started)
    assert most_in(MINUTE, made) <= per_minute
    assert most_in(HOUR, made) <= per_hour


@pytest.mark.parametrize(("per_minute", "per_hour"), [(80, 1200), (10, 10_000), (100, 20)])
def test_a_greedy_caller_comes_near_the_limit(per_minute, per_hour):
    made = drive(per_minute, per_hour, [(3000, 0.0, False)])
    hours = made[-1] / HOUR
    assert len(made) >= 0.7 * min(per_hour, per_minute * 60) * hours


@pytest.mark.parametrize(("per_minute", "per_hour"), [(1, 60), (60, 1), (1, 1), (2, 2)])
def test_the_smallest_budget_still_lets_a_call_through(per_minute, per_hour):
    # The settings allow a limit of one; a tenant with it must be read slowly, not never.
    budget = Budget(per_minute, per_hour, 0.0)
    now = 0.0
    for _ in range(100):
        delay = budget.delay(now)
        if delay == 0.0:
            break
        now += delay
    assert budget.delay(now) == 0.0


def test_a_start_has_nothing_to_spend():
    budget = Budget(80, 1200, 1000.0)
    assert budget.left(1000.0) == 0
    assert budget.delay(1000.0) > 0


@settings(deadline=None, max_examples=50)
@given(
    per_minute=st.integers(2, 100),
    per_hour=st.integers(2, 1500),
    idle=st.floats(0, 10_000),
    calls=st.integers(0, 50),
)
def test_what_is_left_can_be_called_at_once(per_minute, per_hour, idle, calls):
    budget = Budget(per_minute, per_hour, 0.0)
    left = budget.left(idle)
    assert (left > 0) == (budget.delay(idle) == 0.0)
    for _ in range(left):
        assert budget.delay(idle) == 0.0
        budget.spend(idle)
    assert budget.delay(idle) > 0


@settings(deadline=None, max_examples=50)
@given(pauses=st.lists(st.floats(0, 5000), min_size=1, max_size=5), per_minute=st.integers(2, 100))
def test_a_pause_is_kept_and_never_shortened(pauses, per_minute):
    budget = Budget(per_minute, 100_000, 0.0)
    for until in pauses:
        budget.pause(until)
    before = max(pauses) * 0.99
    assert budget.delay(before) >= max(pauses) - before
    assert max(pauses) == 0.0 or budget.left(before) == 0
    assert budget.delay(max(pauses) + HOUR) == 0.0


def test_a_clock_that_goes_back_fills_no_bucket():
    budget = Budget(80, 1200, 0.0)
    budget.spend(600.0)
    left = budget.left(600.0)
    budget.spend(0.0)
    assert budget.left(0.0) <= left


def owners(steps) -> list[float]:
    """Call as often as is allowed, through owners one after another; each knows what the last one left.

    A step is how long an owner stays, and whether the tenant is new to it only at the end of that.
    """
    now, left, at = 0.0, FIRST_GRANTS, 0.0
    made = []
    for stays, late in steps:
        granted, left = grant(left, now - at)
        at = now
        if late and stays >= HELD_SECONDS:
            now += HELD_SECONDS
            granted = FULL_GRANT
        budget, end = Budget(80, 1200, now, granted), at + stays
        while now + budget.delay(now) <= end:
            now = max(now + budget.delay(now), now)
            if budget.delay(now) > 0:
                now = math.nextafter(now, math.inf)
                continue
            budget.spend(now)
            made.append(now)
        now = end
    return made


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.1, 1.0, 20.0, 41.0, 125.0, 700.0]), st.booleans()),
        max_size=60,
    )
)
def test_owners_one_after_another_stay_within_what_the_api_allows(steps):
    made = owners(steps)
    assert most_in(MINUTE, made) <= 100
    assert most_in(HOUR, made) <= 1500


def test_take_overs_as_fast_as_can_be_stay_within_what_the_api_allows():
    made = owners([(0.5, False)] * 7200)
    assert len(made) > 100  # or it would prove nothing
    assert most_in(MINUTE, made) <= 13
    assert most_in(HOUR, made) <= 250


def test_an_owner_may_call_at_once_where_take_overs_are_rare():
    granted, _ = grant(0.0, 60.0)
    assert Budget(80, 1200, 5.0, granted).delay(5.0) == 0.0


@pytest.mark.parametrize("elapsed", [-3600.0, 0.0])
def test_a_clock_that_went_back_grants_nothing(elapsed):
    assert grant(0.0, elapsed) == (0.0, 0.0)


def test_a_renewed_budget_keeps_the_pause_that_the_api_asked_for():
    budget = Budget(80, 1200, 0.0)
    budget.pause(500.0)
    assert budget.renewed(100.0, granted=2.0).delay(100.0) == 400.0

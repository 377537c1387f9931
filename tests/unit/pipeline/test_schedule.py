import itertools
import uuid
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ingest.pipeline.schedule import Schedule, obeyed_wait, phase

SCHEDULE = Schedule(interval=60.0, reconcile_interval=3600.0, parked_probe=300.0)


def test_ten_thousand_tenants_do_not_poll_in_step():
    seconds = Counter(int(phase(str(uuid.UUID(int=n))) * 60) for n in range(10_000))
    assert len(seconds) == 60
    assert max(seconds.values()) < 2 * 10_000 / 60


@given(now=st.floats(0, 2e9), tenant=st.uuids().map(str))
def test_a_tenant_keeps_its_place_in_the_interval(now, tenant):
    wait = SCHEDULE.next(tenant, now)
    assert 1.0 < wait <= 61.0 + 1e-6
    distance = abs((now + wait) % 60.0 - phase(tenant) * 60.0)
    assert min(distance, 60.0 - distance) < 1e-3


def test_a_small_fleet_is_read_at_once_after_a_start():
    assert max(SCHEDULE.first(str(uuid.UUID(int=n)), 1e9, 10) for n in range(10)) <= 0.1


def test_a_large_fleet_is_spread_over_at_most_one_interval():
    assert max(SCHEDULE.first(str(uuid.UUID(int=n)), 1e9, 100_000) for n in range(1000)) <= 60.0


@given(failures=st.integers(1, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_the_wait_after_failures_grows_and_is_bounded(failures, chance):
    wait = SCHEDULE.after_failure(failures, chance)
    assert 30.0 <= wait <= 600.0
    assert SCHEDULE.after_failure(failures + 1, chance) >= wait


@given(probes=st.integers(0, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_a_parked_tenant_is_probed_for_ever_but_slowly(probes, chance):
    assert 225.0 <= SCHEDULE.while_parked(probes, chance) <= 300.0 * 16 * 1.25


@given(st.integers(0, 50), st.floats(0, 0.999))
def test_a_refused_credential_is_tried_within_a_minute_first_and_within_a_quarter_hour_ever(
    probes, chance
):
    assert SCHEDULE.while_credential_refused(0, chance) <= 60.0
    assert 30.0 <= SCHEDULE.while_credential_refused(probes, chance) <= 60.0 * 16


def test_a_wait_that_the_api_asks_for_is_obeyed_to_the_second():
    assert obeyed_wait(17.0, default=3.0) == 17.0


def test_an_absurd_wait_becomes_a_rare_probe():
    assert obeyed_wait(1e12, default=3.0) == 3600.0


def test_no_wait_given_means_the_default():
    assert obeyed_wait(None, default=3.0) == 3.0


def test_a_wait_in_the_past_still_pauses_a_moment():
    assert obeyed_wait(-5.0, default=3.0) == 1.0


def tenant_whose_turn_was(seconds, *, before):
    """Return a tenant whose last turn was about so long ago."""
    tenants = (str(uuid.UUID(int=n)) for n in itertools.count())
    return next(x for x in tenants if abs((before - phase(x) * 60.0) % 60.0 - seconds) < 0.1)


def test_a_tenant_that_comes_is_due_at_its_next_turn_or_half_as_long_as_its_last_one_is_ago():
    now = 1.7e9
    for ago, wait in ((1, 0.5), (10, 5), (30, 15), (39, 19.5), (42, 18), (59, 1)):
        tenant = tenant_whose_turn_was(ago, before=now)
        assert abs(SCHEDULE.due(tenant, now) - now - wait) < 0.2


@given(now=st.floats(0, 2e9), tenant=st.uuids().map(str))
def test_a_tenant_that_comes_is_never_due_later_than_at_its_next_turn(now, tenant):
    turn = now + (phase(tenant) * 60.0 - now) % 60.0
    assert now <= SCHEDULE.due(tenant, now) <= min(turn, now + 20.0) + 1e-3


@given(now=st.floats(0, 2e9), fleet=st.integers(1, 100_000))
def test_after_a_start_tenants_are_read_in_the_order_in_which_they_are_due(now, fleet):
    tenants = [str(uuid.UUID(int=n)) for n in range(100)]
    in_order = sorted(tenants, key=lambda tenant: SCHEDULE.due(tenant, now))
    waits = [SCHEDULE.first(tenant, now, fleet) for tenant in in_order]
    assert waits == sorted(waits)
    assert 0 <= waits[0] <= waits[-1] <= min(60.0, fleet / 500) + 1e-6

"""Laws of enrolment: a list done twice is done, and it touches only what came by lists of its kind."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from ingest.model.enrolment import Plan, Signature, at_start, from_file
from ingest.model.roster import Origin, Registration, Standing, decode_registration
from ingest.model.roster import encode_registration as encode
from ingest.model.tenant import Tenant

IDS = [str(uuid.UUID(int=n)) for n in range(6)]
NAMES = st.sampled_from(["contoso", "Contoso", "fabrikam", "litware", "a", "b", "c"])
TENANTS = st.builds(Tenant, st.sampled_from(IDS), NAMES, st.sampled_from(["eu", "us"]))
REGISTRATIONS = st.builds(
    Registration,
    TENANTS,
    st.sampled_from(Standing),
    st.sampled_from(Origin),
    by=st.just("ann"),
    at=st.just(1.0),
)


def folded(one):
    return one.tenant.name.casefold()


def by_id(registrations):
    return {one.tenant.id: one for one in registrations}


def live(roster):
    return [one for one in roster.values() if one.standing is not Standing.REMOVED]


ROSTERS = st.lists(REGISTRATIONS, unique_by=(lambda one: one.tenant.id, folded)).map(by_id)
LISTS = st.lists(TENANTS, unique_by=(lambda one: one.id, lambda one: one.name.casefold()))
UNREADABLE = st.sets(st.sampled_from(IDS), max_size=2)
NOT_TAKEN = (Standing.REMOVED, Standing.AWAITING)
NOW = Signature(by="bob", at=2.0, why="a test")


def world(roster, unreadable):
    """Take out of a roster what cannot be read, as the reader does."""
    return {tenant: one for tenant, one in roster.items() if tenant not in unreadable}


def applied(roster, writes):
    # Through the bytes, as it would be read back.
    written = [decode_registration(one.tenant.id.encode(), encode(one)) for one in writes]
    return roster | by_id(written)


@given(LISTS, ROSTERS, UNREADABLE)
def test_a_file_that_is_applied_twice_changes_nothing_the_second_time(wanted, roster, unreadable):
    roster = world(roster, unreadable)
    after = applied(roster, from_file(wanted, roster, NOW, unreadable).writes)
    assert from_file(wanted, after, NOW, unreadable).writes == ()


@given(LISTS, ROSTERS, UNREADABLE)
def test_a_file_touches_only_what_came_from_files_or_is_not_there(wanted, roster, unreadable):
    roster = world(roster, unreadable)
    plan = from_file(wanted, roster, NOW, unreadable)
    for one in plan.writes:
        before = roster.get(one.tenant.id)
        assert one.tenant.id not in unreadable
        assert one.origin is Origin.FILE
        assert before is None or before.standing in NOT_TAKEN or before.origin is Origin.FILE
        assert (one.by, one.at, one.why) == ("bob", 2.0, "a test")


@given(LISTS, ROSTERS, UNREADABLE)
def test_every_tenant_of_a_file_is_told_of_once(wanted, roster, unreadable):
    roster = world(roster, unreadable)
    plan = from_file(wanted, roster, NOW, unreadable)
    told = len(plan.added) + len(plan.changed) + plan.kept + len(plan.left) + len(plan.refused)
    assert told == len(wanted)
    assert len({one.tenant.id for one in plan.writes}) == len(plan.writes)
    assert {one.tenant.id for one in plan.removed}.isdisjoint(one.id for one in wanted)


@given(LISTS, ROSTERS, UNREADABLE)
def test_no_two_tenants_have_one_name_after_a_file(wanted, roster, unreadable):
    roster = world(roster, unreadable)
    after = live(applied(roster, from_file(wanted, roster, NOW, unreadable).writes))
    assert len({folded(one) for one in after}) == len(after)


@given(LISTS, ROSTERS)
def test_a_pause_outlives_every_file_that_lists_the_tenant(wanted, roster):
    after = applied(roster, from_file(wanted, roster, NOW).writes)
    listed = {one.id for one in wanted}
    for tenant, before in roster.items():
        if before.standing is Standing.PAUSED and tenant in listed:
            assert after[tenant].standing is Standing.PAUSED


@given(LISTS, ROSTERS, UNREADABLE)
def test_a_configuration_only_adds_and_renames_its_own(wanted, roster, unreadable):
    roster = world(roster, unreadable)
    writes = at_start(wanted, roster, NOW, unreadable)
    for one in writes:
        before = roster.get(one.tenant.id)
        assert one.tenant.id not in unreadable
        assert one.origin is Origin.CONFIG
        assert one.standing is Standing.ACTIVE
        assert (
            before is None
            or before.standing is Standing.AWAITING
            or (before.origin is Origin.CONFIG and before.is_read)
        )
    assert at_start(wanted, applied(roster, writes), NOW, unreadable) == []


@given(st.integers(0, 300), st.integers(0, 300), st.none() | st.integers(0, 300))
def test_no_more_than_a_twentieth_goes_unless_a_number_was_given(listed, gone, allowed):
    one = Registration(Tenant(IDS[0], "a", "eu"), Standing.REMOVED, Origin.FILE, by="", at=0.0)
    gone = min(gone, listed)
    plan = Plan(removed=(one,) * gone, listed_before=listed)
    limit = listed / 20 if allowed is None else allowed
    assert plan.removes_too_many(allowed) == (gone > limit)

"""What an operator and a file may ask for, and the words in which it is refused."""

import uuid

import pytest

from ingest.errors import CommandRefused
from ingest.model.enrolment import (
    Signature,
    at_start,
    find,
    from_file,
    to_add,
    to_approve,
    to_change,
    to_order,
    to_standing,
)
from ingest.model.roster import Order, OrderKind, Origin, Registration, Standing
from ingest.model.tenant import Tenant

ONE, TWO, THREE = (str(uuid.UUID(int=n)) for n in (1, 2, 3))
CONTOSO = Tenant(ONE, "Contoso", "eu")
FABRIKAM = Tenant(TWO, "Fabrikam", "eu")
BY = Signature(by="ann@desk", at=7.0, why="asked for")


def registered(tenant=CONTOSO, standing=Standing.ACTIVE, origin=Origin.COMMAND, **more):
    return Registration(tenant, standing, origin, by="bob@desk", at=1.0, **more)


def roster(*registrations):
    return {one.tenant.id: one for one in registrations}


def refusal(function, *arguments):
    with pytest.raises(CommandRefused) as refused:
        function(*arguments)
    assert refused.value.exit_code == 65
    return str(refused.value)


def test_a_new_tenant_is_added_as_read_and_signed():
    record = to_add(CONTOSO, {}, BY)
    assert record == Registration(
        CONTOSO, Standing.ACTIVE, Origin.COMMAND, by="ann@desk", at=7.0, why="asked for"
    )


def test_a_tenant_that_is_registered_just_so_needs_nothing():
    for standing in (Standing.ACTIVE, Standing.PAUSED):
        assert to_add(CONTOSO, roster(registered(standing=standing)), BY) is None


def test_a_removed_tenant_is_added_anew_under_any_name():
    gone = registered(standing=Standing.REMOVED, origin=Origin.FILE)
    record = to_add(Tenant(ONE, "Other", "us"), roster(gone), BY)
    assert record is not None
    assert (record.tenant.name, record.standing, record.origin) == (
        "Other",
        Standing.ACTIVE,
        Origin.COMMAND,
    )


def test_one_tenant_under_two_names_is_refused():
    words = refusal(to_add, Tenant(ONE, "Other", "eu"), roster(registered()), BY)
    assert words.startswith(f"tenant {ONE} is registered as Contoso; it cannot be Other too: ")
    assert f"tenants change {ONE} --name" in words


def test_another_region_of_a_registered_tenant_is_a_change_and_told_so():
    words = refusal(to_add, Tenant(ONE, "Contoso", "us"), roster(registered()), BY)
    assert "is registered in region eu, not us" in words
    assert f"tenants change {ONE} --region us" in words


def test_a_name_that_is_anothers_is_refused_however_it_is_written():
    words = refusal(to_add, Tenant(TWO, "CONTOSO", "eu"), roster(registered()), BY)
    assert words == (
        f"tenant CONTOSO ({TWO}): the name is that of tenant {ONE} already; choose another name"
    )


def test_the_name_of_a_removed_tenant_is_free():
    assert to_add(Tenant(TWO, "Contoso", "eu"), roster(registered(standing=Standing.REMOVED)), BY)


def test_a_record_that_cannot_be_read_is_never_written_over():
    unreadable = {ONE: "of version 2"}
    for words in (
        refusal(to_add, CONTOSO, {}, BY, unreadable),
        refusal(find, ONE.upper(), {}, unreadable),
    ):
        assert f"{ONE}" in words.partition(":")[0]
        assert "is not written over: use the version that wrote it" in words
    assert at_start([CONTOSO], {}, BY, unreadable) == []
    plan = from_file([CONTOSO], {}, BY, unreadable)
    assert plan.writes == ()
    assert "is not written over" in plan.refused[0]


@pytest.mark.parametrize("standing", [Standing.PAUSED, Standing.REMOVED])
def test_a_standing_is_changed_and_its_way_in_kept(standing):
    order = Order(id="x", kind=OrderKind.REFETCH, alert="da1")
    record = to_standing(registered(origin=Origin.FILE, order=order), standing, BY)
    assert record is not None
    assert (record.standing, record.origin, record.by) == (standing, Origin.FILE, "ann@desk")
    assert record.order == (None if standing is Standing.REMOVED else order)


@pytest.mark.parametrize("standing", list(Standing))
def test_what_is_so_already_needs_nothing(standing):
    assert to_standing(registered(standing=standing), standing, BY) is None


def test_only_adding_brings_a_removed_tenant_back():
    gone = registered(standing=Standing.REMOVED)
    for words in (
        refusal(to_standing, gone, Standing.ACTIVE, BY),
        refusal(to_standing, gone, Standing.PAUSED, BY),
        refusal(to_change, gone, FABRIKAM, {}, BY),
    ):
        assert words.startswith(f"tenant Contoso ({ONE}) was removed by bob@desk: add it anew")


def test_a_changed_tenant_is_its_operators_from_then_on():
    known = registered(origin=Origin.FILE, standing=Standing.PAUSED)
    record = to_change(known, Tenant(ONE, "Contoso", "us"), roster(known), BY)
    assert record is not None
    assert (record.tenant.region, record.origin) == ("us", Origin.COMMAND)
    assert record.standing is Standing.PAUSED
    assert to_change(known, CONTOSO, roster(known), BY) is None
    words = refusal(
        to_change, known, Tenant(ONE, "fabrikam", "eu"), roster(known, registered(FABRIKAM)), BY
    )
    assert f"that of tenant {TWO} already" in words


def test_a_tenant_is_found_by_guid_or_name_however_written():
    known = roster(registered(), registered(FABRIKAM))
    assert find(ONE.upper(), known).tenant == CONTOSO
    assert find(" fabriKAM ", known).tenant == FABRIKAM


def test_one_that_is_not_there_is_told_with_the_name_probably_meant():
    known = roster(registered(), registered(FABRIKAM))
    assert refusal(find, "contosso", known) == (
        "no tenant contosso is registered; did you mean Contoso?"
    )
    assert refusal(find, "zzz", known).endswith("see `defender-ingest tenants list`")
    assert refusal(find, THREE, {}).startswith(f"no tenant {THREE} is registered")


def test_a_name_means_who_has_it_now_and_a_removed_one_where_nobody_has():
    gone = registered(standing=Standing.REMOVED)
    heir = registered(Tenant(TWO, "contoso", "eu"))
    assert find("contoso", roster(gone, heir)) == heir
    assert find("contoso", roster(gone)) == gone


def test_a_name_of_several_is_refused_with_their_ids():
    words = refusal(find, "contoso", roster(registered(), registered(Tenant(TWO, "contoso", "eu"))))
    assert words == f"more than one tenant is named contoso: give the GUID, one of {ONE}, {TWO}"


def test_a_file_leaves_alone_what_came_by_another_way_and_says_so():
    plan = from_file([CONTOSO], roster(registered(origin=Origin.PORTAL)), BY)
    assert plan.writes == ()
    assert plan.left == (f"Contoso ({ONE}) came by portal, not from a file",)
    plan = from_file([Tenant(ONE, "c", "eu")], roster(registered(origin=Origin.PORTAL)), BY)
    assert plan.left[0].endswith("not from a file, and is otherwise than the file has it")


def test_two_tenants_of_a_file_may_swap_their_names():
    known = roster(registered(origin=Origin.FILE), registered(FABRIKAM, origin=Origin.FILE))
    plan = from_file([Tenant(ONE, "Fabrikam", "eu"), Tenant(TWO, "Contoso", "eu")], known, BY)
    assert {one.tenant.name for one in plan.changed} == {"Fabrikam", "Contoso"}
    assert plan.refused == ()


def test_a_tenant_of_a_file_cannot_have_a_name_that_another_keeps():
    known = roster(registered(), registered(FABRIKAM, origin=Origin.FILE))
    # Three is to get the name that two would give up, if it could.
    plan = from_file([Tenant(TWO, "contoso", "eu"), Tenant(THREE, "fabrikam", "eu")], known, BY)
    assert plan.writes == ()
    assert [words.split(": ")[0] for words in plan.refused] == [
        f"contoso ({TWO})",
        f"fabrikam ({THREE})",
    ]


def test_a_removed_tenant_that_a_file_lists_comes_back():
    plan = from_file([CONTOSO], roster(registered(standing=Standing.REMOVED)), BY)
    assert [one.standing for one in plan.added] == [Standing.ACTIVE]


def test_what_a_file_names_no_more_is_removed_and_its_record_kept():
    known = roster(registered(origin=Origin.FILE), registered(FABRIKAM, origin=Origin.FILE))
    plan = from_file([CONTOSO], known, BY)
    assert [(one.tenant, one.standing) for one in plan.removed] == [(FABRIKAM, Standing.REMOVED)]
    assert (plan.kept, plan.listed_before) == (1, 2)
    assert plan.removes_too_many(None)
    assert not plan.removes_too_many(1)


AWAITING = registered(Tenant(ONE, ONE, "eu"), Standing.AWAITING, Origin.PORTAL, invitation="i1")


def test_who_awaits_approval_is_read_once_approved_and_keeps_where_it_came_from():
    record = to_approve(AWAITING, CONTOSO, roster(AWAITING), BY)
    assert (record.tenant, record.standing, record.by) == (CONTOSO, Standing.ACTIVE, "ann@desk")
    assert (record.origin, record.invitation) == (Origin.PORTAL, "i1")
    assert to_approve(record, CONTOSO, roster(record), BY) is None


def test_a_paused_or_removed_tenant_cannot_be_approved():
    paused, gone = (registered(standing=one) for one in (Standing.PAUSED, Standing.REMOVED))
    assert f"`tenants resume {ONE}`" in refusal(to_approve, paused, CONTOSO, roster(paused), BY)
    assert f"`defender-ingest tenants add {ONE}" in refusal(to_approve, gone, CONTOSO, {}, BY)
    other = registered(FABRIKAM)
    named = Tenant(ONE, "fabrikam", "eu")
    assert TWO in refusal(to_approve, AWAITING, named, roster(AWAITING, other), BY)


def test_who_awaits_approval_can_be_removed_and_neither_paused_nor_resumed():
    for standing in (Standing.ACTIVE, Standing.PAUSED):
        assert f"`tenants approve {ONE}" in refusal(to_standing, AWAITING, standing, BY)
    assert to_standing(AWAITING, Standing.REMOVED, BY).standing is Standing.REMOVED
    order = Order("x", OrderKind.REWIND, since=1)
    assert "awaits approval" in refusal(to_order, AWAITING, order, BY)


def test_a_list_a_start_and_an_operator_that_name_who_awaits_approval_give_it():
    known = roster(AWAITING)
    (started,) = at_start([CONTOSO], known, BY)
    (listed,) = from_file([CONTOSO], known, BY).added
    added = to_add(CONTOSO, known, BY)
    for record, origin in (
        (started, Origin.CONFIG),
        (listed, Origin.FILE),
        (added, Origin.COMMAND),
    ):
        assert (record.tenant, record.standing, record.origin) == (CONTOSO, Standing.ACTIVE, origin)


def test_a_used_invitation_is_remembered_through_removal_and_return():
    gone = to_standing(AWAITING, Standing.REMOVED, BY)
    assert to_add(CONTOSO, roster(gone), BY).invitation == "i1"
    assert from_file([CONTOSO], roster(gone), BY).added[0].invitation == "i1"

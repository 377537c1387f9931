"""What a consent may register, by what is known already."""

from dataclasses import replace

import pytest

from ingest.model.admission import Admission, newcomer, promoted, standing_of
from ingest.model.invitation import Invitation
from ingest.model.roster import Origin, Registration, Standing
from ingest.model.tenant import Tenant

ONE, TWO = (f"{n}1111111-1111-1111-1111-111111111111" for n in (1, 2))
INVITED = Invitation(id="i1", name="Contoso", region="eu", expires=9, labels={"tier": "gold"})


def registered(tenant, standing=Standing.ACTIVE, invitation=None, name="Fabrikam"):
    return Registration(
        Tenant(tenant, name, "eu"), standing, Origin.COMMAND, "ann", 1.0, invitation=invitation
    )


def roster(*registrations):
    return {one.tenant.id: one for one in registrations}


def test_somebody_new_may_be_registered_invited_or_not():
    assert standing_of(ONE, INVITED, {}) is None
    assert standing_of(ONE, None, roster(registered(TWO, invitation="i1"))) is None


@pytest.mark.parametrize("standing", list(Standing))
def test_whoever_is_known_stays_as_it_is(standing):
    known = roster(registered(ONE, standing))
    assert standing_of(ONE, INVITED, known) is Admission.KNOWN
    assert standing_of(ONE, None, known) is Admission.KNOWN


def test_a_record_that_cannot_be_read_is_known_too():
    assert standing_of(ONE, INVITED, {}, {ONE}) is Admission.KNOWN


@pytest.mark.parametrize("standing", list(Standing))
def test_an_invitation_is_used_by_whoever_came_by_it_however_that_one_stands(standing):
    known = roster(registered(TWO, standing, invitation="i1"))
    assert standing_of(ONE, INVITED, known) is Admission.USED
    both = known | roster(registered(ONE))
    assert standing_of(ONE, INVITED, both) is Admission.USED


@pytest.mark.parametrize(
    ("standing", "found"),
    [
        (Standing.ACTIVE, Admission.ACTIVE),
        (Standing.AWAITING, Admission.AWAITING),
        (Standing.PAUSED, Admission.KNOWN),
        (Standing.REMOVED, Admission.KNOWN),
    ],
)
def test_the_same_administrator_who_looks_again_sees_how_it_stands(standing, found):
    assert standing_of(ONE, INVITED, roster(registered(ONE, standing, invitation="i1"))) is found


def test_an_invited_one_is_written_down_with_its_name_and_not_read_yet():
    one = newcomer(ONE, INVITED, "us", {}, 5.0)
    assert (one.standing, one.origin, one.invitation) == (Standing.AWAITING, Origin.PORTAL, "i1")
    assert one.tenant == Tenant(ONE, "Contoso", "eu", (("tier", "gold"),))
    assert not one.is_read


def test_an_uninvited_one_has_no_name_and_waits():
    one = newcomer(ONE, None, "us", {}, 5.0)
    assert (one.tenant.name, one.tenant.region) == (ONE, "us")
    assert (one.standing, one.invitation) == (Standing.AWAITING, None)
    assert promoted(one, None, roster(one)) is None


def test_who_is_alone_with_an_invitation_is_read():
    one = newcomer(ONE, INVITED, "us", {}, 5.0)
    now = promoted(one, INVITED, roster(one, registered(TWO)))
    assert now == replace(one, standing=Standing.ACTIVE)


def test_of_two_with_one_invitation_none_is_read_by_itself():
    one, two = (newcomer(tenant, INVITED, "us", {}, 5.0) for tenant in (ONE, TWO))
    assert promoted(one, INVITED, roster(one, two)) is None
    assert promoted(two, INVITED, roster(one, two)) is None


@pytest.mark.parametrize("standing", list(Standing))
def test_an_invitation_stays_used_whatever_became_of_its_user_and_its_name(standing):
    one = newcomer(ONE, INVITED, "us", {}, 5.0)
    other = registered(TWO, standing, invitation="i1", name="Renamed")
    assert promoted(one, INVITED, roster(one, other)) is None


def test_a_name_that_another_has_is_for_a_person_to_decide():
    taken = registered(TWO, name="contoso")
    one = newcomer(ONE, INVITED, "us", roster(taken), 5.0)
    assert one.tenant.name == ONE
    assert f"Contoso, which is the name of tenant {TWO}" in one.why
    assert promoted(one, INVITED, roster(one, taken)) is None
    # And where the other one came in between.
    before = newcomer(ONE, INVITED, "us", {}, 5.0)
    assert promoted(before, INVITED, roster(before, taken)) is None


@pytest.mark.parametrize("standing", [Standing.PAUSED, Standing.REMOVED])
def test_what_an_operator_did_meanwhile_holds(standing):
    one = newcomer(ONE, INVITED, "us", {}, 5.0)
    assert promoted(one, INVITED, roster(replace(one, standing=standing))) is None
    assert promoted(one, INVITED, {}) is None

"""Onboarding from the invitation to the first poll, and everything that must lead nowhere."""

import json
import time
from itertools import islice
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from ingest.model.invitation import Invitation, seal_invitation
from tests.harness.onboarding import Administrator, installation

SECONDS = 30
"""Ten are promised; a machine that many share is given thrice that."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(embedded_kafka, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onboarding")
    with installation(embedded_kafka.bootstrap, folder, unconsented=20) as made:
        made.start()
        yield made, iter(made.newcomers)


@pytest.fixture
def one(made):
    """Return an installation that other tests use too: take directories from `fresh`."""
    return made[0]


@pytest.fixture
def fresh(made):
    return made[1]


@pytest.fixture
def two(embedded_kafka, tmp_path):
    with installation(embedded_kafka.bootstrap, tmp_path, replicas=2) as made:
        made.start(0)
        made.start(1)
        yield made


def changed(back, **changes):
    """Return a way back with other words in its query; None takes one away."""
    parts = urlsplit(back)
    query = {**dict(parse_qsl(parts.query)), **changes}
    kept = {name: value for name, value in query.items() if value is not None}
    return f"{parts.path}?{urlencode(kept)}"


def nobody_is_asked_about(made, tenant):
    """Hold that nothing is asked about a directory while another one is polled three times."""
    before, turns = made.calls(tenant), made.calls(made.known)["total"]
    made.wait_for_calls(made.known, turns + 2, 60)
    assert made.calls(tenant) == before


def test_who_consents_by_an_invitation_is_polled_within_seconds(one, fresh):
    tenant = next(fresh)
    path = one.invite("Contoso", "--label", "tier=gold")
    began = time.monotonic()
    page = Administrator(one).consent(path, tenant)
    assert (page.status, page.title) == (200, "It worked")
    after = one.calls(tenant)["total"]
    one.wait_for_calls(tenant, after, SECONDS)
    took = time.monotonic() - began
    print(f"polled {took:.1f} s after the invitation was opened")
    assert took < SECONDS
    row = one.listed()[tenant]
    assert (row["name"], row["standing"], row["origin"]) == ("Contoso", "active", "portal")
    assert row["labels"] == {"tier": "gold"}
    assert row["by"] == "the consent page"


def test_the_invitation_is_used_up_for_everybody_else_and_shows_its_own_user_the_same_again(
    one, fresh
):
    first, second, third = islice(fresh, 3)
    path = one.invite("Litware")
    administrator = Administrator(one)
    back = administrator.decide(administrator.begin(path), "accept", first)
    assert administrator.get(back).title == "It worked"
    again = administrator.get(back)
    assert (again.status, again.title) == (200, "It worked")
    # With its state, but another directory; that one has consented by a link of its own.
    Administrator(one).consent("/", second)
    for tenant in (second, third):
        page = administrator.get(changed(back, tenant=tenant))
        assert (page.status, page.title) == (403, "This invitation has been used")
    assert administrator.get(path).title == "This invitation has been used"
    assert one.listed()[second]["standing"] == "awaiting-approval"
    nobody_is_asked_about(one, second)


def test_without_an_invitation_somebody_has_to_approve(one, fresh):
    tenant = next(fresh)
    page = Administrator(one).consent("/", tenant)
    assert (page.status, page.title) == (200, "Your consent has arrived")
    row = one.listed()[tenant]
    assert (row["standing"], row["state"], row["must_act"]) == (
        *("awaiting-approval", "awaiting-approval"),
        "us",
    )
    nobody_is_asked_about(one, tenant)
    before = one.calls(tenant)["total"]
    one.shell("tenants", "approve", tenant, "--name", "Fabrikam")
    one.wait_for_calls(tenant, before, SECONDS)
    assert one.listed()[tenant]["name"] == "Fabrikam"


def test_forged_and_uninvited_texts_ask_nobody_and_change_nothing(one, fresh):
    tenant, other = islice(fresh, 2)
    path = one.invite("Proseware", "--tenant", tenant)
    administrator = Administrator(one)
    back = administrator.decide(administrator.begin(path), "accept", tenant)
    tokens = one.calls(tenant)["tokens"]
    forger = Invitation(id="x", name="Mallory", region="simulated", expires=2**32)
    forged = seal_invitation(forger, [b"m" * 40])
    assert administrator.get(f"/invitation/{forged}").title == "This link is not valid"
    assert administrator.get("/invitation/x").title == "This link is not valid"
    told = {
        "This link is not valid": changed(back, state=forged),
        "Please begin here": changed(back, state=None),
        "This was another directory": changed(back, tenant=other),
        "Microsoft could not finish it": changed(back, tenant="../../etc"),
        "You have not consented": changed(back, error="access_denied"),
    }
    for title, path_back in told.items():
        assert administrator.get(path_back).title == title
    # Somebody else's browser, with a state that is ours.
    stranger = Administrator(one)
    assert stranger.get(back).title == "This did not begin in this browser"
    stranger.begin("/")
    assert stranger.get(back).title == "This did not begin in this browser"
    assert not {tenant, other} & one.listed().keys()
    assert one.calls(tenant)["tokens"] == tokens
    nobody_is_asked_about(one, other)
    assert administrator.get(back).title == "It worked"


def test_declined_and_wrong_roles_are_told_and_can_be_mended_with_the_same_invitation(one, fresh):
    tenant = next(fresh)
    path = one.invite("Tailspin")
    administrator = Administrator(one)
    page = administrator.consent(path, tenant, "cancel")
    assert page.title == "You have not consented"
    assert "AADSTS65004" in page.text
    assert "User declined" not in page.text
    page = administrator.consent(path, tenant, "not_admin")
    assert page.title == "This needs an administrator"
    (again,) = page.forms.links
    page = administrator.consent(again, tenant, "no_role")
    assert page.title == "A permission is missing"
    assert tenant not in one.listed()
    page = administrator.consent(page.forms.links[0], tenant)
    assert page.title == "It worked"


def test_an_expired_invitation_leads_nowhere(embedded_kafka, tmp_path):
    hours = 2 / 3600
    with installation(embedded_kafka.bootstrap, tmp_path, invitation_hours=hours) as made:
        made.start()
        tenant = made.newcomers[0]
        path = made.invite("Contoso")
        deadline = time.monotonic() + 30
        administrator = Administrator(made)
        while (page := administrator.get(path)).status == 200:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert (page.status, page.title) == (410, "This invitation has expired")
        assert page.forms.action is None
        nobody_is_asked_about(made, tenant)
        assert tenant not in made.listed()


@pytest.mark.parametrize("act", ["pause", "remove"])
def test_a_consent_changes_nothing_of_a_known_tenant(one, fresh, act):
    tenant = next(fresh)
    administrator = Administrator(one)
    assert administrator.consent(one.invite(f"To {act}"), tenant).title == "It worked"
    one.shell("tenants", act, tenant)
    before = one.listed().get(tenant)
    deadline = time.monotonic() + 30
    while administrator.consent("/", tenant).title != "Your consent has arrived":
        assert time.monotonic() < deadline
    page = administrator.consent(one.invite(f"Another to {act}"), tenant)
    assert page.title == "Your consent has arrived"
    assert one.listed().get(tenant) == before
    nobody_is_asked_about(one, tenant)


def test_two_replicas_and_a_restart_know_of_one_use(two):
    first, second, third = two.newcomers[:3]
    path = two.invite("Contoso")
    # Begun at one replica, ended at the other.
    page = Administrator(two).consent(path, first, back_at=1)
    assert page.title == "It worked"
    late = Administrator(two)
    for replica in (0, 1):
        deadline = time.monotonic() + 10
        while (found := late.get(path, replica=replica)).status == 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert found.title == "This invitation has been used"
    # Two administrators with one invitation, at two replicas at once: both are beyond the start page.
    shared = two.invite("Fabrikam")
    pair = [Administrator(two), Administrator(two)]
    backs = [
        one.decide(one.begin(shared), "accept", tenant)
        for one, tenant in zip(pair, (second, third), strict=True)
    ]
    for replica in (0, 1):
        two.replicas[replica].stop()
        two.start(replica)
    titles = [
        one.get(back, replica=n).title
        for n, (one, back) in enumerate(zip(pair, backs, strict=True))
    ]
    assert titles == ["It worked", "This invitation has been used"]
    assert late.get(path).title == "This invitation has been used"
    rows = two.listed()
    active = {one for one, row in rows.items() if row["standing"] == "active"}
    assert active == {two.known, first, second}
    nobody_is_asked_about(two, third)


def test_whoever_lacks_a_role_is_listed_with_the_link_to_send(one, fresh):
    tenant, other = islice(fresh, 2)
    for name, guid in (("Wingtip", tenant), ("Northwind", other)):
        assert Administrator(one).consent(one.invite(name), guid).title == "It worked"

    def lacking(role):
        lines = one.shell("tenants", "list", "--missing-role", role, "--json").splitlines()
        return {row["tenant"]: row for row in map(json.loads, lines)}

    read = {row["tenant"] for row in one.listed().values() if row["standing"] == "active"}
    assert lacking("Alert.Read.All") == {}
    found = lacking("Machine.Read.All")
    assert found.keys() == read
    assert found[tenant]["why"] == "lacks Machine.Read.All"
    link = urlsplit(found[tenant]["link"])
    assert link.path == f"/{tenant}/v2.0/adminconsent"
    one.cloud.post("faults", tenant=tenant, kind="roles_missing", seconds=3600)
    assert lacking("Alert.Read.All").keys() == {tenant}
    one.cloud.post("faults", tenant=other, kind="entra_error", code=90033, seconds=3600)
    rows = lacking("Alert.Read.All")
    assert [rows[other]["lacks"], rows[tenant]["lacks"]] == [False, True]
    told = one.shell("tenants", "list", "--missing-role", "Alert.Read.All").splitlines()
    assert told[-1] == (
        f"1 of {len(read)} tenants that are read lack Alert.Read.All; 1 could not be asked"
    )
    assert any(found[tenant]["link"] in line for line in told)

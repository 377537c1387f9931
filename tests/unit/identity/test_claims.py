"""What is said of a token that will not do, and that a token is never said itself."""

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import Blame, Recovery, TenantRejected
from ingest.identity.claims import advise
from ingest.model.tenant import Tenant
from tests.harness.secrets import find_leaks

TENANT = Tenant(id="11111111-2222-3333-4444-555555555555", name="Contoso", region="eu")
RESOURCE = "https://api.securitycenter.microsoft.com"
CONSENT = "https://login.test/adminconsent"
FITTING = {"tid": TENANT.id, "aud": RESOURCE, "roles": ["Alert.Read.All"]}


def part(content) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def token_of(claims) -> str:
    body = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return ".".join(map(part, (b'{"alg": "RS256"}', body, b"the signature of it")))


def take(token, *, resource=RESOURCE) -> None:
    advise(token, tenant=TENANT, resource=resource, consent_url=CONSENT)


def refused(**changes) -> TenantRejected:
    claims = {name: value for name, value in {**FITTING, **changes}.items() if value != "absent"}
    token = token_of(claims)
    with pytest.raises(TenantRejected) as refusal:
        take(token)
    assert refusal.value.recovery is Recovery.PARK
    assert find_leaks(f"{refusal.value} {refusal.value!r}", [token, *token.split(".")]) == []
    return refusal.value


@pytest.mark.parametrize(
    "roles", [["Alert.Read.All"], ["Alert.ReadWrite.All"], ["Machine.Read.All", "Alert.Read.All"]]
)
def test_a_token_with_a_role_that_reads_alerts_will_do(roles):
    take(token_of({**FITTING, "roles": roles}))


@pytest.mark.parametrize(
    "roles", ["absent", [], ["Machine.Read.All"], ["alert.read.all"], [None, 7, {"a": 1}]]
)
def test_a_token_without_the_role_says_what_to_permit_and_where_to_consent(roles):
    error = refused(roles=roles)
    assert (error.reason, error.blame) == ("no_permission", Blame.CUSTOMER)
    assert "Alert.Read.All" in str(error)
    assert "WindowsDefenderATP" in str(error)
    assert CONSENT in str(error)


def test_a_token_of_another_tenant_says_what_to_check():
    error = refused(tid="99999999-2222-3333-4444-555555555555")
    assert (error.reason, error.blame) == ("wrong_tenant", Blame.US)
    assert "entra.login_url" in str(error)


def test_a_tenants_id_in_capitals_is_the_same_tenant():
    take(token_of({**FITTING, "tid": TENANT.id.upper()}))


def test_a_token_for_another_api_names_the_key_to_check():
    error = refused(aud="https://userrequestsgraphapi-prd.trafficmanager.net")
    assert (error.reason, error.blame) == ("wrong_audience", Blame.US)
    assert "regions.eu.resource" in str(error)


@pytest.mark.parametrize(
    ("audience", "resource"),
    [
        (RESOURCE, RESOURCE),
        (RESOURCE + "/", RESOURCE),
        (RESOURCE, RESOURCE + "/"),
        # In v2 tokens the audience is the API's own id.
        ("fc780465-2017-40d4-a0c5-307022471b92", RESOURCE),
        ("FC780465-2017-40D4-A0C5-307022471B92", RESOURCE),
    ],
)
def test_a_token_for_this_api_will_do_however_it_is_written(audience, resource):
    take(token_of({**FITTING, "aud": audience}), resource=resource)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "opaque",
        "a.b",
        "a.b.c.d",
        "..",
        "a.%%%.c",
        "a.ü.c",
        "\ud800.\ud800.\ud800",
        token_of(b"not json"),
        token_of(b"\xff\xfe"),
        token_of(b"[" * 100_000),
        token_of([1, 2]),
        token_of("text"),
        token_of(None),
    ],
    ids=repr,
)
def test_a_token_that_cannot_be_read_is_used_as_it_is(token):
    # It is not for us, so nothing about it is promised.
    take(token)


@pytest.mark.parametrize("claim", ["tid", "aud"])
@pytest.mark.parametrize("value", ["absent", None, 7, ["x"], {"a": 1}])
def test_a_claim_that_is_absent_or_of_another_kind_proves_nothing(claim, value):
    claims = {**FITTING, claim: value}
    take(token_of({name: one for name, one in claims.items() if one != "absent"}))


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)
)


@given(st.dictionaries(st.sampled_from(["tid", "aud", "roles", "x"]), _ANYTHING))
def test_no_claims_break_anything_but_the_one_error_that_is_named(claims):
    token = token_of(claims)
    with suppress(TenantRejected):
        take(token)

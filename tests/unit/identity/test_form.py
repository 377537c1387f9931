"""What a token request says: MSAL's words in v2, ours in v1, and no secret where it is shown."""

from dataclasses import replace

import msal
import pytest

from ingest.errors import SourceUnavailable
from ingest.identity.form import Forms
from ingest.identity.http import Answer
from ingest.identity.proof import Federated, Secret
from ingest.settings.models import Entra
from tests.harness.secrets import find_leaks

CLIENT = "11111111-1111-1111-1111-111111111111"
SECRET = "the-secret-of-the-application"


def forms(version="v2"):
    return Forms(
        Entra(
            client_id=CLIENT,
            client_secret=SECRET,
            login_url="https://login.test",
            token_version=version,
        )
    )


def form(tenant, proof=None, version="v2", by=None):
    return (by or forms(version)).of(
        tenant, resource="https://resource.test/", proof=proof or Secret(SECRET)
    )


def test_a_scope_is_asked_for_at_the_tenants_own_v2_endpoint(tenant):
    made = form(tenant)
    assert made.url == f"https://login.test/{tenant.id}/oauth2/v2.0/token"
    asked = {
        "grant_type": "client_credentials",
        "client_id": CLIENT,
        "client_secret": SECRET,
        "scope": "https://resource.test/.default",
    }
    assert asked.items() <= made.fields.items()
    # What else MSAL says of itself goes along.
    assert made.headers["x-client-sku"] == "MSAL.Python"


def test_a_resource_is_asked_for_at_the_tenants_own_v1_endpoint(tenant):
    made = form(tenant, version="v1")
    assert made.url == f"https://login.test/{tenant.id}/oauth2/token"
    assert made.fields == {
        "grant_type": "client_credentials",
        "client_id": CLIENT,
        "client_secret": SECRET,
        "resource": "https://resource.test/",
    }


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_an_assertion_is_handed_over_as_it_is(tenant, version):
    made = form(tenant, Federated("a.b.c"), version)
    assert made.fields["client_assertion"] == "a.b.c"
    assert made.fields["client_assertion_type"].endswith(":jwt-bearer")
    assert "client_secret" not in made.fields


def test_nothing_of_one_request_is_left_for_the_next(tenant):
    by, other = forms(), replace(tenant, id="99999999-9999-9999-9999-999999999999")
    proofs = (Federated("a.b.c"), Secret(SECRET), Federated("d.e.f"), Secret("another"))
    asked = [(one, proof) for proof in proofs for one in (tenant, other)]
    kept = [form(one, proof, by=by) for one, proof in asked]
    anew = [form(one, proof) for one, proof in asked]
    assert [(one.url, one.fields) for one in kept] == [(one.url, one.fields) for one in anew]
    # Each has a number of its own, which Entra ID's log shows.
    assert len({one.headers["client-request-id"] for one in kept}) == len(kept)


def test_an_msal_that_would_ask_another_tenant_asks_nobody(tenant, monkeypatch):
    other = form(replace(tenant, id="99999999-9999-9999-9999-999999999999")).url

    def ask(application, _):
        application.http_client.post(other, data={})

    monkeypatch.setattr(msal.ConfidentialClientApplication, "acquire_token_for_client", ask)
    with pytest.raises(SourceUnavailable, match="did not ask"):
        form(tenant)


def test_what_is_asked_and_answered_is_not_shown():
    answer = Answer(200, SECRET, {"Set-Cookie": SECRET})
    assert find_leaks(repr(answer), [SECRET]) == []


def test_a_request_does_not_show_its_secret(tenant):
    assert find_leaks(repr(form(tenant)), [SECRET]) == []


def test_an_msal_that_cannot_write_the_request_is_trouble_for_now(tenant, monkeypatch):
    def fail(*_, **__):
        raise ValueError(f"something about {SECRET}")

    monkeypatch.setattr(msal.ConfidentialClientApplication, "acquire_token_for_client", fail)
    with pytest.raises(SourceUnavailable, match=r"MSAL could not .* \(ValueError\)") as refusal:
        form(tenant)
    assert refusal.value.reason == "entra_unreadable"
    assert find_leaks(str(refusal.value), [SECRET]) == []


def test_an_msal_that_asks_nothing_is_trouble_for_now(tenant, monkeypatch):
    monkeypatch.setattr(
        msal.ConfidentialClientApplication, "acquire_token_for_client", lambda *_: {}
    )
    with pytest.raises(SourceUnavailable, match="did not ask"):
        form(tenant)

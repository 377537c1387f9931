"""A simulated administrator consents, declines, or may not; and what the application gets afterwards."""

import json
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from ingest.simulator.token_endpoint import DEFENDER

BACK = "https://onboarding.test/consent"
FORMS = {
    "v2": ("organizations", "v2.0/adminconsent", {"scope": f"{DEFENDER}/.default"}),
    "v1": ("common", "adminconsent", {}),
    "authorize": ("common", "oauth2/authorize", {"prompt": "consent", "response_type": "code"}),
}


@pytest.fixture
def caller(make_caller):
    return make_caller(unconsented=2, redirect_urls=(BACK,))


def newcomer(caller):
    return list(caller.cloud.customers)[-1]


def visit(caller, form="v2", decision="accept", tenant=None, **changes):
    """Open the page and press a button; return the redirect's query."""
    at, rest, words = FORMS[form]
    query = urlencode({"client_id": caller.cloud.client_id, "state": "s1", **words, **changes})
    path = f"/{tenant or at}/{rest}"
    page = caller.cloud.handle("GET", path, query, {})
    assert page.status == 200, page.body
    assert b'value="accept"' in page.body
    body = urlencode({"directory": newcomer(caller), "decision": decision}).encode()
    answer = caller.cloud.handle("POST", path, query, {}, body)
    assert answer.status == 302, answer.body
    target = urlsplit(answer.headers["Location"])
    assert f"{target.scheme}://{target.netloc}{target.path}" == BACK
    return {name: values[0] for name, values in parse_qs(target.query).items()}


def code_of(answer):
    return json.loads(answer.body)["error_codes"][0]


def test_without_consent_there_is_no_token_and_with_it_there_is(caller):
    tenant = newcomer(caller)
    assert code_of(caller.token_answer(tenant)) == 700016
    assert caller.token_answer(caller.tenant).status == 200
    told = visit(caller)
    assert told == {
        "admin_consent": "True",
        "tenant": tenant,
        "state": "s1",
        "scope": f"{DEFENDER}/.default",
    }
    assert caller.page(tenant, top=1)


def test_the_older_forms_consent_as_well(caller):
    assert visit(caller, "v1") == {
        "admin_consent": "True",
        "tenant": newcomer(caller),
        "state": "s1",
    }
    assert caller.token_answer(newcomer(caller)).status == 200


def test_the_partner_documents_link_comes_back_without_a_tenant(caller):
    told = visit(caller, "authorize")
    assert set(told) == {"code", "session_state", "state"}
    assert caller.token_answer(newcomer(caller)).status == 200


@pytest.mark.parametrize(
    ("form", "decision", "error", "code"),
    [
        ("v2", "cancel", "consent_required", "AADSTS65004"),
        ("v1", "cancel", "permission_denied", "AADSTS65004"),
        ("v2", "not_admin", "access_denied", "AADSTS90094"),
    ],
)
def test_a_refusal_says_admin_consent_too_and_grants_nothing(caller, form, decision, error, code):
    told = visit(caller, form, decision)
    assert (told["error"], told["admin_consent"], told["state"]) == (error, "True", "s1")
    assert told["error_description"].startswith(f"{code}: ")
    assert code_of(caller.token_answer(newcomer(caller))) == 700016


def test_a_consent_without_the_role_gives_tokens_that_do_not_help_until_it_is_given_again(caller):
    tenant = newcomer(caller)
    visit(caller, decision="no_role")
    caller.sign_in(tenant)
    assert caller.get(tenant, top=1).status == 403
    visit(caller)
    caller.sign_in(tenant)
    assert caller.get(tenant, top=1).status == 200


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"redirect_uri": "https://elsewhere.test/"}, "AADSTS50011"),
        ({"client_id": "another"}, "AADSTS700016"),
        ({"scope": DEFENDER}, "AADSTS70011"),
        ({"tenant": "common"}, "AADSTS9001023"),
        ({"tenant": "nobody"}, "AADSTS90002"),
    ],
)
def test_what_is_not_registered_is_refused_on_a_page_of_microsofts_own(caller, changes, code):
    at, rest, words = FORMS["v2"]
    words = {"client_id": caller.cloud.client_id, **words, **changes}
    path = f"/{words.pop('tenant', at)}/{rest}"
    answer = caller.cloud.handle("GET", path, urlencode(words), {})
    assert answer.status == 400
    assert code.encode() in answer.body


def test_a_directory_cannot_answer_for_another(caller):
    _, rest, words = FORMS["v2"]
    query = urlencode({"client_id": caller.cloud.client_id, **words})
    body = urlencode({"directory": newcomer(caller), "decision": "accept"}).encode()
    answer = caller.cloud.handle("POST", f"/{caller.tenant}/{rest}", query, {}, body)
    assert answer.status == 400
    assert code_of(caller.token_answer(newcomer(caller))) == 700016

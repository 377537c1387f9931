"""Whose a domain is: only what the configured login host says, in plain words where it does not."""

import asyncio
import json

import pytest

from ingest.errors import CommandRefused, SourceUnavailable
from ingest.identity.directory import domain_of, tenant_of_domain
from ingest.identity.http import Answer, LoginUnreached

GUID = "11111111-2222-3333-4444-555555555555"
OTHER = "99999999-2222-3333-4444-555555555555"
LOGIN = "https://login.test"


class Entra:
    """Gives one answer, or an error, and keeps what it was asked."""

    def __init__(self, answer) -> None:
        self.answer = answer
        self.asked = []

    async def get(self, url):
        self.asked.append(url)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def document(tenant=GUID, issuer=None, host="login.test"):
    content = {
        "token_endpoint": f"https://{host}/{tenant}/oauth2/v2.0/token",
        "issuer": f"https://{host}/{issuer or tenant}/v2.0",
    }
    return Answer(200, json.dumps(content), {})


def ask(answer):
    return asyncio.run(tenant_of_domain("contoso.test", login_url=LOGIN, http=Entra(answer)))


def test_the_guid_is_taken_from_the_answer_and_only_the_name_is_asked():
    entra = Entra(document())
    found = asyncio.run(tenant_of_domain("contoso.test", login_url=LOGIN, http=entra))
    assert found == GUID
    assert entra.asked == [f"{LOGIN}/contoso.test/v2.0/.well-known/openid-configuration"]


def test_a_guid_in_capitals_is_the_same_guid():
    assert ask(document(GUID.upper())) == GUID


@pytest.mark.parametrize("status", [400, 404])
def test_an_unknown_domain_is_refused_with_what_to_check(status):
    with pytest.raises(CommandRefused, match=r"contoso\.test belongs to no tenant") as refusal:
        ask(Answer(status, '{"error": "invalid_tenant"}', {}))
    assert refusal.value.exit_code == 65


def test_a_domain_of_another_national_cloud_is_refused_and_the_cloud_named():
    with pytest.raises(CommandRefused, match=r"another national cloud \(login\.other\.us\)"):
        ask(document(host="login.other.us"))


def test_a_domain_of_personal_accounts_is_refused():
    with pytest.raises(CommandRefused, match="personal Microsoft accounts"):
        ask(document("9188040d-6c67-4c5b-b112-36a304b66dad"))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, "<html>", {}),
        Answer(200, "[]", {}),
        Answer(200, "[" * 100_000, {}),
        Answer(403, "{}", {}),
        document(issuer=OTHER),
        document("organizations"),
        Answer(200, json.dumps({"token_endpoint": f"{LOGIN}/{GUID}/x", "issuer": 3}), {}),
        Answer(200, json.dumps({"token_endpoint": f"{LOGIN}/{GUID}/x", "issuer": "https://["}), {}),
    ],
)
def test_an_answer_that_says_nothing_clear_is_not_guessed_from(answer):
    with pytest.raises(SourceUnavailable, match=r"does not say whose contoso\.test is") as refusal:
        ask(answer)
    assert refusal.value.exit_code == 75


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (LoginUnreached("entra_timeout", "TimeoutError"), "did not answer in time"),
        (LoginUnreached("entra_tls", "ClientSSLError"), "not trusted: check ca_file"),
        (LoginUnreached("entra_proxy", "ClientHttpProxyError"), r"check http\.proxy"),
        (LoginUnreached("entra_network", "OSError"), r"cannot be reached \(OSError\)"),
        (Answer(429, "", {}), r"HTTP 429"),
        (Answer(503, "", {}), r"HTTP 503"),
        (Answer(302, "", {"Location": "https://elsewhere.test"}), "not followed"),
    ],
)
def test_a_login_host_that_cannot_say_is_trouble_for_now_with_a_remedy(trouble, words):
    with pytest.raises(SourceUnavailable, match=words) as refusal:
        ask(trouble)
    assert LOGIN in str(refusal.value)
    assert "elsewhere" not in str(refusal.value).replace("elsewhere, which", "")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("contoso.onmicrosoft.com", "contoso.onmicrosoft.com"),
        (" Contoso.COM. ", "contoso.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("x.xn--p1ai", "x.xn--p1ai"),
    ],
)
def test_a_domain_name_is_asked_for_in_its_plain_form(text, name):
    assert domain_of(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "organizations",
        "common",
        "contoso",
        GUID,
        "10.0.0.1",
        "a b.com",
        "contoso.com/x",
        "contoso.com?x",
        "-x.com",
        "..",
        "x@contoso.com",
        "a" * 64 + ".com",
        "a." * 140 + "com",
    ],
)
def test_what_is_no_domain_name_is_not_asked_for(text):
    assert domain_of(text) is None

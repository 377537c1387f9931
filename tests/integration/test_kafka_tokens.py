"""Tokens for the brokers, from a token endpoint that speaks TLS: kept, renewed, and refused in words."""

import base64
import ssl
from urllib.parse import parse_qs

import pytest
import trustme
from aiohttp import web

from ingest.settings.brokers import Sasl
from ingest.sink.token import ClientCredentials, NoToken
from ingest.telemetry.logs import Redaction

SECRET = "hush+Q8/secret value"
TOKEN = "a.token-that~is_one"


class Endpoint:
    """A token endpoint that answers what it is told to, and keeps what it was asked."""

    def __init__(self, folder, ca) -> None:
        self.ca_file = folder / "token-ca.pem"
        ca.cert_pem.write_to_path(self.ca_file)
        self.secret_file = folder / "secret"
        self.secret_file.write_text(SECRET)
        self.asked: list[tuple[dict[str, str], str]] = []
        self.status, self.answer = 200, {"access_token": TOKEN, "expires_in": 100}
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        form = {name: one[0] for name, one in parse_qs(await request.text()).items()}
        self.asked.append((form, request.headers.get("Authorization", "")))
        headers = {"Location": "https://elsewhere.test/token"} if self.status == 302 else {}
        return web.json_response(self.answer, status=self.status, headers=headers)

    def client(self, clock, **more) -> ClientCredentials:
        settings = {"mechanism": "OAUTHBEARER", "token_url": self.url, "client_id": "ingest"}
        settings |= {"client_secret_file": str(self.secret_file), "scope": "a/.default"}
        settings |= {"token_ca_file": str(self.ca_file)}
        return ClientCredentials(Sasl.model_validate(settings | more), monotonic=clock)


class Hands:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
async def endpoint(tmp_path, monkeypatch):
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    ca = trustme.CA()
    made = Endpoint(tmp_path, ca)
    app = web.Application()
    app.router.add_post("/token", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    made.url = f"https://127.0.0.1:{runner.addresses[0][1]}/token"
    yield made
    await runner.cleanup()


async def test_a_token_is_asked_for_once_and_given_to_all(endpoint, clock):
    client = endpoint.client(clock)
    assert [await client.token() for _ in range(3)] == [TOKEN] * 3
    ((form, header),) = endpoint.asked
    assert form == {
        "grant_type": "client_credentials",
        "client_id": "ingest",
        "client_secret": SECRET,
        "scope": "a/.default",
    }
    assert header == ""


async def test_the_secret_goes_into_the_header_where_that_is_wanted(endpoint, clock):
    await endpoint.client(clock, client_authentication="basic").token()
    ((form, header),) = endpoint.asked
    assert set(form) == {"grant_type", "scope"}
    name, _, secret = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
    assert (name, secret) == ("ingest", "hush%2BQ8%2Fsecret+value")


async def test_a_token_is_renewed_before_it_ends_and_serves_meanwhile(endpoint, clock):
    client = endpoint.client(clock)
    await client.token()
    endpoint.status, endpoint.answer = 503, {}
    clock.now += 79
    assert await client.token() == TOKEN
    assert len(endpoint.asked) == 1
    clock.now += 2
    assert await client.token() == TOKEN
    assert len(endpoint.asked) == 2
    # Many clients that log in meanwhile are no reason to ask again at once.
    assert await client.token() == TOKEN
    assert len(endpoint.asked) == 2
    clock.now += 20
    with pytest.raises(NoToken, match="answered 503"):
        await client.token()
    endpoint.status, endpoint.answer = 200, {"access_token": "b.c.d", "expires_in": 100}
    with pytest.raises(NoToken):
        await client.token()
    clock.now += 4
    assert await client.token() == "b.c.d"


async def test_a_secret_that_is_exchanged_is_used_for_the_next_token(endpoint, clock):
    client = endpoint.client(clock)
    await client.token()
    endpoint.secret_file.write_text("another-secret\n")
    clock.now += 90
    await client.token()
    assert endpoint.asked[-1][0]["client_secret"] == "another-secret"


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (401, {"error": "invalid_client", "error_description": SECRET}, "with 401 invalid_client:"),
        (400, {"error": SECRET}, "with 400:"),
        (400, ["no object"], "with 400:"),
        (302, {}, "with 302:"),
        (429, {}, "answered 429"),
        (500, {}, "answered 500"),
        (200, {"access_token": "two words"}, "holds no token"),
        (200, {"access_token": "\x01auth=other"}, "holds no token"),
        (200, {"access_token": None}, "holds no token"),
        (200, {"access_token": "a", "expires_in": -1}, "holds no token"),
        (200, {"access_token": "a", "expires_in": "soon"}, "no token from"),
        (200, [], "holds no token"),
        (200, {"access_token": "a" * 70_000}, "is too large"),
    ],
)
async def test_an_answer_without_a_token_is_told_without_its_words(
    endpoint, clock, status, answer, said
):
    endpoint.status, endpoint.answer = status, answer
    with pytest.raises(NoToken) as refusal:
        await endpoint.client(clock).token()
    assert said in str(refusal.value)
    assert "127.0.0.1" in str(refusal.value)
    assert SECRET not in str(refusal.value)
    assert refusal.value.is_refusal == (400 <= status < 429 or status == 302)


async def test_an_endpoint_that_cannot_be_trusted_gets_no_secret(endpoint, clock):
    trustme.CA().cert_pem.write_to_path(endpoint.ca_file)
    with pytest.raises(NoToken, match=r"is not trusted: check kafka\.sasl\.token_ca_file"):
        await endpoint.client(clock).token()
    assert endpoint.asked == []


async def test_an_endpoint_that_is_down_is_told(endpoint, clock):
    with pytest.raises(NoToken, match="no token from the token endpoint at 127"):
        await endpoint.client(clock, token_url="https://127.0.0.1:1/token").token()


async def test_the_principal_is_the_subject_of_the_token(endpoint, clock):
    client = endpoint.client(clock)
    assert client.principal == "the principal of client ingest"
    payload = base64.urlsafe_b64encode(b'{"sub": "a-service"}').decode().rstrip("=")
    endpoint.answer = {"access_token": f"h.{payload}.s", "expires_in": 100}
    await client.token()
    assert client.principal == "User:a-service"


async def test_secrets_and_tokens_are_masked_from_when_they_are_known(endpoint, clock, monkeypatch):
    mask = Redaction([])
    monkeypatch.setattr("ingest.telemetry.logs._redactions", [mask])
    await endpoint.client(clock).token()
    assert SECRET not in mask.text(f"a {SECRET} in a text")
    assert TOKEN not in mask.text(f"a {TOKEN} in a text")

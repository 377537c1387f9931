"""Real tokens: the identity room with real MSAL and a real session, on the simulator over TLS."""

import asyncio
import gzip
import json
import random
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import rsa
from prometheus_client import CollectorRegistry

from ingest.errors import (
    Blame,
    CommandRefused,
    CredentialRejected,
    SourceError,
    SourceUnavailable,
    TenantRejected,
    Throttled,
)
from ingest.identity.directory import tenant_of_domain
from ingest.identity.http import LoginHttp
from ingest.identity.proof import Secret
from ingest.identity.tokens import Tokens
from ingest.model.tenant import Tenant
from ingest.runtime.clock import SystemClock
from ingest.settings.models import Entra, Region
from ingest.simulator.application import Trust
from ingest.simulator.certificates import server_context
from ingest.simulator.cloud import REGION, Plan, SimulatedCloud
from ingest.simulator.credentials import (
    ISSUER,
    SUBJECT,
    as_pem,
    as_pfx,
    federated_token,
    make_certificate,
)
from ingest.simulator.exchange import Pace
from ingest.simulator.server import SimulatorServer
from ingest.simulator.token_endpoint import DEFENDER
from ingest.telemetry.metrics import IdentityMetrics
from tests.harness.secrets import find_leaks

SECRET = "the-secret-of-the-application"
BOTH_VERSIONS = pytest.mark.parametrize("version", ["v1", "v2"])


class Heard(SimulatedCloud):
    """A cloud that keeps what was asked of its token endpoint, and may answer at another pace."""

    pace: Pace | None = None
    instead: Mapping[str, Any] = {}

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.asked: list[tuple[str, dict[str, str]]] = []

    def handle(self, method, path, query, headers, body=b""):
        answer = super().handle(method, path, query, headers, body)
        if method == "POST":
            self.asked.append((path, dict(headers)))
        return replace(answer, pace=self.pace, **self.instead)


class Side:
    """Both sides of one conversation: the simulated cloud, and our tokens of it."""

    def __init__(self, cloud, server, ca_file, stack) -> None:
        self.cloud, self.url, self.ca_file, self._stack = cloud, server.url, ca_file, stack
        self.tenants = [Tenant(one.id, one.name, one.region) for one in cloud.customers.values()]
        self.registry = CollectorRegistry()

    async def tokens(self, *, resource=DEFENDER, **changes) -> Tokens:
        settings = {
            "client_id": self.cloud.client_id,
            "client_secret": SECRET,
            "login_url": self.url,
            "timeout_seconds": 20.0,
            **changes,
        }
        ca_file = settings.pop("ca_file", self.ca_file)
        made = Tokens(
            settings=Entra(**settings),
            regions={REGION: Region(api_url=self.url, resource=resource)},
            ca_file=ca_file,
            clock=SystemClock(),
            rng=random.Random(1),
            metrics=IdentityMetrics(self.registry),
            log=structlog.get_logger(),
        )
        return await self._stack.enter_async_context(made)

    async def refusal(self, tokens, tenant=None):
        """Return the error that a tenant's token ends in; it never shows the secret."""
        with pytest.raises(SourceError) as refusal:
            await tokens.get(tenant or self.tenants[0])
        assert find_leaks(f"{refusal.value} {refusal.value!r}", [SECRET]) == []
        return refusal.value

    def fault(self, kind, tenant=None, **options):
        self.cloud.add_fault((tenant or self.tenants[0]).id, {"kind": kind, **options})


async def all_have_left(server) -> None:
    """Wait until the server has seen every connection end: a loop that is closed sees nothing."""
    async with asyncio.timeout(10):
        while server._runner.server.connections:
            await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def signing_key():
    # To make one takes longer than a whole test.
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
async def start(tmp_path, monkeypatch, signing_key):
    # A machine's own proxy or authorities are not for loopback.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    async def begin(*, tenants=2) -> Side:
        plan = Plan(tenants=tenants, births_per_minute=0.0, backlog=1, client_secret=SECRET)
        cloud = Heard(plan=plan, clock=time.time, key=signing_key)
        context, ca_file = server_context(tmp_path, "127.0.0.1")
        server = await stack.enter_async_context(
            SimulatorServer(cloud=cloud, context=context, host="127.0.0.1", port=0)
        )
        stack.push_async_callback(all_have_left, server)
        return Side(cloud, server, ca_file, stack)

    async with AsyncExitStack() as stack:
        yield begin


@BOTH_VERSIONS
async def test_either_endpoint_gives_a_token_whose_claims_will_do(start, version):
    side = await start()
    tokens = await side.tokens(token_version=version)
    token = await tokens.get(side.tenants[0])
    grant = side.cloud._entra.grant_of(token)
    assert (grant.tenant, grant.audience) == (side.tenants[0].id, DEFENDER)
    path = "oauth2/token" if version == "v1" else "oauth2/v2.0/token"
    # Nothing else is asked: no metadata, no instance discovery.
    assert [asked for asked, _ in side.cloud.asked] == [f"/{side.tenants[0].id}/{path}"]
    assert await tokens.get(side.tenants[0]) == token


@BOTH_VERSIONS
@pytest.mark.parametrize(
    ("fault", "kind", "reason", "blame"),
    [
        ({"kind": "consent_revoked"}, TenantRejected, "not_consented", Blame.CUSTOMER),
        ({"kind": "roles_missing"}, TenantRejected, "no_permission", Blame.CUSTOMER),
        ({"kind": "entra_error", "code": 650052}, TenantRejected, "service_missing", None),
        ({"kind": "entra_error", "code": 53003}, TenantRejected, "blocked_by_policy", None),
        ({"kind": "entra_error", "code": 7000229}, TenantRejected, "not_consented", None),
        ({"kind": "entra_error", "code": 7777777}, TenantRejected, "entra_refused", Blame.US),
        ({"kind": "secret_expired"}, CredentialRejected, "secret_expired", Blame.US),
        ({"kind": "entra_error", "code": 90033}, SourceUnavailable, "entra_unwell", None),
        ({"kind": "token_not_json"}, SourceUnavailable, "entra_unreadable", None),
        ({"kind": "token_429", "retry_after": 7}, Throttled, "throttled", None),
        ({"kind": "entra_error", "code": 90055}, Throttled, "throttled", None),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_each_fault_has_its_error_and_all_is_well_after_it(
    start, version, fault, kind, reason, blame
):
    side = await start()
    tokens = await side.tokens(token_version=version)
    side.fault(**fault)
    error = await side.refusal(tokens)
    assert type(error) is kind
    assert error.reason == reason
    if blame is not None:
        assert error.blame is blame
    if fault["kind"] == "token_429":
        assert error.retry_after == 7.0
    # At once: nothing of MSAL's caches of errors is in the way.
    assert await tokens.get(side.tenants[0])


@BOTH_VERSIONS
async def test_a_wrong_secret_is_ours_to_mend(start, version):
    side = await start()
    tokens = await side.tokens(token_version=version, client_secret="not-the-secret")
    error = await side.refusal(tokens)
    assert type(error) is CredentialRejected
    assert error.reason == "bad_secret"
    assert "not-the-secret" not in str(error)


@BOTH_VERSIONS
async def test_a_secret_is_replaced_in_its_file_while_all_stand_still(start, version, tmp_path):
    side = await start(tenants=5)
    file = tmp_path / "secret"
    file.write_text("expired")
    tokens = await side.tokens(
        token_version=version, client_secret=None, client_secret_file=str(file)
    )
    for tenant in side.tenants:
        assert type(await side.refusal(tokens, tenant)) is CredentialRejected
    assert len(side.cloud.asked) == 2
    file.write_text(SECRET + "\n")
    given = await asyncio.gather(*map(tokens.get, side.tenants))
    assert len(set(given)) == 5


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_tenant_that_does_not_exist_is_told_apart(start, version):
    side = await start()
    tokens = await side.tokens(token_version=version)
    nobody = Tenant("00000000-0000-0000-0000-000000000001", "Nobody", REGION)
    error = await side.refusal(tokens, nobody)
    assert (type(error), error.reason) == (TenantRejected, "unknown_tenant")


async def test_a_token_for_another_api_is_found_before_it_is_used(start):
    side = await start()
    tokens = await side.tokens(resource="https://graph.microsoft.com")
    assert await tokens.get(side.tenants[0])
    endpoint = side.cloud._entra._tokens
    endpoint._granted = lambda customer, resource, roles, *, v2: type(endpoint)._granted(
        endpoint, customer, DEFENDER, roles, v2=v2
    )
    assert (await side.refusal(tokens, side.tenants[1])).reason == "wrong_audience"


async def test_an_authority_that_is_not_trusted_gets_no_secret(start):
    side = await start()
    tokens = await side.tokens(ca_file=None)
    error = await side.refusal(tokens)
    assert (type(error), error.reason) == (SourceUnavailable, "entra_tls")
    assert "ca_file" in str(error)
    assert side.cloud.asked == []


async def test_an_entra_that_is_away_is_tried_again(start):
    side = await start()
    tokens = await side.tokens(login_url="https://127.0.0.1:1")
    error = await side.refusal(tokens)
    assert (type(error), error.reason) == (SourceUnavailable, "entra_network")


@BOTH_VERSIONS
@pytest.mark.parametrize(
    ("pace", "reason"),
    [
        (Pace(delay=1.5), "entra_timeout"),
        # Each piece comes in time, and the whole does not.
        (Pace(piece=24, pause=0.05), "entra_timeout"),
        (Pace(cut_after=30), "entra_network"),
        (Pace(reset=True), "entra_network"),
    ],
    ids=["silent", "trickling", "cut", "reset"],
)
async def test_an_answer_that_does_not_come_in_time_or_whole_holds_nobody_long(
    start, version, pace, reason
):
    side = await start()
    tokens = await side.tokens(token_version=version, timeout_seconds=0.5)
    await tokens.get(side.tenants[0])
    side.cloud.pace = pace
    began = time.monotonic()
    error = await side.refusal(tokens, side.tenants[1])
    assert (type(error), error.reason) == (SourceUnavailable, reason)
    assert time.monotonic() - began < 1.5
    side.cloud.pace = None
    assert await tokens.get(side.tenants[1])


@BOTH_VERSIONS
@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b"[" * 300_000, {}, "entra_network"),
        # Nobody asked for it to be packed: it is not unpacked, however small it comes.
        (gzip.compress(b"[" * 300_000), {"Content-Encoding": "gzip"}, "entra_unreadable"),
    ],
    ids=["large", "packed"],
)
async def test_an_answer_that_would_fill_memory_is_not_taken(start, version, body, headers, reason):
    side = await start()
    tokens = await side.tokens(token_version=version)
    side.cloud.instead = {"body": body, "headers": headers}
    error = await side.refusal(tokens)
    assert (type(error), error.reason) == (SourceUnavailable, reason)
    side.cloud.instead = {}
    assert await tokens.get(side.tenants[0])


@BOTH_VERSIONS
async def test_a_redirect_is_not_followed_with_a_secret(start, version):
    side = await start()
    tokens = await side.tokens(token_version=version)
    side.cloud.instead = {"status": 307, "headers": {"Location": f"{side.url}/elsewhere"}}
    assert "HTTP 307" in str(await side.refusal(tokens))
    assert len(side.cloud.asked) == 1


@BOTH_VERSIONS
async def test_fifty_tenants_at_once_get_a_token_each_of_their_own(start, version):
    side = await start(tenants=50)
    tokens = await side.tokens(token_version=version)
    given = await asyncio.gather(*(tokens.get(tenant) for tenant in side.tenants * 3))
    assert len(side.cloud.asked) == 50
    for tenant, token in zip(side.tenants * 3, given, strict=True):
        assert side.cloud._entra.grant_of(token).tenant == tenant.id


async def test_one_tenants_refusal_among_fifty_costs_the_others_nothing(start):
    side = await start(tenants=50)
    tokens = await side.tokens()
    side.fault("secret_expired", side.tenants[7])
    side.fault("consent_revoked", side.tenants[8])
    given = await asyncio.gather(*map(tokens.get, side.tenants), return_exceptions=True)
    errors = {at: type(one) for at, one in enumerate(given) if not isinstance(one, str)}
    assert errors == {7: CredentialRejected, 8: TenantRejected}


async def test_no_cookie_of_one_tenants_answer_is_sent_with_anothers_request(start):
    side = await start(tenants=10)
    tokens = await side.tokens(token_requests=1)
    for tenant in side.tenants:
        await tokens.get(tenant)
    assert len(side.cloud.asked) == 10
    assert not [headers for _, headers in side.cloud.asked if "cookie" in headers]


async def test_what_holds_a_token_does_not_show_it(start):
    side = await start()
    tokens = await side.tokens()
    token = await tokens.get(side.tenants[0])
    granted = await tokens._entra.acquire(side.tenants[0], resource=DEFENDER, proof=Secret(SECRET))
    shown = json.dumps([repr(granted), repr(tokens), str(tokens._credential), repr(tokens._entra)])
    assert find_leaks(shown, [SECRET, token, granted.token]) == []
    assert find_leaks(repr(tokens._held), [SECRET, token]) == []


async def test_a_domains_tenant_is_found_over_tls(start):
    side = await start()
    customer = side.cloud.customers[side.tenants[1].id]
    async with LoginHttp(connections=1, ca_file=side.ca_file, timeout_seconds=20) as http:
        found = await tenant_of_domain(customer.domain, login_url=side.url, http=http)
        assert found == customer.id
        with pytest.raises(CommandRefused, match=r"nobody\.test belongs to no tenant"):
            await tenant_of_domain("nobody.test", login_url=side.url, http=http)
    assert side.cloud.asked == []


async def test_a_login_host_that_is_not_trusted_is_not_asked_whose_a_domain_is(start):
    side = await start()
    async with LoginHttp(connections=1, ca_file=None, timeout_seconds=20) as http:
        with pytest.raises(SourceUnavailable, match="not trusted: check ca_file"):
            await tenant_of_domain("nobody.test", login_url=side.url, http=http)


PASSPHRASE = "correct horse battery"


class Credentials:
    """Certificates and federated tokens in files, and what the simulated application takes of them."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.former = None

    def write(self, name, content):
        part = self.folder / f"{name}.part"
        part.write_bytes(content if isinstance(content, bytes) else content.encode())
        part.replace(self.folder / name)
        return str(self.folder / name)

    def renew(self, kind, application) -> dict[str, str]:
        """Put a new credential in its files and register it; return the settings that name them."""
        key, certificate = self.former = make_certificate()
        if kind == "federated":
            application.trusts.append(Trust(ISSUER, SUBJECT, key.public_key()))
            token = federated_token(key, now=time.time())
            return {"federated_token_file": self.write("token", token)}
        application.certificates.append(certificate)
        if kind == "certificate":
            return {"certificate_file": self.write("app.pem", as_pem(key, certificate))}
        return {
            "certificate_passphrase_file": self.write("word", PASSPHRASE),
            "certificate_file": self.write("app.pfx", as_pfx(key, certificate, PASSPHRASE)),
        }


@pytest.fixture
def credentials(tmp_path):
    return Credentials(tmp_path)


KINDS = pytest.mark.parametrize("kind", ["certificate", "pfx", "federated"])


@BOTH_VERSIONS
@KINDS
async def test_each_kind_of_credential_gives_a_token_at_either_endpoint(
    start, credentials, version, kind
):
    side = await start()
    named = credentials.renew(kind, side.cloud.application)
    tokens = await side.tokens(token_version=version, client_secret=None, **named)
    given = await asyncio.gather(*map(tokens.get, side.tenants))
    assert [side.cloud._entra.grant_of(one).tenant for one in given] == [
        tenant.id for tenant in side.tenants
    ]


@BOTH_VERSIONS
@KINDS
async def test_a_credential_is_exchanged_under_load_and_not_one_request_fails(
    start, credentials, version, kind
):
    side = await start(tenants=40)
    application = side.cloud.application
    named = credentials.renew(kind, application)
    tokens = await side.tokens(token_version=version, client_secret=None, **named)
    loads = [asyncio.create_task(tokens.get(tenant)) for tenant in side.tenants[:20]]
    await asyncio.sleep(0)
    credentials.renew(kind, application)
    # Entra ID forgets the former one at once, with requests that carry it still on their way.
    del (application.trusts if kind == "federated" else application.certificates)[0]
    loads += [asyncio.create_task(tokens.get(tenant)) for tenant in side.tenants[20:]]
    assert all(await asyncio.gather(*loads))


@BOTH_VERSIONS
@pytest.mark.parametrize("kind", ["certificate", "pfx"])
async def test_a_certificate_that_is_not_registered_is_ours_to_mend(
    start, credentials, version, kind
):
    side = await start()
    named = credentials.renew(kind, side.cloud.application)
    side.cloud.application.certificates.clear()
    tokens = await side.tokens(token_version=version, client_secret=None, **named)
    error = await side.refusal(tokens)
    assert (type(error), error.reason) == (CredentialRejected, "bad_certificate")
    assert "entra.certificate_file" in str(error)
    side.cloud.application.certificates.append(credentials.former[1])
    # At once: MSAL remembers a refusal for a minute, and no object of its outlives a request.
    assert await tokens.get(side.tenants[0])


@BOTH_VERSIONS
async def test_a_federated_token_that_nobody_renews_is_told_by_its_file(
    start, credentials, version
):
    side = await start()
    named = credentials.renew("federated", side.cloud.application)
    key, _ = credentials.former
    credentials.write("token", federated_token(key, now=time.time() - 7200))
    tokens = await side.tokens(token_version=version, client_secret=None, **named)
    error = await side.refusal(tokens)
    assert (type(error), error.reason) == (CredentialRejected, "assertion_expired")
    assert "entra.federated_token_file" in str(error)
    credentials.write("token", federated_token(key, now=time.time()))
    assert await tokens.get(side.tenants[0])

"""The proxy as the only way out, with its own authorities, to clouds whose hosts nobody else can name."""

import json
import random
import socket
import sys
import time
import urllib.request
from contextlib import AsyncExitStack

import pytest
import structlog
import yaml
from prometheus_client import CollectorRegistry

from ingest.errors import SourceError
from ingest.identity.tokens import Tokens
from ingest.model.sweep import Ask, Box
from ingest.model.tenant import Tenant
from ingest.runtime.clock import SystemClock
from ingest.settings.models import Entra, Source
from ingest.settings.proxy import Http
from ingest.settings.regions import Region
from ingest.simulator.application import Trust
from ingest.simulator.certificates import server_context
from ingest.simulator.cloud import Plan, SimulatedCloud
from ingest.simulator.clouds import NAMES, REGIONS
from ingest.simulator.credentials import (
    ISSUER,
    SUBJECT,
    as_pem,
    as_pfx,
    federated_token,
    make_certificate,
)
from ingest.simulator.processes import Child
from ingest.simulator.proxy import ForwardProxy
from ingest.simulator.server import SimulatorServer
from ingest.source.client import DefenderSource
from ingest.telemetry.metrics import IdentityMetrics, SourceMetrics

PROGRAM = (sys.executable, "-m", "ingest")
NAME, PASSWORD = "daemon", "p@ss:word"
WRITTEN = "daemon:p%40ss%3Aword"
SECRET = "the-secret-of-the-application"
WORD = "correct horse battery"


class Way:
    """A cloud behind a proxy, and a daemon's identity and source before it."""

    def __init__(self, cloud, proxy, ca_file, stack) -> None:
        self.cloud, self.proxy, self.ca_file, self._stack = cloud, proxy, ca_file, stack
        self.tenants = [Tenant(one.id, one.name, one.region) for one in cloud.customers.values()]

    @property
    def proxy_url(self) -> str:
        return f"http://{WRITTEN}@127.0.0.1:{self.proxy.port}"

    async def source(self, *, login="login.simulated.test", http=None, ca_file=None, **entra):
        settings = Entra(
            **{
                "client_id": self.cloud.client_id,
                "client_secret": SECRET,
                "login_url": f"https://{login}",
                "timeout_seconds": 20.0,
                **entra,
            }
        )
        http = http or Http(proxy=self.proxy_url)
        regions = {
            name: Region(api_url=f"https://{hosts.api}", resource=hosts.resource)
            for name, hosts in REGIONS.items()
        }
        common = {"regions": regions, "ca_file": ca_file or self.ca_file, "clock": SystemClock()}
        common |= {"log": structlog.get_logger(), "proxy_of": http.proxy_of}
        self.tokens = await self._stack.enter_async_context(
            Tokens(
                settings=settings,
                rng=random.Random(1),
                metrics=IdentityMetrics(CollectorRegistry()),
                **common,
            )
        )
        return await self._stack.enter_async_context(
            DefenderSource(
                settings=Source(calls_per_minute=10**6, calls_per_hour=10**8),
                tokens=self.tokens,
                metrics=SourceMetrics(CollectorRegistry()),
                **common,
            )
        )


async def page(source, tenant):
    async with source.fetch(tenant, Ask(Box(0), top=10)) as found:
        return found


async def refusal(source, tenant):
    with pytest.raises(SourceError) as caught:
        await page(source, tenant)
    shown = f"{caught.value} {caught.value!r}"
    assert PASSWORD not in shown
    assert WRITTEN not in shown
    # What urllib3 raised is behind it, and keeps a pool of connections open as long as it lives.
    caught.value.__context__ = None
    return caught.value.with_traceback(None)


@pytest.fixture
async def open_way(tmp_path, monkeypatch, signing_key):
    # None of the machine's own ways are taken, and nobody asks for the cloud's names but the proxy.
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host, *args, **options):
        asked.append(host)
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    async def begin(*, regions=("commercial", "eu", "gcc")) -> Way:
        plan = Plan(
            tenants=len(regions),
            births_per_minute=0.0,
            backlog=3,
            client_secret=SECRET,
            regions=regions,
        )
        cloud = SimulatedCloud(plan=plan, clock=time.time, key=signing_key)
        context, ca_file = server_context(tmp_path, "127.0.0.1", *NAMES)
        server = await stack.enter_async_context(
            SimulatorServer(cloud=cloud, context=context, host="127.0.0.1", port=0)
        )
        proxy = await stack.enter_async_context(
            ForwardProxy(
                upstream=("127.0.0.1", server.port),
                names=NAMES,
                credentials=f"{NAME}:{PASSWORD}",
            )
        )
        return Way(cloud, proxy, ca_file, stack)

    async with AsyncExitStack() as stack:
        yield begin
    assert not NAMES.intersection(asked)


async def test_each_region_is_read_by_the_proxy_alone(open_way):
    way = await open_way()
    source = await way.source()
    for tenant in way.tenants:
        assert len((await page(source, tenant)).records) == 3
    assert set(way.proxy.tunnels) == {
        "login.simulated.test",
        *(REGIONS[tenant.region].api for tenant in way.tenants),
    }
    assert set(way.proxy.answers) == {200}


async def test_the_governments_cloud_is_read_where_its_tenants_sign_in_and_nowhere_else(open_way):
    way = await open_way(regions=("gcc-high", "dod", "commercial"))
    source = await way.source(login="login-us.simulated.test")
    for tenant in way.tenants[:2]:
        assert len((await page(source, tenant)).records) == 3
    assert (await refusal(source, way.tenants[2])).reason == "wrong_cloud"


async def test_a_proxy_that_does_not_know_us_is_told_from_a_cloud_that_does_not_answer(open_way):
    way = await open_way()
    bad = Http(proxy=f"http://daemon:wrong@127.0.0.1:{way.proxy.port}")
    error = await refusal(await way.source(http=bad), way.tenants[0])
    assert error.reason == "entra_proxy"
    assert "http.proxy" in str(error)
    assert set(way.proxy.answers) == {407}
    away = await way.source(http=Http(proxy="http://127.0.0.1:1"))
    assert (await refusal(away, way.tenants[0])).reason == "entra_proxy"


async def test_a_proxy_that_forbids_the_api_host_is_told_by_the_source(open_way):
    way = await open_way()
    way.proxy._names = frozenset(("login.simulated.test",))
    error = await refusal(await way.source(), way.tenants[0])
    assert error.reason == "proxy"
    assert "http.proxy" in str(error)


async def test_without_the_proxys_authorities_nobody_gets_our_secret(open_way, tmp_path_factory):
    way = await open_way()
    _, other = server_context(tmp_path_factory.mktemp("other"), "127.0.0.1")
    error = await refusal(await way.source(ca_file=other), way.tenants[0])
    assert error.reason == "entra_tls"
    assert all(customer.calls.tokens == 0 for customer in way.cloud.customers.values())


@pytest.mark.parametrize("kind", ["certificate", "pfx", "federated"])
async def test_each_kind_of_credential_reads_alerts(open_way, tmp_path, kind):
    way = await open_way()
    key, certificate = make_certificate()
    way.cloud.application.secrets.clear()
    if kind == "federated":
        way.cloud.application.trusts.append(Trust(ISSUER, SUBJECT, key.public_key()))
        content, named = federated_token(key, now=time.time()).encode(), "federated_token_file"
    else:
        way.cloud.application.certificates.append(certificate)
        pem = as_pem(key, certificate, WORD)
        content = pem if kind == "certificate" else as_pfx(key, certificate, WORD)
        named = "certificate_file"
    file = tmp_path / "credential"
    file.write_bytes(content)
    more = {} if kind == "federated" else {"certificate_passphrase": WORD}
    source = await way.source(client_secret=None, **{named: file}, **more)
    for tenant in way.tenants:
        assert len((await page(source, tenant)).records) == 3


@pytest.mark.timeout(240)
def test_a_daemon_reads_everybody_by_the_proxy_alone_with_a_certificate(tmp_path, embedded_kafka):
    config = tmp_path / "daemon.yaml"
    simulate = [
        *(*PROGRAM, "simulate", "--port", "0", "--tenants", "6", "--regions", "commercial,eu,gcc"),
        *("--proxy-port", "0", "--credential", "certificate", "--poll-interval", "1"),
        *("--births-per-minute", "0", "--backlog", "2", "--no-limits", "--shards", "2"),
        *("--write-config", str(config), "--kafka", embedded_kafka.bootstrap),
        *("--prefix", f"ways-{time.time_ns()}", "--state-dir", str(tmp_path / "cloud")),
    ]
    with Child(name="simulator", command=simulate, folder=tmp_path) as simulator:
        ready = json.loads(simulator.first_line(timeout=60))
        content = yaml.safe_load(config.read_text())
        assert content["http"] == {"proxy": ready["proxy"]}
        assert content["entra"]["login_url"] == "https://login.simulated.test"
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        content["listen"]["port"] = port
        config.write_text(yaml.safe_dump(content))
        run = [*PROGRAM, "run", "--config", str(config)]
        # What the environment names would lead nowhere.
        env = {"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": ""}
        with Child(name="daemon", command=run, folder=tmp_path, env=env) as daemon:
            daemon.wait_until(
                lambda: _healthy(port) == 6, what="everybody to be healthy", timeout=120
            )
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5) as answer:
                status = json.loads(answer.read())
            assert status["credential"]["kind"] == "certificate"
            assert status["credential"]["expires_at"]


def _healthy(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5) as answer:
            return int(json.loads(answer.read())["states"]["healthy"])
    except OSError:
        return 0

"""`defender-ingest doctor` as an operator gives it: on the simulated cloud over TLS, and a broker."""

import asyncio
import json
import threading
import time
import uuid
from contextlib import asynccontextmanager, contextmanager

import pytest
import trustme
import yaml

from ingest.cli import main
from ingest.errors import Blame
from ingest.model.report import encode_report
from ingest.model.status import FeedStatus, State
from ingest.model.tenant import FeedKey, shard_of
from ingest.settings.models import Kafka
from ingest.simulator.broker import free_port
from ingest.simulator.certificates import server_context
from ingest.simulator.cloud import REGION, Plan, SimulatedCloud
from ingest.simulator.server import SimulatorServer
from ingest.sink.connection import Connection

STRANGER = "99999999-9999-4999-8999-999999999999"
FOREVER = 10_000


class Clinic:
    """A simulated cloud, a broker, and what the doctor says of the two."""

    def __init__(self, folder, cloud, url, ca_file, bootstrap, capsys) -> None:
        self.cloud, self.url = cloud, url
        self.tenant = next(iter(cloud.customers.values()))
        self._folder, self._capsys = folder, capsys
        self.content = {
            "entra": {
                "client_id": cloud.client_id,
                "client_secret": cloud.plan.client_secret,
                "login_url": url,
            },
            "kafka": {
                "bootstrap_servers": [bootstrap],
                "prefix": f"t{uuid.uuid4().hex[:8]}",
                "shards": 2,
                "alert_partitions": 1,
                "replication_factor": 1,
                "request_timeout_seconds": 2,
            },
            "listen": {"port": 0},
            "ca_file": str(ca_file),
            "regions": {REGION: {"api_url": url}},
        }

    @property
    def config(self):
        path = self._folder / "daemon.yaml"
        path.write_text(yaml.safe_dump(self.content))
        return str(path)

    def run(self, *words):
        code = main([*words, "--config", self.config])
        said = self._capsys.readouterr()
        assert self.cloud.plan.client_secret not in said.out + said.err
        return code, said.out

    def examine(self, tenant=None):
        """Return the exit code, and every finding by its step, in order."""
        code, out = self.run("doctor", tenant or self.tenant.id, "--json")
        found = [json.loads(line) for line in out.splitlines()]
        assert all(set(one) == {"step", "result", "words", "must_act"} for one in found)
        return code, {one["step"]: one for one in found}

    def first_failure(self, tenant=None):
        code, found = self.examine(tenant)
        assert code == 1
        return next(one for one in found.values() if one["result"] == "failed")

    def fault(self, kind, **options):
        self.cloud.add_fault(self.tenant.id, {"kind": kind, "seconds": FOREVER, **options})

    def put(self, topic, value):
        """Write a record of the tenant to a topic of the installation."""
        kafka = Kafka(**self.content["kafka"])

        async def write():
            producer = Connection(settings=kafka, client_id="test").plain_producer()
            await producer.start()
            try:
                tenant = self.tenant.id
                key = tenant if topic == "tenant-status" else f"{tenant}/mde-alerts"
                await producer.send_and_wait(
                    f"{kafka.prefix}.{topic}",
                    value,
                    key.encode(),
                    partition=shard_of(tenant, kafka.shards),
                )
            finally:
                await producer.stop()

        asyncio.run(write())

    def register(self):
        code, _ = self.run(
            "tenants", "add", self.tenant.id, "--name", "Contoso (DE)", "--region", REGION
        )
        assert code == 0

    def say(self, state, **changes):
        """Let some replica have said of the tenant how it is doing."""
        now = time.time()
        fields = {"blame": Blame.NOBODY, "since": now, "fresh_at": now - 5, "calls_left": 9}
        fields |= {"reason": "as it is"} | changes
        status = FeedStatus(FeedKey(self.tenant.id), "Contoso (DE)", state, "code", **fields)
        self.put("tenant-status", encode_report(status, replica="host:7", now=now))


@contextmanager
def in_a_thread(serving):
    """Enter what `serving` returns in a thread of its own: commands have a loop of their own."""
    ready, over, given = threading.Event(), threading.Event(), []

    async def serve():
        async with serving() as one:
            given.append(one)
            ready.set()
            while not over.is_set():
                await asyncio.sleep(0.02)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(30)
        yield given[0]
    finally:
        over.set()
        thread.join(30)


@contextmanager
def serving(cloud, context):
    """Serve a cloud."""
    with in_a_thread(
        lambda: SimulatorServer(cloud=cloud, context=context, host="127.0.0.1", port=0)
    ) as one:
        yield one.url


@pytest.fixture
def clinic(tmp_path, monkeypatch, capsys, signing_key, embedded_kafka):
    # A machine's own proxy is not for loopback.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    plan = Plan(tenants=2, births_per_minute=0.0, backlog=3, client_secret="the-secret-itself")
    cloud = SimulatedCloud(plan=plan, clock=time.time, key=signing_key)
    context, ca_file = server_context(tmp_path, "127.0.0.1")
    with serving(cloud, context) as url:
        yield Clinic(tmp_path, cloud, url, ca_file, embedded_kafka.bootstrap, capsys)


def test_a_tenant_that_is_not_registered_yet_is_examined_and_well(clinic):
    code, found = clinic.examine()
    assert code == 0
    assert list(found) == [
        *("login DNS", "login connection", "login TLS", "tenant", "token", "claims"),
        *("API DNS", "API connection", "API TLS", "alerts", "registration"),
    ]
    assert {one["result"] for step, one in found.items() if step != "registration"} == {"ok"}
    assert "Alert.Read.All" in found["claims"]["words"]
    assert "3 changed" in found["alerts"]["words"]
    assert "tenants add" in found["registration"]["words"]


def test_an_examination_costs_one_call_to_the_api_and_writes_nothing(clinic):
    before = clinic.tenant.calls.total
    clinic.examine()
    assert clinic.tenant.calls.total - before == 1
    # Not even topics: the list finds none.
    assert "0 tenants" in clinic.run("tenants", "list")[1]


def test_a_registered_tenant_is_known_by_its_name_and_its_domain(clinic):
    clinic.register()
    for text in ("Contoso (DE)", clinic.tenant.domain):
        code, found = clinic.examine(text)
        assert code == 0
        assert clinic.tenant.id in found["tenant"]["words"]
    _, found = clinic.examine("Contoso (DE)")
    assert found["registration"]["result"] == "ok"
    assert [found[step]["result"] for step in ("budget", "checkpoint")] == ["skipped", "skipped"]
    assert found["freshness"]["words"].startswith("pending: ")


def test_what_a_replica_last_said_of_it_is_told(clinic):
    clinic.register()
    clinic.say(State.HEALTHY)
    code, found = clinic.examine()
    assert code == 0
    assert found["budget"]["words"].startswith("9 calls could be made at once, as host:7 said")
    assert found["freshness"]["words"].startswith("healthy: as it is; read to the end ")
    clinic.say(State.FAILING, blame=Blame.MICROSOFT)
    failure = clinic.first_failure()
    assert (failure["step"], failure["must_act"]) == ("freshness", "microsoft")


def test_a_budget_that_is_spent_is_left_alone(clinic):
    clinic.register()
    clinic.say(State.HEALTHY, calls_left=0)
    before = clinic.tenant.calls.total
    _, found = clinic.examine()
    assert clinic.tenant.calls.total == before
    assert "budget of calls is spent" in found["alerts"]["words"]


def test_a_checkpoint_that_cannot_be_read_is_named(clinic):
    clinic.register()
    clinic.say(State.HEALTHY)
    clinic.put("checkpoints", b"no checkpoint")
    failure = clinic.first_failure()
    assert failure["step"] == "checkpoint"
    assert clinic.tenant.id in failure["words"]


def test_people_get_a_line_a_step_and_the_first_that_failed_at_the_end(clinic):
    clinic.fault("consent_revoked")
    code, out = clinic.run("doctor", clinic.tenant.id)
    lines = out.splitlines()
    assert code == 1
    assert lines[0].startswith("ok      login DNS")
    line = next(line for line in lines if line.startswith("FAILED"))
    assert "adminconsent" in line
    assert line.endswith("(the customer's administrator must act)")
    assert lines[-1] == f"{clinic.tenant.id}: something is wrong, and first: token"
    assert "\x1b" not in out


def test_a_wrong_tenant_id_is_named(clinic):
    failure = clinic.first_failure(STRANGER)
    assert (failure["step"], failure["must_act"]) == ("tenant", "us")
    assert STRANGER in failure["words"]
    assert "belongs to no tenant" in failure["words"]


@pytest.mark.parametrize(
    ("fault", "step", "must_act", "words"),
    [
        ({"kind": "entra_error", "code": 90038}, "token", "us", "another national cloud"),
        ({"kind": "consent_revoked"}, "token", "customer", "no consent"),
        ({"kind": "roles_missing"}, "claims", "customer", "Alert.Read.All"),
        ({"kind": "secret_expired"}, "token", "us", "secret has expired"),
        ({"kind": "entra_error", "code": 650052}, "token", "customer", "licence"),
        ({"kind": "throttle429", "retry_after": 30}, "alerts", "nobody", "throttles"),
    ],
)
def test_what_the_cloud_refuses_is_named_with_who_must_act(clinic, fault, step, must_act, words):
    clinic.fault(**fault)
    failure = clinic.first_failure()
    assert (failure["step"], failure["must_act"]) == (step, must_act)
    assert words in failure["words"]


def test_a_wrong_cloud_is_named_where_the_login_host_tells_of_another(clinic, monkeypatch):
    real = clinic.cloud.handle

    def elsewhere(method, path, query, headers, body=b""):
        return real(method, path, query, {**headers, "host": "login.microsoftonline.us"}, body)

    monkeypatch.setattr(clinic.cloud, "handle", elsewhere)
    failure = clinic.first_failure()
    assert failure["step"] == "tenant"
    assert "another national cloud (login.microsoftonline.us)" in failure["words"]


def test_a_wrong_audience_is_named(clinic):
    clinic.content["regions"][REGION]["resource"] = "https://graph.microsoft.com"
    failure = clinic.first_failure()
    assert (failure["step"], failure["must_act"]) == ("claims", "us")
    assert "wrong audience" in failure["words"]
    assert f"regions.{REGION}.resource" in failure["words"]


@pytest.mark.parametrize("which", ["login", "API"])
def test_a_blocked_host_is_named(clinic, which):
    nobody = f"https://127.0.0.1:{free_port()}"
    if which == "login":
        clinic.content["entra"]["login_url"] = nobody
    else:
        clinic.content["regions"][REGION]["api_url"] = nobody
    code, found = clinic.examine()
    failure = next(one for one in found.values() if one["result"] == "failed")
    assert (code, failure["step"]) == (1, f"{which} connection")
    assert nobody.removeprefix("https://") in failure["words"]
    # The other side was examined all the same.
    assert found["API TLS" if which == "login" else "claims"]["result"] == "ok"
    assert found["alerts"]["result"] == "skipped"


def test_a_host_that_no_dns_knows_is_named(clinic):
    clinic.content["entra"]["login_url"] = "https://login.invalid"
    failure = clinic.first_failure()
    assert failure["step"] == "login DNS"
    assert "entra.login_url" in failure["words"]


def test_a_bad_ca_is_named(clinic, tmp_path):
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    clinic.content["ca_file"] = str(other)
    failure = clinic.first_failure()
    assert failure["step"] == "login TLS"
    assert str(other) in failure["words"]


def test_a_proxy_that_refuses_is_named(clinic, monkeypatch):
    with refusing_proxy() as port:
        monkeypatch.delenv("NO_PROXY")
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        failure = clinic.first_failure()
    assert failure["step"] == "login connection"
    assert f"the proxy 127.0.0.1:{port}" in failure["words"]
    assert "HTTP 403" in failure["words"]


@contextmanager
def refusing_proxy():
    """Refuse every tunnel."""

    async def meet(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    @asynccontextmanager
    async def server():
        async with await asyncio.start_server(meet, "127.0.0.1", 0) as one:
            yield one

    with in_a_thread(server) as one:
        yield one.sockets[0].getsockname()[1]


def test_brokers_that_are_down_leave_every_other_step(clinic):
    clinic.content["kafka"]["bootstrap_servers"] = [f"127.0.0.1:{free_port()}"]
    code, found = clinic.examine()
    assert code == 1
    assert [step for step, one in found.items() if one["result"] == "failed"] == ["Kafka"]
    assert found["alerts"]["result"] == "ok"


def test_a_name_that_only_kafka_knows_is_refused_while_it_is_down(clinic, capsys):
    clinic.content["kafka"]["bootstrap_servers"] = [f"127.0.0.1:{free_port()}"]
    assert main(["doctor", "Contoso (DE)", "--config", clinic.config]) == 65
    assert "give the tenant's GUID or domain" in capsys.readouterr().err


def test_a_region_that_is_none_is_refused_with_what_was_meant(clinic, capsys):
    words = ["doctor", clinic.tenant.id, "--region", "simulatd", "--config", clinic.config]
    assert main(words) == 64
    assert f"did you mean {REGION}?" in capsys.readouterr().err

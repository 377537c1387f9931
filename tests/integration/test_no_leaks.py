"""The whole daemon under faults and at its most talkative: it never says a secret, a token, an alert."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ingest.cli import main
from ingest.simulator.certificates import server_context
from ingest.simulator.cloud import Plan, SimulatedCloud
from ingest.simulator.config import Fitting, fitting_config, write_config
from ingest.simulator.processes import Child
from ingest.simulator.server import SimulatorServer
from tests.harness.secrets import find_leaks

SECRET = 'q8Q~hush/se+cret="value"=.7_\\'
NEXT_SECRET = "the~next~secret~of~the~application"
PROGRAM = (sys.executable, "-m", "ingest")
WAIT = 60.0


class Telling(SimulatedCloud):
    """A cloud that remembers each token it gave out, and each alert that it served."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.tokens: set[str] = set()
        self.statuses: set[tuple[str, int]] = set()

    def handle(self, method, path, query, headers, body=b""):
        answer = super().handle(method, path, query, headers, body)
        place = "token" if path.endswith("/token") else path
        self.statuses.add((place, answer.status))
        if place == "token" and b"access_token" in answer.body:
            self.tokens.add(json.loads(answer.body)["access_token"])
        return answer


@dataclass
class Run:
    """One daemon, and everything that it said anywhere."""

    cloud: Telling
    daemon: Child
    config: Path
    said: dict[str, bytes] = field(default_factory=dict)

    def events(self) -> list[dict[str, Any]]:
        lines = self.daemon.out.read_bytes().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith(b"\n")]

    def wait(self, what: str, check) -> None:
        self.daemon.wait_until(check, what=what, timeout=WAIT)

    def get(self, path: str) -> bytes:
        (url,) = [one["listening"] for one in self.events() if one["event"] == "started"]
        with urllib.request.urlopen(url + path, timeout=10) as answer:  # noqa: S310 - the daemon's own
            body: bytes = answer.read()
            return body

    def states(self) -> set[str]:
        return {feed["code"] for feed in json.loads(self.get("/status"))["feeds"]}

    def listen(self, name: str) -> None:
        """Keep what the daemon's pages say at this moment."""
        for path in ("/metrics", "/status", "/readyz", "/livez", "/no-such-page"):
            try:
                self.said[f"{path} {name}"] = self.get(path)
            except urllib.error.HTTPError as error:
                with error:
                    self.said[f"{path} {name}"] = error.read()


@contextmanager
def served(cloud: SimulatedCloud, folder: Path) -> Iterator[tuple[str, Path]]:
    """Serve the cloud from a thread of its own, whatever this thread waits for."""
    context, ca_file = server_context(folder, "127.0.0.1")
    ready, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()
    urls: list[str] = []

    async def serve() -> None:
        async with SimulatorServer(
            cloud=cloud, context=context, host="127.0.0.1", port=0
        ) as server:
            urls.append(server.url)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="cloud")
    thread.start()
    try:
        assert ready.wait(WAIT)
        yield urls[0], ca_file
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(WAIT)
        loop.close()


def configured(cloud, url, ca_file, folder, bootstrap, **logs) -> Path:
    secret_file = folder / "the-file"
    secret_file.write_text(SECRET + "\n")
    content = fitting_config(
        cloud,
        Fitting(
            url=url,
            ca_file=ca_file,
            credential={"client_secret_file": str(secret_file)},
            kafka=bootstrap,
            prefix=f"leaks-{time.time_ns()}",
            shards=2,
            poll_interval=0.5,
            listen_port=0,
        ),
    )
    content["logs"] = {"level": "debug", "format": "json"} | logs
    path = folder / "daemon.yaml"
    write_config(path, content)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory, embedded_kafka) -> Run:
    """One run for all tests of this module: every fault of the tokens, and an end in good order."""
    folder = tmp_path_factory.mktemp("leaks")
    plan = Plan(tenants=6, births_per_minute=120.0, backlog=3, limits=False, client_secret=SECRET)
    cloud = Telling(plan=plan, clock=time.time)
    with served(cloud, folder) as (url, ca_file):
        config = configured(cloud, url, ca_file, folder, embedded_kafka.bootstrap)
        daemon = Child(
            name="daemon", command=[*PROGRAM, "run", "--config", str(config)], folder=folder
        )
        with daemon:
            one = Run(cloud, daemon, config)
            _live(one)
            assert daemon.stop() == 0, daemon.tail()
    one.said["stdout"] = daemon.out.read_bytes()
    one.said["stderr"] = daemon.err.read_bytes()
    return one


def _live(run: Run) -> None:
    """Let the daemon meet every refusal of a token, one after the other."""
    first, second, third, fourth, *_ = run.cloud.customers
    run.wait("start", lambda: any(one["event"] == "started" for one in run.events()))
    run.wait("health", lambda: run.states() == {"healthy"})
    run.listen("in health")
    # Each also ends the tokens that were given: the API answers 401 to what the daemon holds.
    for tenant, kind in (
        (first, "consent_revoked"),
        (second, "secret_expired"),
        (third, "roles_missing"),
        (fourth, "token_not_json"),
    ):
        run.cloud.add_fault(tenant, {"kind": kind, "seconds": 3600})
    wanted = {"consent_revoked", "secret_expired", "no_permission", "entra_unreadable"}
    run.wait("refusals", lambda: wanted <= run.states())
    run.listen("with some refused")
    run.cloud.add_fault("*", {"kind": "secret_expired", "seconds": 3600})
    run.wait(
        "the breaker", lambda: b"\ndefender_ingest_credential_rejected 1" in run.get("/metrics")
    )
    run.listen("with all refused")
    run.config.with_name("the-file").write_text(NEXT_SECRET)
    run.wait(
        "the next secret", lambda: any(e["event"] == "credential_reloaded" for e in run.events())
    )
    run.wait("its refusal", lambda: "bad_secret" in run.states())
    run.listen("with the next secret")


def test_the_run_met_what_it_was_to_meet(run):
    # Else there was nothing to leak, and the search proves nothing.
    assert len(run.cloud.tokens) >= 6
    assert {("token", 200), ("token", 400), ("token", 401)} <= run.cloud.statuses
    assert {("/api/alerts", 200), ("/api/alerts", 401)} <= run.cloud.statuses
    loggers = {event.get("logger", "").partition(".")[0] for event in run.events()}
    assert {"aiokafka", "asyncio"} <= loggers
    assert {event["level"] for event in run.events()} >= {"debug", "info", "warning", "error"}
    assert b"secret_expired" in run.said["/status with all refused"]


def test_no_secret_and_no_token_is_in_anything_that_it_said(run):
    for name, said in run.said.items():
        assert find_leaks(said, [SECRET, NEXT_SECRET, *run.cloud.tokens]) == [], name


def test_the_same_search_finds_what_is_planted_in_the_same_text(run):
    token = max(run.cloud.tokens)
    for name, said in run.said.items():
        middle = len(said) // 2
        for secret in (SECRET, NEXT_SECRET, token):
            planted = said[:middle] + secret.encode() + said[middle:]
            leaks = find_leaks(planted, [secret])
            assert "plain" in [leak.form for leak in leaks], name


def test_no_alert_is_in_anything_that_it_said(run):
    alerts = [
        json.loads(stored.raw)
        for customer in run.cloud.customers.values()
        for stored in customer.population._by_id.values()
    ]
    contents = {alert[key] for alert in alerts for key in ("machineId", "computerDnsName")}
    assert len(contents) > 10
    for name, said in run.said.items():
        assert not [one for one in contents if one.encode() in said], name


_MISTAKES = {
    "many at once": f"""
entra: {{client_id: {SECRET!r}, client_secret: {SECRET!r}, client_secret_file: /none, secret: {SECRET!r},
  login_url: {"https://user:" + SECRET + "@login.test"!r}, token_requests: {SECRET!r}}}
kafka: {{bootstrap_servers: {SECRET!r}, prefix: {SECRET!r}, shards: [{SECRET!r}]}}
regions: {{eu: {{api_url: {SECRET!r}}}}}
poll: {SECRET!r}
logs: {{level: {SECRET!r}}}
tenants: [{{id: {SECRET!r}, name: contoso, client_secret: {SECRET!r}}}]
""",
    "a quote that does not end": f'entra:\n  client_secret: "{NEXT_SECRET}\nkafka: [',
    "a colon too many": f"entra:\n  client_secret: {NEXT_SECRET}: x\n",
    "not a mapping": f"- {NEXT_SECRET}",
    "only the secret": NEXT_SECRET,
    "a tag": f"entra: {{client_secret: !{NEXT_SECRET} x}}",
    "an alias": f"entra: {{client_secret: *{NEXT_SECRET} }}",
    "an anchor": f"entra: {{client_secret: &{NEXT_SECRET} [}}",
}


@pytest.mark.parametrize("command", ["check-config", "run"])
@pytest.mark.parametrize("mistake", _MISTAKES)
def test_a_configuration_that_is_refused_is_not_repeated(tmp_path, capfd, mistake, command):
    config = tmp_path / "daemon.yaml"
    config.write_text(_MISTAKES[mistake])
    assert main([command, "--config", str(config)]) == os.EX_CONFIG
    said = "".join(capfd.readouterr())
    assert "daemon.yaml" in said
    assert find_leaks(said, [SECRET, NEXT_SECRET]) == []


def test_a_mistake_in_the_environment_is_not_repeated_by_a_process_of_its_own(tmp_path):
    config = tmp_path / "daemon.yaml"
    config.write_text("kafka: {bootstrap_servers: [kafka:9092]}")
    names = ("ENTRA__CLIENT_SECRET", "ENTRA__CLIENT_SECRTE", "ENTRA__CLIENT_ID", "KAFKA__SHARDS")
    done = subprocess.run(
        [*PROGRAM, "check-config", "--config", str(config)],
        env={**os.environ, **{f"DEFENDER_INGEST_{name}": NEXT_SECRET for name in names}},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == os.EX_CONFIG
    assert b"CLIENT_SECRTE" in done.stderr
    assert find_leaks(done.stdout + done.stderr, [NEXT_SECRET]) == []

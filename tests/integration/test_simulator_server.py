"""The simulator as clients meet it: TLS, real MSAL, aiohttp, and answers that end badly."""

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import msal
import pytest
import requests
import yaml

from ingest.settings.loader import load
from ingest.settings.models import Settings
from ingest.simulator.certificates import server_context
from ingest.simulator.cloud import Plan, SimulatedCloud
from ingest.simulator.config import Fitting, fitting_config, write_config
from ingest.simulator.credentials import write_consent_key
from ingest.simulator.samples import load_answers
from ingest.simulator.server import SimulatorServer
from ingest.simulator.token_endpoint import DEFENDER

SECRET = "the-secret"


class Client:
    """A session that trusts the simulator's authority, with MSAL's tokens."""

    def __init__(self, cloud, url, ca_file):
        self.cloud, self.url, self.ca_file = cloud, url, ca_file
        self.tenant = next(iter(cloud.customers))
        context = ssl.create_default_context(cafile=ca_file)
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))

    def acquire(self, secret=SECRET):
        with requests.Session() as http:
            http.trust_env = False
            http.verify = str(self.ca_file)
            app = msal.ConfidentialClientApplication(
                self.cloud.client_id,
                client_credential=secret,
                authority=f"{self.url}/{self.tenant}",
                instance_discovery=False,
                http_client=http,
            )
            return app.acquire_token_for_client([f"{DEFENDER}/.default"])

    async def sign_in(self):
        granted = await asyncio.to_thread(self.acquire)
        self.session.headers["Authorization"] = f"Bearer {granted['access_token']}"

    async def get(self, query="$expand=evidence"):
        async with self.session.get(f"{self.url}/api/alerts?{query}") as answer:
            return answer, await answer.read()


@pytest.fixture
async def serve(tmp_path):
    async def start(round_trip=0.0, **plan):
        plan = {"tenants": 2, "births_per_minute": 0.0, "client_secret": SECRET} | plan
        cloud = SimulatedCloud(plan=Plan(**plan), clock=time.time)
        context, ca_file = server_context(tmp_path, "127.0.0.1")
        server = await stack.enter_async_context(
            SimulatorServer(
                cloud=cloud, context=context, host="127.0.0.1", port=0, round_trip=round_trip
            )
        )
        client = Client(cloud, server.url, ca_file)
        await stack.enter_async_context(client.session)
        return client

    async with AsyncExitStack() as stack:
        yield start


async def test_msal_gets_a_token_that_opens_the_alerts(serve):
    client = await serve()
    granted = await asyncio.to_thread(client.acquire)
    assert granted["token_type"] == "Bearer"
    assert granted["expires_in"] == 3599
    client.session.headers["Authorization"] = f"Bearer {granted['access_token']}"
    answer, body = await client.get()
    assert answer.status == 200
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(json.loads(body)["value"]) == 40


async def test_msal_is_told_what_is_wrong_with_the_secret(serve):
    client = await serve()
    refused = await asyncio.to_thread(client.acquire, "not-the-secret")
    assert refused["error"] == "invalid_client"
    assert refused["error_codes"] == [7000215]


async def test_an_unknown_authority_is_not_trusted(serve):
    client = await serve()
    async with aiohttp.ClientSession() as stranger:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await stranger.get(f"{client.url}/api/alerts")


async def test_a_restart_in_the_same_folder_is_still_trusted(serve):
    first = await serve()
    second = await serve()
    async with first.session.get(f"{second.url}/admin/summary") as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("cut", aiohttp.ClientPayloadError),
        ("reset", (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)),
    ],
)
async def test_a_connection_ends_as_the_fault_says_and_the_next_call_is_whole(serve, kind, error):
    client = await serve()
    await client.sign_in()
    # aiohttp tries a GET a second time by itself where the connection was lost before any answer.
    client.cloud.add_fault(client.tenant, {"kind": kind, "count": 2 if kind == "reset" else 1})
    with pytest.raises(error):
        await client.get()
    answer, body = await client.get()
    assert answer.status == 200
    assert len(json.loads(body)["value"]) == 40


async def test_a_cloud_that_is_far_away_answers_each_call_later_and_many_at_once(serve):
    client = await serve(round_trip=0.3)
    start = time.monotonic()
    await client.sign_in()
    assert time.monotonic() - start >= 0.3 * 2  # the configuration, then the token
    start = time.monotonic()
    answers = await asyncio.gather(*(client.get("$top=1") for _ in range(40)))
    assert {answer.status for answer, _ in answers} == {200}
    # Each is late, and none waits for another: one after another they would take 12 s.
    assert 0.3 <= time.monotonic() - start < 6


@pytest.mark.parametrize(
    ("kind", "options"), [("slow", {"delay": 0.3}), ("trickle", {"over": 0.3})]
)
async def test_a_slow_answer_is_whole_in_the_end(serve, kind, options):
    client = await serve()
    await client.sign_in()
    client.cloud.add_fault(client.tenant, {"kind": kind, **options})
    start = time.monotonic()
    _, body = await client.get()
    assert time.monotonic() - start >= 0.25
    assert len(json.loads(body)["value"]) == 40


async def test_a_gzip_bomb_goes_off_on_the_readers_side_only(serve):
    client = await serve()
    await client.sign_in()
    client.cloud.add_fault(client.tenant, {"kind": "gzip_bomb", "bytes": 4_000_000})
    answer, body = await client.get()
    assert int(answer.headers["Content-Length"]) < 100_000
    assert len(body) > 4_000_000


async def test_recorded_alerts_arrive_byte_for_byte(serve, samples):
    client = await serve(answers=tuple(load_answers(samples)))
    await client.sign_in()
    for file in sorted(samples.glob("mde_*.json")):
        _, body = await client.get()
        assert body == file.read_bytes()


async def test_the_written_configuration_is_one_that_the_daemon_takes(serve, tmp_path, samples):
    client = await serve(answers=tuple(load_answers(samples)))
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    fitting = Fitting(
        url=client.url,
        ca_file=client.ca_file,
        credential={"client_secret_file": str(secret)},
        kafka="127.0.0.1:9092,127.0.0.1:9093",
        prefix="trial",
        shards=4,
        poll_interval=5.0,
        listen_port=0,
    )
    path = tmp_path / "daemon.yaml"
    write_config(path, fitting_config(client.cloud, fitting))
    settings = Settings.model_validate(yaml.safe_load(path.read_text()))
    assert settings.kafka.bootstrap_servers == ["127.0.0.1:9092", "127.0.0.1:9093"]
    assert settings.regions["simulated"].api_url == client.url
    assert [entry.id for entry in settings.tenants] == list(client.cloud.customers)
    oldest = 1_567_343_609.0566667
    assert settings.poll.first_look_back_seconds > time.time() - oldest
    assert settings.poll.reconcile_look_back_seconds > time.time() - oldest


_PROGRAM = """
import argparse, sys
from ingest.simulator import command
parser = argparse.ArgumentParser()
command.add_parser(parser.add_subparsers())
args = parser.parse_args()
sys.exit(args.run(args))
"""


def _command(*flags):
    return [sys.executable, "-c", _PROGRAM, "simulate", "--port", "0", *flags]


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("secret", "client_secret_file"),
        ("certificate", "certificate_file"),
        ("pfx", "certificate_file"),
        ("federated", "federated_token_file"),
    ],
)
def test_the_command_says_when_it_is_ready_and_ends_on_a_signal(tmp_path, kind, key):
    config = tmp_path / "daemon.yaml"
    command = _command(
        *("--tenants", "3", "--faults", "default", "--write-config", str(config)),
        *("--kafka", "127.0.0.1:9092", "--state-dir", str(tmp_path / "state")),
        *("--credential", kind),
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            ready = json.loads(process.stdout.readline())
            context = ssl.create_default_context(cafile=ready["ca_file"])
            assert context.get_ca_certs()
            assert ready["event"] == "ready"
            assert ready["config"] == str(config)
            written = yaml.safe_load(config.read_text())
            assert written["entra"]["login_url"] == ready["url"]
            assert len(written["tenants"]) == 3
            secret = Path(written["entra"][key])
            assert secret.stat().st_mode & 0o077 == 0
            assert load(config, {}).entra.client_id == written["entra"]["client_id"]
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--faults", "/no/such/file.yaml"], os.EX_CONFIG, "cannot be read"),
        (["--from", "/no/such/folder"], os.EX_CONFIG, "no mde_"),
        (["--write-config", "x.yaml"], os.EX_USAGE, "--kafka"),
        (["--regions", "eu"], os.EX_USAGE, "--regions needs --proxy-port"),
        (["--regions", "eu,mars"], 2, "'mars' is none of commercial, eu,"),
        (["--host", "192.0.2.1"], os.EX_UNAVAILABLE, "cannot listen"),
    ],
)
def test_a_mistake_ends_it_with_a_reason(flags, code, words):
    done = subprocess.run(
        _command("--tenants", "1", *flags), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code
    assert words in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("url", "port"),
    [("http://127.0.0.1:9466/consent", 9466), ("https://onboarding.example.com/consent", None)],
)
async def test_a_consent_page_on_this_machine_is_in_the_written_configuration(
    serve, tmp_path, url, port
):
    client = await serve(tenants=3, unconsented=2, redirect_urls=(url,))
    fitting = Fitting(
        url=client.url,
        ca_file=client.ca_file,
        credential={"client_secret": SECRET},
        kafka="127.0.0.1:9092",
        prefix="trial",
        shards=4,
        poll_interval=5.0,
        listen_port=0,
        consent_key=write_consent_key(tmp_path),
    )
    path = tmp_path / "daemon.yaml"
    write_config(path, fitting_config(client.cloud, fitting))
    settings = load(path, {})
    assert len(settings.tenants) == 1
    if port is None:
        assert settings.consent.url is None
        return
    assert f"{settings.consent.url}/consent" == url
    assert settings.consent.port == port
    assert settings.consent.partner

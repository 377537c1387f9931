"""The command line as an operator meets it: exit codes, one line for each error, and signals."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from ingest import __version__
from ingest.settings.reference import schema
from ingest.simulator.broker import EmbeddedBroker, free_port
from ingest.simulator.processes import Child

PROGRAM = (sys.executable, "-m", "ingest")
SECRET = "hush~Q8secret~value"
SHARDS = 2
MISTAKE, USAGE = 78, 2

Start = Callable[..., Child]


def command(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("DEFENDER_INGEST_")}
    return subprocess.run(
        [*PROGRAM, *words],
        capture_output=True,
        text=True,
        timeout=60,
        env=clean | environ,
        check=False,
    )


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that a command complained in; it shows no secret and no traceback."""
    assert SECRET not in done.stderr + done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("defender-ingest: ")
    return line.removeprefix("defender-ingest: ")


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Write a configuration that fits, with sections changed; nobody answers at its addresses."""

    def write(**sections: dict[str, Any]) -> Path:
        trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
        (tmp_path / "secret").write_text(SECRET + "\n")
        nobody = f"https://127.0.0.1:{free_port()}"
        content: dict[str, Any] = {
            "entra": {
                "client_id": "00000000-0000-0000-0000-000000000000",
                "client_secret_file": str(tmp_path / "secret"),
                "login_url": nobody,
            },
            "kafka": {
                "bootstrap_servers": [f"127.0.0.1:{free_port()}"],
                "prefix": f"t{uuid.uuid4().hex[:8]}",
                "shards": SHARDS,
                "alert_partitions": 2,
                "replication_factor": 1,
                "request_timeout_seconds": 2,
            },
            "listen": {"port": 0},
            "ca_file": str(tmp_path / "ca.pem"),
            "regions": {"lab": {"api_url": nobody}},
            "tenants": [
                {
                    "id": "11111111-1111-1111-1111-111111111111",
                    "name": "contoso",
                    "region": "lab",
                }
            ],
        }
        for name, changes in sections.items():
            content[name] = content.get(name, {}) | changes
        path = tmp_path / f"daemon-{len(list(tmp_path.glob('daemon-*.yaml')))}.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a daemon, and end it with the test whatever became of it."""
    started: list[Child] = []

    def begin(config: Path) -> Child:
        name = f"daemon-{len(started)}"
        run = [*PROGRAM, "run", "--config", str(config)]
        started.append(Child(name=name, command=run, folder=tmp_path))
        started[-1].start()
        return started[-1]

    yield begin
    for daemon in started:
        daemon.resume()
        daemon.kill()
        assert SECRET not in daemon.out.read_text() + daemon.err.read_text()


def says(daemon: Child, event: str) -> None:
    daemon.wait_until(
        lambda: f'"event": "{event}"' in daemon.out.read_text(), what=event, timeout=30
    )


async def make_topics(broker: EmbeddedBroker, prefix: str, **changes: Any) -> None:
    """Make an installation's topics by hand, one of them other than they have to be."""
    wanted = {
        "alerts": (2, "delete"),
        "quarantine": (1, "delete"),
        "checkpoints": (SHARDS, "compact"),
    }
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    try:
        await admin.create_topics(
            [
                NewTopic(f"{prefix}.{name}", count, 1, topic_configs={"cleanup.policy": policy})
                for name, (count, policy) in (wanted | changes).items()
            ]
        )
    finally:
        await admin.close()


def fetched(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own daemon
        body: bytes = answer.read()
    return body.decode()


def on(broker: EmbeddedBroker, **more: Any) -> dict[str, Any]:
    return {"bootstrap_servers": [broker.bootstrap], **more}


# Commands that only look at files


@pytest.mark.parametrize("word", ["version", "--version"])
def test_the_version_is_printed(word):
    done = command(word)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[-1] == __version__


def test_an_unknown_command_is_a_usage_error_that_names_the_known_ones():
    done = command("rnu")
    assert (done.returncode, done.stdout) == (USAGE, "")
    last = done.stderr.splitlines()[-1]
    assert "'rnu'" in last
    assert all(f"'{name}'" in last for name in ("run", "check-config", "schema"))


@pytest.mark.parametrize("words", [(), ("run",)])
def test_a_command_that_lacks_its_words_is_a_usage_error(words):
    done = command(*words)
    assert done.returncode == USAGE
    assert "Traceback" not in done.stderr


def test_the_schema_is_printed():
    done = command("schema")
    assert (done.returncode, done.stdout, done.stderr) == (0, schema(), "")


def test_a_configuration_that_fits_is_said_to(written):
    config = written()
    done = command("check-config", "--config", str(config))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{config}: fits, 1 tenants\n"


def test_the_configuration_can_be_named_by_the_environment(written):
    config = written()
    done = command("check-config", DEFENDER_INGEST_CONFIG=str(config))
    assert (done.returncode, done.stdout) == (0, f"{config}: fits, 1 tenants\n")


@pytest.mark.parametrize("word", ["check-config", "run"])
def test_every_mistake_is_a_line_on_standard_error(written, word):
    config = written(kafka={"prefx": "x", "shards": 0}, poll={"interval_seconds": "60s"})
    done = command(word, "--config", str(config))
    assert (done.returncode, done.stdout) == (MISTAKE, "")
    lines = done.stderr.splitlines()
    assert [line.split(": ")[:3] for line in lines] == [
        ["defender-ingest", str(config), key]
        for key in ("kafka.prefx", "kafka.shards", "poll.interval_seconds")
    ]


def test_a_configuration_that_is_not_there_is_told(tmp_path):
    done = command("run", "--config", str(tmp_path / "absent.yaml"))
    assert done.returncode == MISTAKE
    assert complaint(done).startswith(f"{tmp_path}/absent.yaml: cannot be read: No such file")


def test_a_secret_file_that_cannot_be_read_is_told(written, tmp_path):
    config = written(entra={"client_secret_file": str(tmp_path)})
    done = command("run", "--config", str(config))
    assert done.returncode == MISTAKE
    assert complaint(done) == (
        f"{config}: entra.client_secret_file: {tmp_path} cannot be read: Is a directory"
    )


def test_brackets_without_end_are_a_mistake_and_no_crash(tmp_path):
    # In a process of its own: a parser that recurses in C ends the whole of it.
    config = tmp_path / "deep.yaml"
    config.write_text("[" * 200_000 + "]" * 200_000)
    done = command("check-config", "--config", str(config))
    assert done.returncode == MISTAKE, done.stderr[-300:]
    complaint(done)


def test_it_does_not_run_without_assertions(written):
    done = subprocess.run(
        [sys.executable, "-O", "-m", "ingest", "check-config", "--config", str(written())],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == os.EX_SOFTWARE
    assert "python -O" in complaint(done)


# What only the brokers know


BY_TIME = (
    "cleanup.policy is delete, needed is compact; alter the topic, or choose another kafka.prefix"
)
COMPACTED = (
    "cleanup.policy is compact, needed is delete; alter the topic, or choose another kafka.prefix"
)
FIXED = (
    "has 3 partitions, kafka.shards is 2; set kafka.shards: 3, or see `defender-ingest reshard` "
    "to change the number of shards"
)


@pytest.mark.parametrize(
    ("name", "partitions", "policy", "words"),
    [
        ("checkpoints", SHARDS, "delete", BY_TIME),
        ("alerts", 2, "compact", COMPACTED),
        ("checkpoints", SHARDS + 1, "compact", FIXED),
    ],
)
async def test_a_topic_that_does_not_fit_ends_the_run_and_is_told(
    embedded_kafka, written, name, partitions, policy, words
):
    prefix = f"t{uuid.uuid4().hex[:8]}"
    await make_topics(embedded_kafka, prefix, **{name: (partitions, policy)})
    done = command("run", "--config", str(written(kafka=on(embedded_kafka, prefix=prefix))))
    assert done.returncode == MISTAKE
    assert complaint(done) == f"topic {prefix}.{name}: {words}"


def test_topics_that_must_not_be_made_are_told_by_name(embedded_kafka, written):
    config = written(kafka=on(embedded_kafka, create_topics=False))
    done = command("run", "--config", str(config))
    assert done.returncode == MISTAKE
    assert complaint(done).startswith("topics are missing: t")


def test_topics_of_another_installation_end_the_run_and_are_told(embedded_kafka, written, start):
    prefix = f"t{uuid.uuid4().hex[:8]}"
    first = start(written(kafka=on(embedded_kafka, prefix=prefix)))
    says(first, "started")
    # The mark is written by the shard; a later run of the same application still may start.
    again = start(written(kafka=on(embedded_kafka, prefix=prefix)))
    says(again, "started")
    assert again.stop() == 0
    config = written(
        kafka=on(embedded_kafka, prefix=prefix),
        entra={"client_id": "99999999-0000-0000-0000-000000000000"},
    )
    done = command("run", "--config", str(config))
    assert done.returncode == MISTAKE
    assert complaint(done) == (
        f"topic {prefix}.checkpoints belongs to the installation of application "
        "00000000-0000-0000-0000-000000000000; choose another kafka.prefix for this one"
    )


def test_a_port_that_is_taken_ends_the_run_and_is_told(embedded_kafka, written):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = written(kafka=on(embedded_kafka), listen={"port": port})
        done = command("run", "--config", str(config))
    assert done.returncode == MISTAKE
    assert f"listen.host, listen.port: cannot listen on 127.0.0.1:{port}: " in complaint(done)


# Running and stopping


def test_a_broker_that_cannot_be_reached_is_waited_for_and_told_once(written, start):
    config = written()
    server = yaml.safe_load(config.read_text())["kafka"]["bootstrap_servers"][0]
    daemon = start(config)
    says(daemon, "kafka_unavailable")
    lines = [json.loads(line) for line in daemon.out.read_text().splitlines()]
    (told,) = [line for line in lines if line["event"] == "kafka_unavailable"]
    assert told["level"] == "error"
    assert server in told["error"]
    # It goes on waiting, and nobody has to kill it.
    assert daemon.running
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(timeout=20) == 0, daemon.tail()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_in_good_order(embedded_kafka, written, start, number):
    daemon = start(written(kafka=on(embedded_kafka)))
    says(daemon, "started")
    daemon.signal(number)
    assert daemon.wait(timeout=20) == 0, daemon.tail()
    assert '"event": "stopping"' in daemon.out.read_text()
    assert daemon.err.read_text() == ""


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """Return a broker that the test may freeze."""
    with EmbeddedBroker(logs=tmp_path) as broker:
        yield broker
        broker.child.resume()


def test_a_stop_ends_in_its_deadline_though_the_broker_hangs(own_broker, written, start):
    daemon = start(written(kafka=on(own_broker), shutdown={"grace_seconds": 2}))
    says(daemon, "started")
    own_broker.child.pause()
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(timeout=15) == 0, daemon.tail()


def test_a_second_signal_means_now(embedded_kafka, written, start):
    daemon = start(written(kafka=on(embedded_kafka), shutdown={"grace_seconds": 600}))
    says(daemon, "started")
    # Both are there when it wakes, so that no stop is quick enough to come between.
    daemon.pause()
    daemon.signal(signal.SIGINT)
    daemon.signal(signal.SIGTERM)
    daemon.resume()
    assert daemon.wait(timeout=15) in (128 + signal.SIGINT, 128 + signal.SIGTERM), daemon.tail()
    assert '"event": "stopping"' not in daemon.out.read_text()


def test_every_replica_shows_the_tenants_that_any_of_them_reads(embedded_kafka, written, start):
    prefix = f"t{uuid.uuid4().hex[:8]}"
    config = written(kafka=on(embedded_kafka, prefix=prefix), admin={"port": 0})
    replicas = [start(config), start(config)]
    for replica in replicas:
        says(replica, "started")
        said = map(json.loads, replica.out.read_text().splitlines())
        url = next(line["url"] for line in said if line["event"] == "admin_listening")
        deadline = time.monotonic() + 60
        shown: list[dict[str, Any]] = [{}]
        # Its login host is nobody's, which is ours to mend.
        while shown[0].get("code") != "entra_network" and time.monotonic() < deadline:
            time.sleep(0.1)
            shown = json.loads(fetched(f"{url}/api/v1/tenants"))["shown"]
        (one,) = shown
        assert (one["name"], one["state"], one["must_act"]) == ("contoso", "failing", "us")
        assert "contoso" in fetched(f"{url}/tenants/{one['tenant']}")

"""`defender-ingest topics`: what is needed, how to make it, and whether a cluster has it."""

import asyncio
import json
import shlex
import uuid
from itertools import pairwise

import pytest
import structlog
import yaml
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from ingest.cli import main
from ingest.settings.models import Kafka
from ingest.sink.connection import Connection
from ingest.sink.layout import needed
from ingest.sink.topics import Topics

NAMES = ("alerts", "quarantine", "tenants", "checkpoints", "tenant-status")


class Shell:
    """Runs the command on one installation."""

    def __init__(self, bootstrap, folder, capsys) -> None:
        self.prefix = f"p{uuid.uuid4().hex[:8]}"
        self.section = {"bootstrap_servers": bootstrap.split(","), "prefix": self.prefix}
        self.section |= {"shards": 3, "replication_factor": 1, "alert_partitions": 2}
        self._path = folder / "daemon.yaml"
        self._capsys = capsys

    def run(self, *words, **changes):
        """Return the exit code, the lines of its output and its complaint."""
        entra = {"client_id": str(uuid.uuid4()), "client_secret": "hush-hush"}
        content = {"entra": entra, "kafka": self.section | changes}
        self._path.write_text(yaml.safe_dump(content))
        code = main(["topics", "--config", str(self._path), *words])
        said = self._capsys.readouterr()
        return code, said.out.splitlines(), said.err

    async def make(self, **changes) -> None:
        """Make the topics by hand, as the command says."""
        _, lines, _ = await asyncio.to_thread(self.run, "--kafka-topics", **changes)
        admin = AIOKafkaAdminClient(bootstrap_servers=self.section["bootstrap_servers"])
        await admin.start()
        made = [_told(line) for line in lines]
        await admin.create_topics(made)
        # They are made when the controller says so, and there when the broker has heard of it.
        async with asyncio.timeout(60):
            while await _lacking(admin, made):
                await asyncio.sleep(0.05)
        await admin.close()


async def _lacking(admin, made: list[NewTopic]) -> bool:
    described = await admin.describe_topics([topic.name for topic in made])
    led = {
        topic["topic"]: sum(one["leader"] >= 0 for one in topic["partitions"])
        for topic in described
    }
    return any(led.get(topic.name) != topic.num_partitions for topic in made)


def _told(line) -> NewTopic:
    words = shlex.split(line)
    assert words[0] == "kafka-topics"
    after = dict(pairwise(words))
    configs = [b for a, b in pairwise(words) if a == "--config"]
    return NewTopic(
        name=after["--topic"],
        num_partitions=int(after["--partitions"]),
        replication_factor=int(after["--replication-factor"]),
        topic_configs=dict(one.split("=") for one in configs),
    )


@pytest.fixture
def shell(apache_kafka, tmp_path, capsys) -> Shell:
    return Shell(apache_kafka.bootstrap, tmp_path, capsys)


def test_the_needed_topics_are_a_table_without_a_broker(tmp_path, capsys):
    code, lines, _ = Shell("127.0.0.1:1", tmp_path, capsys).run()
    assert code == 0
    header, *rows = [line.split() for line in lines]
    assert header[:2] == ["TOPIC", "PARTITIONS"]
    assert [row[0].partition(".")[2] for row in rows] == list(NAMES)
    assert rows[0][1:] == ["2", "1", "1", "delete", "7", "d"]
    assert rows[3][1:5] == ["3", "1", "1", "compact"]


def test_the_needed_topics_are_json(tmp_path, capsys):
    shell = Shell("127.0.0.1:1", tmp_path, capsys)
    _, lines, _ = shell.run("--json", replication_factor=3, retention_hours=36)
    first = json.loads(lines[0])
    assert len(lines) == 5
    assert first == {
        "topic": f"{shell.prefix}.alerts",
        "partitions": 2,
        "replication_factor": 3,
        "config": {
            "cleanup.policy": "delete",
            "retention.ms": "129600000",
            "min.insync.replicas": "2",
        },
    }


def test_the_rights_of_the_daemon_are_commands(tmp_path, capsys):
    shell = Shell("127.0.0.1:1", tmp_path, capsys)
    tls = {"enabled": True}
    _, lines, _ = shell.run("--kafka-acls", "User:me", create_topics=False, tls=tls)
    start = "kafka-acls --bootstrap-server 127.0.0.1:1 --command-config admin.properties --add "
    assert all(line.startswith(f"{start}--allow-principal User:me ") for line in lines)
    assert not any("Create" in line for line in lines)


@pytest.mark.kafka
async def test_topics_made_as_the_commands_say_pass_the_check_and_serve_the_daemon(shell):
    await shell.make()
    code, lines, complaint = await asyncio.to_thread(shell.run, "--check")
    assert (code, complaint) == (0, "")
    assert lines[0].endswith("all 5 topics are as they have to be")
    settings = Kafka.model_validate(shell.section | {"create_topics": False})
    connection = Connection(settings=settings, client_id="a test")
    topics = Topics(settings=settings, connection=connection, log=structlog.get_logger())
    assert set((await topics.ensure()).alert_partitions.values()) == {2}


@pytest.mark.kafka
async def test_each_difference_of_a_cluster_is_named(shell):
    await shell.make()
    changes = {"shards": 4, "retention_hours": 1, "alert_partitions": 3}
    code, lines, complaint = await asyncio.to_thread(shell.run, "--check", **changes)
    at = f"{shell.prefix}."
    kept = "retention.ms is 604800000, needed is 3600000"
    assert (code, lines) == (
        65,
        [
            f"{at}alerts: partitions is 2, needed is 3",
            f"{at}alerts: {kept}",
            f"{at}quarantine: {kept}",
            *(f"{at}{name}: partitions is 3, needed is 4" for name in NAMES[2:]),
        ],
    )
    assert complaint.startswith("defender-ingest: 6 differences on 127.0.0.1:")


@pytest.mark.kafka
async def test_topics_that_are_not_there_are_differences_and_nothing_is_made(shell):
    for _ in range(2):
        code, lines, _ = await asyncio.to_thread(shell.run, "--check")
        assert (code, lines) == (65, [f"{shell.prefix}.{name}: is not there" for name in NAMES])


def test_what_is_needed_is_made_with_one_replica_less_in_sync():
    for factor, least in ((1, "1"), (2, "1"), (3, "2"), (5, "4")):
        settings = Kafka(bootstrap_servers=["kafka:9092"], replication_factor=factor)
        assert {one.config["min.insync.replicas"] for one in needed(settings)} == {least}


def test_every_topic_that_alerts_are_routed_to_is_needed_and_granted(tmp_path, capsys):
    shell = Shell("127.0.0.1:1", tmp_path, capsys)
    shell.prefix = shell.section["prefix"] = "soc"
    changes = {
        "route": "{prefix}.alerts.{region}",
        "route_topics": ["soc.alerts.eu", "soc.alerts.us"],
    }
    _, lines, _ = shell.run("--json", **changes)
    found = [json.loads(line) for line in lines]
    assert [one["topic"] for one in found[:3]] == [*changes["route_topics"], "soc.quarantine"]
    assert {one["partitions"] for one in found[:2]} == {2}
    _, lines, _ = shell.run("--kafka-acls", "User:d", **changes)
    granted = [line for line in lines if "--operation Write" in line and ".alerts" in line]
    assert [shlex.split(line)[-1] for line in granted] == changes["route_topics"]
    _, lines, _ = shell.run("--kafka-acls", "User:d", route="elsewhere")
    assert any(line.endswith("--operation Create --topic elsewhere") for line in lines)


async def test_a_topic_that_alerts_are_routed_to_and_is_absent_is_a_difference(shell):
    await shell.make()
    changes = {"route": "{prefix}.{region}", "route_topics": [f"{shell.prefix}.eu"]}
    code, lines, _ = await asyncio.to_thread(shell.run, "--check", **changes)
    assert (code, lines) == (65, [f"{shell.prefix}.eu: is not there"])

"""`defender-ingest topics`: the topics that are needed, how to make them, and whether a cluster has them."""

import argparse
import asyncio
import json
import shlex
from collections.abc import Callable, Iterable

import structlog

from ingest.commands.table import table, terminal_width
from ingest.errors import CommandRefused
from ingest.settings.models import Kafka, Settings
from ingest.sink.connection import Connection
from ingest.sink.layout import TopicNames, TopicPlan, needed
from ingest.sink.rights import commands, daemon
from ingest.sink.topics import Topics

_HEADER = ("TOPIC", "PARTITIONS", "REPLICATION", "MIN.INSYNC.REPLICAS", "CLEANUP", "RETENTION")
_HOUR_MS, _DAY_HOURS = 3_600_000, 24
_CLIENT_PROPERTIES = "admin.properties"


def perform(
    arguments: argparse.Namespace, settings: Settings, *, say: Callable[[str], None]
) -> int:
    """Do what was asked for; return the exit code.

    Raises:
        IngestError: the cluster differs, or cannot be asked.
    """
    kafka = settings.kafka
    plans = needed(kafka)
    lines: Iterable[str]
    if arguments.json and (arguments.kafka_topics or arguments.kafka_acls):
        raise CommandRefused("--json shows the topics, or what differs with --check", usage=True)
    if arguments.check:
        return _check(kafka, say, in_json=arguments.json)
    if arguments.json:
        lines = (json.dumps(_document(plan)) for plan in plans)
    elif arguments.kafka_topics:
        lines = (_command(plan, kafka) for plan in plans)
    elif arguments.kafka_acls:
        rights = daemon(
            TopicNames.of(kafka),
            creates=kafka.create_topics,
            transacts=kafka.delivery == "exactly_once",
        )
        start = _tool("kafka-acls", kafka)
        grants = (right.command(arguments.kafka_acls) for right in rights)
        lines = (grant.replace("kafka-acls", start, 1) for grant in grants)
    else:
        lines = table(_HEADER, [_row(plan) for plan in plans], terminal_width())
    for line in lines:
        say(line)
    return 0


def _check(kafka: Kafka, say: Callable[[str], None], *, in_json: bool) -> int:
    connection = Connection(settings=kafka, client_id="defender-ingest-topics")
    topics = Topics(
        settings=kafka,
        connection=connection,
        log=structlog.get_logger("defender_ingest"),
        rights=commands(TopicNames.of(kafka))["topics --check"],
    )
    found = asyncio.run(topics.differences())
    for line in found:
        say(json.dumps({"difference": line}) if in_json else line)
    if found:
        raise CommandRefused(
            f"{len(found)} differences on {connection.servers}, see above: alter the topics, or the "
            "configuration (kafka.shards, alert_partitions, replication_factor, retention_hours)"
        )
    if not in_json:
        say(f"{connection.servers}: all {len(topics.names.all)} topics are as they have to be")
    return 0


def _document(plan: TopicPlan) -> dict[str, object]:
    return {
        "topic": plan.name,
        "partitions": plan.partitions,
        "replication_factor": plan.replication_factor,
        "config": dict(plan.config),
    }


def _row(plan: TopicPlan) -> tuple[str, ...]:
    return (
        plan.name,
        str(plan.partitions),
        str(plan.replication_factor),
        plan.config.get("min.insync.replicas", ""),
        plan.config.get("cleanup.policy", ""),
        _retention(plan.config.get("retention.ms")),
    )


def _retention(milliseconds: str | None) -> str:
    if milliseconds is None:
        return "the newest of each key"
    hours = int(milliseconds) // _HOUR_MS
    return f"{hours // _DAY_HOURS} d" if hours % _DAY_HOURS == 0 else f"{hours} h"


def _tool(name: str, kafka: Kafka) -> str:
    words = [name, "--bootstrap-server", ",".join(kafka.bootstrap_servers)]
    if kafka.tls.enabled or kafka.sasl.mechanism:
        words += ["--command-config", _CLIENT_PROPERTIES]
    return shlex.join(words)


def _command(plan: TopicPlan, kafka: Kafka) -> str:
    words = ["--create", "--if-not-exists", "--topic", plan.name]
    words += ["--partitions", str(plan.partitions)]
    words += ["--replication-factor", str(plan.replication_factor)]
    words += [
        word for name, value in plan.config.items() for word in ("--config", f"{name}={value}")
    ]
    return f"{_tool('kafka-topics', kafka)} {shlex.join(words)}"

"""The topics: made if absent, checked if present, never changed.

Only `ingest.sink.reshard` adds partitions, since it moves who belongs into them.
"""

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import IncompatibleBrokerVersion, UnsupportedVersionError

from ingest.errors import SinkForbidden, SinkUnavailable, TopicMismatch
from ingest.settings.models import Kafka
from ingest.sink.connection import BATCH_BYTES, Connection
from ingest.sink.layout import TopicNames, TopicPlan, needed
from ingest.sink.refusals import TROUBLE, forbidden
from ingest.sink.rights import Kind, Right, daemon, on

_UNKNOWN, _FORBIDDEN, _ALREADY_EXISTS = 3, 29, 36
_FRAME_BYTES = 1024
"""What a batch of one record needs beside the record."""


@dataclass(frozen=True, slots=True)
class TopicLimits:
    """What the brokers said of the topics; `alert_bytes` holds for each topic of alerts."""

    alert_partitions: Mapping[str, int]
    quarantine_partitions: int
    alert_bytes: int
    quarantine_bytes: int

    checkpoint_seconds: float = math.inf
    """How long checkpoints are kept: for ever, where their topic is compacted."""

    @property
    def batch_bytes(self) -> int:
        """The size of one batch for one partition that every topic of ours takes."""
        return min(BATCH_BYTES, self.alert_bytes, self.quarantine_bytes)


class Topics:
    """Makes and checks the topics of one installation.

    Args:
        rights: what whoever asks needs, for errors; the daemon's if they are not given.
    """

    def __init__(
        self,
        *,
        settings: Kafka,
        connection: Connection,
        log: structlog.stdlib.BoundLogger,
        rights: tuple[Right, ...] | None = None,
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._log = log
        self.names = TopicNames.of(settings)
        self._rights = daemon(self.names, creates=False) if rights is None else rights

    async def ensure(self) -> TopicLimits:
        """Make what is absent, check what is present, and return the limits.

        Raises:
            TopicMismatch: naming topic, property, what was found, what is needed, and the remedy.
            SinkError: the brokers cannot be reached, or do not allow it.
        """
        async with self._asking("reach or describe topics on") as admin:
            if self._settings.create_topics:
                await self._create(admin)
            return await self._check(admin)

    async def absent(self) -> list[str]:
        """Return the topics that are not there, and make none.

        Raises:
            SinkError: the brokers cannot be reached.
        """
        async with self._asking("list topics on") as admin:
            return await self.missing(admin, self.names.all)

    async def differences(self) -> list[str]:
        """Return what is not as `needed` says, each in words; an empty list is a cluster that fits.

        Raises:
            SinkError: the brokers cannot be reached, or do not allow it.
        """
        async with self._asking("describe topics on") as admin:
            missing = await self.missing(admin, self.names.all)
            names = [name for name in self.names.all if name not in missing]
            described = {
                topic["topic"]: topic["partitions"]
                for topic in (await admin.describe_topics(names) if names else [])
            }
            configs = await self._configs(admin, names)
        found = []
        for plan in needed(self._settings):
            if plan.name in missing:
                found.append(f"{plan.name}: is not there")
            else:
                found += _differences(plan, described.get(plan.name, []), configs[plan.name])
        return found

    async def limits(self) -> TopicLimits:
        """Ask for the limits again: an operator may have changed them."""
        async with self._asking("describe topics on") as admin:
            return await self._check(admin)

    async def missing(self, admin: AIOKafkaAdminClient, names: Sequence[str]) -> list[str]:
        """Return those of some topics that are not there; one that is hidden from us is no such.

        They are listed: to describe an absent topic makes it, where brokers are set to do so.

        Raises:
            SinkForbidden: naming what lacks.
        """
        present = set(await admin.list_topics())
        missing = [name for name in names if name not in present]
        if missing:
            await self._refuse_hidden(admin, missing)
        return missing

    @asynccontextmanager
    async def _asking(self, doing: str) -> AsyncIterator[AIOKafkaAdminClient]:
        """Give an admin client; its trouble is raised as our own error, in words."""
        admin = self._connection.admin()
        try:
            await admin.start()
            yield admin
        except TROUBLE as error:
            raise await self._connection.explain(error, doing, self._connection.servers) from error
        finally:
            await admin.close()

    async def _create(self, admin: AIOKafkaAdminClient) -> None:
        missing = await self.missing(admin, self.names.all)
        if not missing:
            return
        absent = [
            NewTopic(
                name=plan.name,
                num_partitions=plan.partitions,
                replication_factor=plan.replication_factor,
                topic_configs=dict(plan.config),
            )
            for plan in needed(self._settings)
            if plan.name in missing
        ]
        answer = await admin.create_topics(absent)
        lacks = [
            Right(Kind.TOPIC, name, "Create", "")
            for name, code, *_ in sorted(answer.topic_errors)
            if code == _FORBIDDEN
        ]
        if lacks:
            raise SinkForbidden(
                f"{forbidden(lacks, self._connection.principal)}; or make them by hand (defender-ingest "
                "topics --kafka-topics) and set kafka.create_topics: false"
            )
        for name, code, *rest in answer.topic_errors:
            if code not in (0, _ALREADY_EXISTS):
                words = rest[0] if rest and rest[0] else f"error {code}"
                raise TopicMismatch(
                    f"topic {name} could not be made: {words}. Make it by hand (defender-ingest topics "
                    "--kafka-topics) and set kafka.create_topics: false, or mend kafka.replication_factor"
                )
            self._log.info("topic_created", topic=name)

    async def _check(self, admin: AIOKafkaAdminClient) -> TopicLimits:
        names = self.names.all
        partitions = await self._partitions(admin)
        for name in self.names.by_shard:
            if partitions[name] != self._settings.shards:
                # A tenant in two shards would be read twice.
                raise TopicMismatch(
                    f"topic {name}: has {partitions[name]} partitions, kafka.shards is "
                    f"{self._settings.shards}; set kafka.shards: {partitions[name]}, or see "
                    "`defender-ingest reshard` to change the number of shards"
                )
        configs = await self._configs(admin, names)
        for name in names:
            self._check_policy(name, configs[name])
        room = partial(_room, at_most=self._settings.request_bytes)
        return TopicLimits(
            alert_partitions={name: partitions[name] for name in self.names.alert_topics},
            quarantine_partitions=partitions[self.names.quarantine],
            alert_bytes=min(room(configs[name]) for name in self.names.alert_topics),
            quarantine_bytes=room(configs[self.names.quarantine]),
            checkpoint_seconds=_kept_seconds(configs[self.names.checkpoints]),
        )

    def _check_policy(self, name: str, config: Mapping[str, str]) -> None:
        """Refuse a topic that forgets too early, or that keeps too long what it should forget.

        Without compaction the checkpoints are written again in time, and so is each tenant's status; who
        is registered is not.
        """
        policy = "compact" if name in self.names.by_shard else "delete"
        found = config.get("cleanup.policy", policy)
        if found == policy:
            return
        if policy == "compact" and self._settings.delivery == "at_least_once":
            if name != self.names.tenants or _kept_seconds(config) == math.inf:
                return
            policy = "compact, or delete with retention.ms=-1,"
        raise TopicMismatch(
            f"topic {name}: cleanup.policy is {found}, needed is {policy}; "
            "alter the topic, or choose another kafka.prefix"
        )

    async def _partitions(self, admin: AIOKafkaAdminClient) -> dict[str, int]:
        """Return how many partitions each topic has."""
        names = list(self.names.all)
        missing = await self.missing(admin, names)
        partitions: dict[str, int] = {}
        if not missing:
            for topic in await admin.describe_topics(names):
                if topic["error_code"] == 0:
                    partitions[topic["topic"]] = len(topic["partitions"])
            missing = [name for name in names if name not in partitions]
        if missing and self._settings.create_topics:
            # Just made, and not known everywhere yet.
            raise SinkUnavailable(f"topics are not ready yet: {', '.join(missing)}")
        if missing:
            raise TopicMismatch(
                f"topics are missing: {', '.join(missing)}; make them (defender-ingest topics --kafka-topics "
                "prints how), or set kafka.create_topics: true"
            )
        return partitions

    async def _refuse_hidden(self, admin: AIOKafkaAdminClient, names: Sequence[str]) -> None:
        """Refuse what is there and only hidden from us: a topic without any right on it is not listed.

        Raises:
            SinkForbidden: naming what lacks.
        """
        there = [name for name, code, _ in await self._asked(admin, names) if code == 0]
        # To describe one that is there makes none; one that was just made is not listed everywhere yet.
        described = await admin.describe_topics(there) if there else []
        hidden = [topic["topic"] for topic in described if topic["error_code"] == _FORBIDDEN]
        if lacks := [right for name in hidden for right in on(self._rights, name)]:
            raise forbidden(lacks, self._connection.principal)

    async def _configs(
        self, admin: AIOKafkaAdminClient, names: Sequence[str]
    ) -> dict[str, dict[str, str]]:
        return {name: config for name, _, config in await self._asked(admin, names)}

    async def _asked(
        self, admin: AIOKafkaAdminClient, names: Sequence[str]
    ) -> list[tuple[str, int, dict[str, str]]]:
        """Return of each topic its name, an error code, and its settings."""
        if not names:
            return []
        found: list[tuple[str, int, dict[str, str]]] = []
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        try:
            answers = await admin.describe_configs(resources)
        except (IncompatibleBrokerVersion, UnsupportedVersionError):
            if self._settings.delivery == "exactly_once":
                raise
            # Brokers like Event Hubs have no settings of topics to show: the usual ones are taken for true.
            return [(name, _UNKNOWN, {}) for name in names]
        for answer in answers:
            for code, _words, _kind, name, entries in answer.resources:
                found.append((name, code, {entry[0]: entry[1] for entry in entries or ()}))
        lacks = [
            Right(Kind.TOPIC, name, "DescribeConfigs", "")
            for name, code, _ in found
            if code == _FORBIDDEN
        ]
        if lacks:
            raise forbidden(lacks, self._connection.principal)
        return found


def _differences(
    plan: TopicPlan, partitions: Sequence[Mapping[str, Sequence[int]]], config: Mapping[str, str]
) -> list[str]:
    """Return in what a topic that is there is not as it has to be."""
    copies = sorted({len(one["replicas"]) for one in partitions})
    found = {
        "partitions": str(len(partitions)),
        "replication factor": " and ".join(map(str, copies)),
        **{name: config.get(name, "unknown") for name in plan.config},
    }
    wanted = {
        "partitions": str(plan.partitions),
        "replication factor": str(plan.replication_factor),
        **plan.config,
    }
    return [
        f"{plan.name}: {name} is {found[name]}, needed is {value}"
        for name, value in wanted.items()
        if found[name] != value
    ]


def _room(config: Mapping[str, str], *, at_most: int | None) -> int:
    said = int(config.get("max.message.bytes") or 1_048_588)
    return max(1024, min(said, at_most or said) - _FRAME_BYTES)


def _kept_seconds(config: Mapping[str, str]) -> float:
    """Return how long a topic keeps the newest record of a key."""
    milliseconds = int(config.get("retention.ms") or -1)
    forever = config.get("cleanup.policy", "compact") == "compact" or milliseconds < 0
    return math.inf if forever else milliseconds / 1000

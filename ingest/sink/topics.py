"""The topics: their names from one prefix, made if absent, checked if present, never changed.

Only `ingest.sink.reshard` adds partitions, since it moves who belongs into them.
"""

from dataclasses import dataclass, field

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from ingest.errors import SinkUnavailable, TopicMismatch
from ingest.settings.models import Kafka
from ingest.sink.connection import Connection
from ingest.sink.refusals import TROUBLE, translate

_ALREADY_EXISTS = 36
_FRAME_BYTES = 1024
"""What a batch of one record needs beside the record."""


@dataclass(frozen=True, slots=True)
class TopicNames:
    """Every name that the prefix derives."""

    prefix: str
    alerts: str = field(init=False)
    """The raw alerts."""

    quarantine: str = field(init=False)
    """The raw bytes of what was set aside."""

    checkpoints: str = field(init=False)
    """Watermarks and memory; its partitions are the shards."""

    tenants: str = field(init=False)
    """Who is registered; the replicas are one consumer group over its partitions."""

    status: str = field(init=False)
    """How each tenant is doing, renewed by whoever owns its shard."""

    def __post_init__(self) -> None:
        for name in ("alerts", "quarantine", "checkpoints", "tenants"):
            object.__setattr__(self, name, f"{self.prefix}.{name}")
        object.__setattr__(self, "status", f"{self.prefix}.tenant-status")

    @property
    def group(self) -> str:
        """The consumer group of the replicas."""
        return f"{self.prefix}.replicas"

    @property
    def by_shard(self) -> tuple[str, str, str]:
        """The topics that have one partition for each shard."""
        return (self.tenants, self.checkpoints, self.status)

    def transactional_id(self, shard: int) -> str:
        """Return the id that names the state, not the process: whoever initialises it owns it."""
        return f"{self.checkpoints}-{shard}"


@dataclass(frozen=True, slots=True)
class TopicLimits:
    """What the brokers said of the topics."""

    alert_partitions: int
    quarantine_partitions: int
    alert_bytes: int
    quarantine_bytes: int


class Topics:
    """Makes and checks the topics of one installation."""

    def __init__(
        self, *, settings: Kafka, connection: Connection, log: structlog.stdlib.BoundLogger
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._log = log
        self.names = TopicNames(settings.prefix)

    async def ensure(self) -> TopicLimits:
        """Make what is absent, check what is present, and return the limits.

        Raises:
            TopicMismatch: naming topic, property, what was found, what is needed, and the remedy.
            SinkError: the brokers cannot be reached, or do not allow it.
        """
        admin = self._connection.admin()
        try:
            await admin.start()
            if self._settings.create_topics:
                await self._create(admin)
            return await self._check(admin)
        except TROUBLE as error:
            raise translate(
                error, "reach or describe topics on", self._connection.servers
            ) from error
        finally:
            await admin.close()

    async def absent(self) -> list[str]:
        """Return the topics that are not there, and make none.

        Raises:
            SinkError: the brokers cannot be reached.
        """
        admin = self._connection.admin()
        names = [self.names.alerts, self.names.quarantine, *self.names.by_shard]
        try:
            await admin.start()
            present = set(await admin.list_topics())
        except TROUBLE as error:
            raise translate(error, "list topics on", self._connection.servers) from error
        finally:
            await admin.close()
        return [name for name in names if name not in present]

    async def limits(self) -> TopicLimits:
        """Ask for the limits again: an operator may have changed them."""
        admin = self._connection.admin()
        try:
            await admin.start()
            return await self._check(admin)
        except TROUBLE as error:
            raise translate(error, "describe topics on", self._connection.servers) from error
        finally:
            await admin.close()

    async def _create(self, admin: AIOKafkaAdminClient) -> None:
        settings = self._settings
        present = set(await admin.list_topics())
        kept = {
            "cleanup.policy": "delete",
            "retention.ms": str(settings.retention_hours * 3_600_000),
        }
        state = {"cleanup.policy": "compact", "segment.ms": "600000"}
        safety = {"min.insync.replicas": str(max(1, settings.replication_factor - 1))}
        wanted = [
            (self.names.alerts, settings.alert_partitions, kept),
            (self.names.quarantine, 1, kept),
            *((name, settings.shards, state) for name in self.names.by_shard),
        ]
        absent = [
            NewTopic(
                name=name,
                num_partitions=partitions,
                replication_factor=settings.replication_factor,
                topic_configs={**config, **safety},
            )
            for name, partitions, config in wanted
            if name not in present
        ]
        if not absent:
            return
        answer = await admin.create_topics(absent)
        for name, code, *rest in answer.topic_errors:
            if code not in (0, _ALREADY_EXISTS):
                words = rest[0] if rest and rest[0] else f"error {code}"
                raise TopicMismatch(
                    f"topic {name} could not be made: {words}. Make it by hand and set "
                    "kafka.create_topics: false, or mend kafka.replication_factor"
                )
            self._log.info("topic_created", topic=name)

    async def _check(self, admin: AIOKafkaAdminClient) -> TopicLimits:
        names = [self.names.alerts, self.names.quarantine, *self.names.by_shard]
        # Listed first: to describe an absent topic makes it, where brokers are set to do so.
        present = set(await admin.list_topics())
        missing = [name for name in names if name not in present]
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
                f"topics are missing: {', '.join(missing)}; make them, or set kafka.create_topics: true"
            )
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
            policy = "compact" if name in self.names.by_shard else "delete"
            found = configs[name].get("cleanup.policy", policy)
            if found != policy:
                raise TopicMismatch(
                    f"topic {name}: cleanup.policy is {found}, needed is {policy}; "
                    "alter the topic, or choose another kafka.prefix"
                )
        return TopicLimits(
            alert_partitions=partitions[self.names.alerts],
            quarantine_partitions=partitions[self.names.quarantine],
            alert_bytes=_room(configs[self.names.alerts]),
            quarantine_bytes=_room(configs[self.names.quarantine]),
        )

    async def _configs(
        self, admin: AIOKafkaAdminClient, names: list[str]
    ) -> dict[str, dict[str, str]]:
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        configs: dict[str, dict[str, str]] = {name: {} for name in names}
        for answer in await admin.describe_configs(resources):
            for _code, _words, _kind, name, entries in answer.resources:
                configs[name] = {entry[0]: entry[1] for entry in entries}
        return configs


def _room(config: dict[str, str]) -> int:
    return max(1024, int(config.get("max.message.bytes") or 1_048_588) - _FRAME_BYTES)

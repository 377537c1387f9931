"""Which topics there are: their names from one prefix, and how each is to be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from ingest.settings.models import Kafka


@dataclass(frozen=True, slots=True)
class TopicNames:
    """Every name that the prefix derives, and the topics that alerts are routed to."""

    prefix: str
    routed: tuple[str, ...] = ()
    """Where alerts go, unless all go to `alerts`."""

    alerts: str = field(init=False)
    """The alerts of all tenants, where the route is the usual one."""

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

    @classmethod
    def of(cls, settings: Kafka) -> Self:
        """Return the names of an installation."""
        return cls(settings.prefix, settings.routing.topics)

    @property
    def alert_topics(self) -> tuple[str, ...]:
        """Every topic that alerts may go to."""
        return self.routed or (self.alerts,)

    @property
    def group(self) -> str:
        """The consumer group of the replicas."""
        return f"{self.prefix}.replicas"

    @property
    def by_shard(self) -> tuple[str, str, str]:
        """The topics that have one partition for each shard."""
        return (self.tenants, self.checkpoints, self.status)

    @property
    def all(self) -> tuple[str, ...]:
        """Every topic."""
        return (*self.alert_topics, self.quarantine, *self.by_shard)

    @property
    def transactional_ids(self) -> str:
        """What every transactional id begins with."""
        return f"{self.checkpoints}-"

    def transactional_id(self, shard: int) -> str:
        """Return the id that names the state, not the process: whoever initialises it owns it."""
        return f"{self.transactional_ids}{shard}"


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """One topic as it has to be; `config` are topic-level settings by name."""

    name: str
    partitions: int
    replication_factor: int
    config: Mapping[str, str]


def needed(settings: Kafka) -> tuple[TopicPlan, ...]:
    """Return every topic that an installation needs, as it is made where it is absent."""
    names = TopicNames.of(settings)
    safety = {"min.insync.replicas": str(max(1, settings.replication_factor - 1))}
    kept = {"cleanup.policy": "delete", "retention.ms": str(settings.retention_hours * 3_600_000)}
    state = {"cleanup.policy": "compact", "segment.ms": "600000"}
    wanted = [
        *((name, settings.alert_partitions, kept) for name in names.alert_topics),
        (names.quarantine, 1, kept),
        *((name, settings.shards, state) for name in names.by_shard),
    ]
    return tuple(
        TopicPlan(name, partitions, settings.replication_factor, {**config, **safety})
        for name, partitions, config in wanted
    )

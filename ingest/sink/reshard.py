"""Another number of shards: the topics grow, and every tenant is moved to the shard that is its own now.

The order is the law. Nobody may read meanwhile: the group is empty, asked again after each step that takes
time. The topics grow first, and a while passes, until any replica that has seen the former number asks again
and stops. Then the transactional ids of all shards are initialised, and held: from here on whoever takes a
shard over makes the move into it, or out of it, fail, and is never behind it. A tenant is moved in one
transaction of the shard that it moves to: its checkpoint, its registration, and the tombstones of both. So it
stands in one place at any moment, and to run it all again finishes it.
"""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import structlog
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from ingest.errors import CommandRefused, SinkUnavailable
from ingest.model.tenant import is_guid, shard_of
from ingest.pipeline.ports import Clock
from ingest.settings.models import Kafka
from ingest.sink.closing import close
from ingest.sink.connection import Connection
from ingest.sink.echoes import hush
from ingest.sink.layout import TopicNames
from ingest.sink.log import LIMITS_SECONDS
from ingest.sink.producer import ShardProducer
from ingest.sink.refusals import TROUBLE, is_fenced
from ingest.sink.restore import OWNER, read_back, read_newest, refuse_a_strangers
from ingest.sink.rights import commands
from ingest.sink.takeover import Replica
from ingest.sink.topics import Topics

SETTLE_SECONDS = LIMITS_SECONDS + 2.0
"""So long after the topics grew, no replica that knew them smaller takes a shard over any more."""
_READ_SECONDS = 60.0
_GROWN_TRIES, _GROWN_PAUSE_SECONDS = 60, 0.5
_STARTING = 16
"""Producers that are started at once."""

_NO_MEMBERS = ("Empty", "Dead")

Place = tuple[str, int]
Records = dict[bytes, bytes | None]


@dataclass(slots=True)
class Moved:
    """What was done: partitions by topic before, tenants that were moved, records that came along."""

    partitions: Mapping[str, int] = field(default_factory=dict)
    tenants: int = 0
    records: int = 0


@dataclass(slots=True)
class _Load:
    """What one tenant has in a partition that is not its own."""

    checkpoint: dict[bytes, bytes] = field(default_factory=dict)
    registration: bytes | None = None

    @property
    def size(self) -> int:
        return sum(map(len, self.checkpoint.values())) + len(self.registration or b"")


class Reshard:
    """Changes the number of shards of one installation; used once.

    Args:
        settings: those of the replicas, with the former number of shards or the new one.
        to: the number of shards that there are to be.
        installation: whose topics they must be, if anybody's.
        replica: this process, as its take-over records name it.
        settle_seconds: how long replicas may go by what they knew before the topics grew.
    """

    def __init__(
        self,
        *,
        settings: Kafka,
        to: int,
        replica: Replica,
        clock: Clock,
        log: structlog.stdlib.BoundLogger,
        settle_seconds: float,
    ) -> None:
        self._former = settings.shards
        self._settings = settings.model_copy(update={"shards": to, "create_topics": False})
        self._to = to
        self._replica = replica
        self._clock = clock
        self._log = log
        self._settle_seconds = settle_seconds
        self._names = TopicNames.of(settings)
        self._connection = Connection(settings=settings, client_id="defender-ingest-reshard")
        self._topics = Topics(
            settings=self._settings,
            connection=self._connection,
            log=log,
            rights=commands(self._names)["reshard"],
        )
        self._producers: dict[int, ShardProducer] = {}
        self._moved = Moved()

    async def run(self) -> Moved:
        """Do all that is left to do.

        Raises:
            CommandRefused: replicas run, or the number is less than there are; nothing was lost.
            SinkError: it is not finished; to run it again finishes it.
        """
        hush(asyncio.get_running_loop())
        admin = self._connection.admin()
        try:
            await admin.start()
            await self._grow(admin)
            await self._fence(admin)
            for shard in range(self._to):
                await self._empty_of_strangers(shard)
        except TROUBLE as error:
            if is_fenced(error):
                raise CommandRefused(
                    "a replica took a shard over meanwhile: stop all replicas, and run this again; "
                    "what was moved so far is whole"
                ) from error
            raise await self._connection.explain(
                error, "change the shards of", self._names.prefix
            ) from error
        finally:
            discarded = [producer.discard() for producer in self._producers.values()]
            await asyncio.gather(*discarded, close(admin))
        return self._moved

    async def _grow(self, admin: AIOKafkaAdminClient) -> None:
        counts = await self._partitions(admin)
        most = max(*counts.values(), self._former)
        if most > self._to:
            raise CommandRefused(
                f"there are {most} shards already, and Kafka cannot take partitions away: {self._to} or any "
                "smaller number needs topics of its own, by another kafka.prefix"
            )
        await self._refuse_while_read(admin)
        await refuse_a_strangers(
            self._connection, self._names.checkpoints, self._replica.installation
        )
        self._moved.partitions = counts
        small = [name for name, count in counts.items() if count < self._to]
        if small:
            await admin.create_partitions({name: NewPartitions(self._to) for name in small})
            self._log.info("topics_grown", topics=small, partitions=self._to)
        for _ in range(_GROWN_TRIES):
            if set((await self._partitions(admin, led=True)).values()) == {self._to}:
                break
            await self._clock.sleep(_GROWN_PAUSE_SECONDS)
        else:
            raise SinkUnavailable("the topics have grown, but not all brokers know it yet")
        self._log.info("waiting_for_replicas_to_notice", seconds=self._settle_seconds)
        await self._clock.sleep(self._settle_seconds)
        await self._refuse_while_read(admin)

    async def _partitions(self, admin: AIOKafkaAdminClient, *, led: bool = False) -> dict[str, int]:
        """Return how many partitions each topic has, or how many of them have a leader."""
        names = list(self._names.by_shard)
        if missing := await self._topics.missing(admin, names):
            raise CommandRefused(
                f"topics are missing: {', '.join(missing)}. Check kafka.prefix; an installation that never "
                "ran needs no more than another kafka.shards"
            )
        return {
            topic["topic"]: sum(not (led and one["error_code"]) for one in topic["partitions"])
            for topic in await admin.describe_topics(names)
        }

    async def _refuse_while_read(self, admin: AIOKafkaAdminClient) -> None:
        for answer in await admin.describe_consumer_groups([self._names.group]):
            for error_code, _group, state, _type, _assignor, members, *_ in answer.groups:
                if error_code:
                    raise SinkUnavailable(
                        f"could not ask who is in the group {self._names.group}: error {error_code}"
                    )
                if state not in _NO_MEMBERS:
                    raise CommandRefused(
                        f"stop all replicas first: {len(members)} are in the group {self._names.group}; "
                        "one that was killed is out of it after kafka.session_timeout_seconds"
                    )

    async def _fence(self, admin: AIOKafkaAdminClient) -> None:
        """Initialise every shard's id: nobody from before can commit, and nothing is open any more."""
        limits = await self._topics.limits()
        starting = asyncio.Semaphore(_STARTING)

        async def start(shard: int) -> None:
            async with starting:
                producer = self._producers[shard] = ShardProducer.of(
                    shard,
                    settings=self._settings,
                    connection=self._connection,
                    names=self._names,
                    limits=limits,
                )
                await producer.start()

        started = await asyncio.gather(*map(start, range(self._to)), return_exceptions=True)
        if failures := [one for one in started if one is not None]:
            raise failures[0]
        await self._refuse_while_read(admin)

    async def _empty_of_strangers(self, shard: int) -> None:
        """Move everybody out of a shard who belongs to another one."""
        by_shard: dict[int, dict[str, _Load]] = defaultdict(dict)
        for tenant, load in (await self._strangers(shard)).items():
            by_shard[shard_of(tenant, self._to)][tenant] = load
        for to, loads in sorted(by_shard.items()):
            for group in self._groups(loads):
                records = _moves(group, self._names, shard, to)
                await self._producers[to].transact([], elsewhere=records, now=self._clock.unix())
                self._moved.tenants += sum(load.size > 0 for load in group.values())
                self._moved.records += sum(len(load.checkpoint) for load in group.values())
                self._log.info("tenants_moved", shard=shard, to=to, tenants=len(group))

    async def _strangers(self, shard: int) -> dict[str, _Load]:
        names, nonce = self._names, uuid.uuid4().hex
        owner = self._replica.takes_over(group=names.group, nonce=nonce)
        checkpoints = (names.checkpoints, shard)
        await self._producers[shard].transact(
            [], elsewhere={checkpoints: {OWNER: owner}}, now=self._clock.unix()
        )
        found = await read_back(
            self._connection, TopicPartition(*checkpoints), nonce=nonce, seconds=_READ_SECONDS
        )
        registered, statuses = await read_newest(
            self._connection,
            [TopicPartition(names.tenants, shard), TopicPartition(names.status, shard)],
            seconds=_READ_SECONDS,
        )
        loads: dict[str, _Load] = defaultdict(_Load)
        for feed, records in found.feeds.items():
            loads[feed.partition("/")[0]].checkpoint.update(records)
        for key, value in registered.items():
            loads[key.decode(errors="replace")].registration = value
        for key in statuses:
            # A status says how it was; whoever reads the tenant next says how it is.
            loads.setdefault(key.decode(errors="replace"), _Load())
        return {
            tenant: load
            for tenant, load in loads.items()
            if is_guid(tenant) and shard_of(tenant, self._to) != shard
        }

    def _groups(self, loads: Mapping[str, _Load]) -> Iterator[dict[str, _Load]]:
        """Share transactions among tenants, as far as the settings let them be shared."""
        group: dict[str, _Load] = {}
        size = 0
        for tenant, load in loads.items():
            if group and size + load.size > self._settings.batch_bytes:
                yield group
                group, size = {}, 0
            group[tenant] = load
            size += load.size
        if group:
            yield group


def _moves(
    group: Mapping[str, _Load], names: TopicNames, shard: int, to: int
) -> dict[Place, Records]:
    """Return the records that take tenants from one shard to another."""
    moves: dict[Place, Records] = defaultdict(dict)
    for tenant, load in group.items():
        key = tenant.encode()
        moves[names.checkpoints, to].update(load.checkpoint)
        moves[names.checkpoints, shard].update(dict.fromkeys(load.checkpoint))
        if load.registration is not None:
            moves[names.tenants, to][key] = load.registration
            moves[names.tenants, shard][key] = None
        moves[names.status, shard][key] = None
    return moves

"""Every registered tenant, as the tenants topic has it: read whole, then followed live.

Every replica knows all of them, so that a shard that moves here needs no reading and anybody can be
asked about any tenant. It belongs to no group: who reads which tenant is another matter.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

import structlog
from aiokafka import TopicPartition

from ingest.errors import RegistrationUnreadable
from ingest.model.roster import Registration, decode_registration
from ingest.model.tenant import is_guid, shard_of
from ingest.pipeline.ports import Clock
from ingest.sink.connection import Connection
from ingest.sink.following import Follower

_ASTRAY = (
    "the record of tenant {} in the tenants topic stands in the partition of another number of shards: "
    "run defender-ingest reshard"
)


class Roster:
    """Follows the tenants topic while its context is entered; entering waits for its present end.

    A record in a partition that is not its tenant's is not believed, and neither is another one of the same
    tenant while it stands there: the number of shards is being changed, and the tenant's checkpoint may
    be in either place.

    Args:
        topic: the tenants topic.
        shards: its partitions.
        tell: called after something changed, with the shards that it concerns.
    """

    def __init__(
        self,
        *,
        connection: Connection,
        topic: str,
        shards: int,
        clock: Clock,
        rng: random.Random,
        log: structlog.stdlib.BoundLogger,
        tell: Callable[[], None] = lambda: None,
    ) -> None:
        self._log = log
        self._tell = tell
        self._by_shard: list[dict[str, Registration]] = [{} for _ in range(shards)]
        self._unreadable: dict[str, str] = {}
        self._astray: dict[str, set[int]] = {}
        self._said: dict[str, str] = {}
        self._follower = Follower(
            connection=connection,
            partitions=[TopicPartition(topic, number) for number in range(shards)],
            name="tenants_topic",
            take=lambda record: self._take(record.partition, record.key, record.value),
            tell=self._changed,
            clock=clock,
            rng=rng,
            log=log,
        )

    async def __aenter__(self) -> Self:
        """Read every record that is there now."""
        await self._follower.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop following."""
        await self._follower.__aexit__(kind, error, traceback)

    def of(self, shards: Iterable[int]) -> dict[str, Registration]:
        """Return the registrations of some shards by tenant, the removed ones too."""
        astray = self._astray
        return {
            tenant: one
            for number in shards
            for tenant, one in self._by_shard[number].items()
            if tenant not in astray
        }

    def get(self, tenant: str) -> Registration | None:
        """Return a tenant's registration."""
        if tenant in self._astray:
            return None
        return self._by_shard[shard_of(tenant, len(self._by_shard))].get(tenant)

    def everybody(self) -> dict[str, Registration]:
        """Return all registrations by tenant, the removed ones too."""
        return self.of(range(len(self._by_shard)))

    def unreadable(self) -> Mapping[str, str]:
        """Return the tenants whose record cannot be read, each with why."""
        if not self._astray:
            return self._unreadable
        return self._unreadable | {tenant: _ASTRAY.format(tenant) for tenant in self._astray}

    def _changed(self) -> None:
        self._complain()
        self._tell()

    def _complain(self) -> None:
        """Say once of each record that it cannot be read; not before all of them are known.

        Until compaction, a record that was moved is read before the tombstone that took its place.
        """
        unreadable = dict(self.unreadable())
        for tenant, why in unreadable.items():
            if self._said.get(tenant) != why:
                self._log.error("registration_unreadable", tenant=tenant[:64], error=why)
        self._said = unreadable

    def _take(self, shard: int, key: bytes | None, value: bytes | None) -> bool:
        """Take one record; tell whether it says anything new."""
        if key is None:
            return False
        tenant = key.decode(errors="replace")
        if is_guid(tenant) and shard_of(tenant, len(self._by_shard)) != shard:
            return self._take_astray(shard, tenant, is_there=value is not None)
        known = self._by_shard[shard]
        if value is None:
            was_unreadable = self._unreadable.pop(tenant, None) is not None
            return known.pop(tenant, None) is not None or was_unreadable
        try:
            registration = decode_registration(key, value)
        except RegistrationUnreadable as error:
            if self._unreadable.get(tenant) == str(error):
                return False
            self._unreadable[tenant] = str(error)
            known.pop(tenant, None)
            return True
        self._unreadable.pop(tenant, None)
        before = known.get(tenant)
        known[tenant] = registration
        return before != registration

    def _take_astray(self, shard: int, tenant: str, *, is_there: bool) -> bool:
        """Take one record of a partition that is not its tenant's; one for each is remembered."""
        places = self._astray.get(tenant, set())
        if is_there == (shard in places):
            return False
        if is_there:
            self._astray[tenant] = places | {shard}
        elif len(places) > 1:
            self._astray[tenant] = places - {shard}
        else:
            del self._astray[tenant]
        return True

"""The ports: what the pipeline needs of the world, and what it may rely on.

Each has an adapter that does the real thing and a fake in `tests/fakes`; one contract suite in
`tests/contract` runs on both.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import msgspec

from ingest.model.alert import Alert, Malformed
from ingest.model.memory import Verdict
from ingest.model.roster import Registration
from ingest.model.sweep import Ask
from ingest.model.tenant import FeedKey, Tenant


class Clock(Protocol):
    """Local time: it decides when to poll, never what a window is (law 9)."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...

    def unix(self) -> float:
        """Return Unix seconds by the local clock."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`; cancellable at any time."""
        ...


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of a feed.

    `server_time` is the answer's own `Date`, in ticks. `next_link` is what the answer offered as
    `@odata.nextLink`, already known to be of the same origin, else None; `linked` says that it offered
    one of any kind.
    """

    records: tuple[Alert | Malformed, ...]
    server_time: int
    next_link: str | None
    body_bytes: int
    linked: bool = False


class Source(Protocol):
    """One vendor API for all tenants. Safe for use by many tasks; one call at a time per tenant."""

    def begin(self, tenant: Tenant, *, tenure: int, granted: float) -> None:
        """Tell that this process reads the tenant from now on; others may have done so until now.

        What they spent of its budget is not known, so in a new tenure it starts with what is granted. A
        pause that the API asked for is kept.
        """
        ...

    async def prepare(self, tenant: Tenant, *, due: float) -> None:
        """Have at hand what a call needs beforehand, a token; of many who wait, those due first come first.

        `due` is in Unix seconds. No call to the API is made.

        Raises:
            SourceError: as its class says.
        """
        ...

    def fetch(self, tenant: Tenant, ask: Ask) -> AbstractAsyncContextManager[Page]:
        """Ask one question.

        Waits for the tenant's budget of calls and for room in memory; the page's bytes count
        against that room until the context is left, so commit inside and keep nothing of it after.
        Exactly one HTTP call to the API for each entry, except that a 401 is answered with one
        fresh token and one more call (also from the budget). It does not retry anything else.

        Raises:
            SourceError: as its class says; nothing of the page was delivered.
        """
        ...

    def calls_left(self, tenant: Tenant) -> int | None:
        """Return how many calls the tenant's budget allows at once; None before it has one."""
        ...

    def canonical(self, alert: Alert) -> int:
        """Return a 64-bit hash of an alert's content: the order of its lists does not matter."""
        ...


class Topic(StrEnum):
    """The topics that a commit writes to; the sink knows their real names."""

    ALERTS = "alerts"
    QUARANTINE = "quarantine"


class Record(msgspec.Struct, frozen=True, gc=False):
    """One Kafka record to publish; `topic` is one of `Topic`, or the name of one that alerts go to."""

    topic: str
    key: bytes
    value: bytes | memoryview
    headers: list[tuple[str, bytes]]

    def __repr__(self) -> str:
        return f"Record(topic={self.topic}, bytes={len(self.value)})"


@dataclass(frozen=True, slots=True)
class Batch:
    """What one feed commits at once: records and the checkpoint that says they are published.

    `checkpoint` maps checkpoint keys to values, None for a key that is no longer needed.
    `epoch` is the one that `restore` gave with the state on which the batch was decided.
    """

    feed: FeedKey
    epoch: int
    records: Sequence[Record]
    checkpoint: Mapping[bytes, bytes | None]


@dataclass(frozen=True, slots=True)
class Restored:
    """A feed's checkpoint records as Kafka has them, and the epoch that they belong to.

    `tenure` numbers the shard's placements on this process; `granted` calls may be made in one before the
    budget has filled (law 6). `torn` says that the records may be pieces of several commits: see
    `FeedState.decode`.
    """

    epoch: int
    records: Mapping[bytes, bytes]
    tenure: int = 0
    granted: float = 0.0
    torn: bool = False


class Encoder(Protocol):
    """Turns what was decided into records of one feed.

    `overhead` is how many bytes a record of an alert whose id is of the usual length needs beside the raw
    alert.
    """

    overhead: int

    def alert(self, verdict: Verdict, replay: str | None = None) -> Record:
        """Encode one published version; `replay` is the order for which it may be published again."""
        ...

    def quarantine(
        self, record: Alert | Malformed, reason: str, *, max_record_bytes: int
    ) -> list[Record]:
        """Encode one record that is set aside; several where it is larger than a record may be."""
        ...


class CommitLog(Protocol):
    """Alerts and checkpoints, shard by shard, committed together.

    Where `kafka.delivery` is `at_least_once` the checkpoint comes after its alerts instead. What is
    said below of a commit then holds of its pieces: after `Rewound` some of its alerts
    may be there, and they are published once more; its checkpoint is there only if all of them are.
    """

    async def restore(self, feed: FeedKey) -> Restored:
        """Return what is committed for this feed; waits until its shard is ours and read back.

        May be called again at any time, and must be after `Rewound`.

        Raises:
            SinkError: only with recovery STOP; trouble that may pass is waited for.
        """
        ...

    async def commit(self, batch: Batch) -> None:
        """Commit the batch; after it returns, a `read_committed` reader sees all of it, once.

        Other feeds' batches may share the transaction; one that publishes nothing may wait a second for
        them. Cancelling it leaves the outcome unknown.

        Raises:
            Rewound: nothing or everything of it is committed; restore tells which. Decide anew.
            RecordsRejected: nothing is committed, and the same records would be refused again.
        """
        ...

    def report(self, tenant: str, status: bytes | None, *, soon: bool) -> None:
        """Write how a tenant is doing, if its shard is ours; None takes the last word back.

        What need not be there `soon` waits for company. Nothing waits for it and nothing is promised:
        whoever reports does so again and again.
        """
        ...

    def max_record_bytes(self, topic: Topic) -> int:
        """Return the largest record (key, value and headers) that the topic is known to take.

        Where alerts are routed to several, each of them takes one as large.
        """
        ...


class Placement(Protocol):
    """Which tenants this process is to read; it changes while replicas and tenants come and go."""

    async def changed(self) -> None:
        """Return when `registered` may differ from what it was at the last return."""
        ...

    def registered(self) -> Mapping[str, Registration]:
        """Return, by tenant, the registrations of all shards that are ours, whatever they say."""
        ...

    def unreadable(self) -> Mapping[str, str]:
        """Return the tenants of our shards whose registration cannot be read or followed, each with why."""
        ...

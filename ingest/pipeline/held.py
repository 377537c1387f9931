"""What Kafka has of one feed, held in memory: restored from there, and never ahead of it."""

from collections.abc import Mapping, Sequence

from ingest.errors import CheckpointUnreadable
from ingest.model.checkpoint import FeedState
from ingest.model.instant import from_unix
from ingest.model.journal import Obeyed, decode_obeyed, header_key, order_key
from ingest.model.sweep import Ask, Box
from ingest.model.tenant import FeedKey, Tenant
from ingest.model.window import Reach
from ingest.pipeline.ports import Batch, Clock, CommitLog, Record, Source
from ingest.pipeline.retry import passing_trouble


class HeldFeed:
    """A feed's state and the last order that was obeyed; whoever writes applies what was written.

    `tenant` may change while the feed is held: its name, or its region.
    """

    def __init__(
        self,
        *,
        tenant: Tenant,
        feed: FeedKey,
        reach: Reach,
        source: Source,
        log: CommitLog,
        clock: Clock,
    ) -> None:
        self.tenant = tenant
        self.state: FeedState | None = None
        self.obeyed: Obeyed | None = None
        self._feed = feed
        self._reach = reach
        self._source = source
        self._log = log
        self._clock = clock
        self._has_begun = False
        self._epoch = -1
        self._is_unsure = False

    @property
    def current(self) -> FeedState:
        """The state; to be asked for only after it was restored."""
        if self.state is None:
            raise RuntimeError("a feed was used before it was restored")
        return self.state

    async def write(
        self, records: Sequence[Record], checkpoint: Mapping[bytes, bytes | None]
    ) -> None:
        """Commit, on the state that was restored last.

        Raises:
            Rewound: nothing was committed, or all of it was: restore, and decide anew.
            RecordsRejected: Kafka refuses some of the records for what they are; restore as well.
        """
        self._is_unsure = True
        await self._log.commit(Batch(self._feed, self._epoch, records, checkpoint))
        self._is_unsure = False

    async def restore(self, server_time: int | None = None) -> None:
        """Take over what Kafka has; `server_time` is the API's own, where a page has just told it.

        Raises:
            SourceError: the tenant's cloud did not tell its time, which a first start needs.
            CheckpointUnreadable: the tenant's checkpoint needs a person.
        """
        self.state = None
        restored = await self._log.restore(self._feed)
        self._epoch, self._is_unsure = restored.epoch, False
        if not self._has_begun:
            self._source.begin(self.tenant, tenure=restored.tenure, granted=restored.granted)
            self._has_begun = True
        records = dict(restored.records)
        self.obeyed = self._read_obeyed(records.pop(order_key(str(self._feed)), None))
        torn = restored.torn
        if not records or (torn and header_key(str(self._feed)) not in records):
            # A feed that nothing is committed of starts by the API's own clock (law 9). A page that is
            # still held has told it: to ask again would wait for the room that the page takes.
            local = from_unix(self._clock.unix())
            told = await self._patiently_server_time() if server_time is None else server_time
            first = FeedState.first(self._feed, now=min(local, told), reach=self._reach)
            records |= first.header()
        self.state = FeedState.decode(self._feed, records, torn=torn)

    async def forget(self) -> None:
        """Delete what Kafka has of it; see `Poller.forget`."""
        if self._is_unsure:
            # The reading was cancelled while it committed: of what, only Kafka knows.
            restored = await self._log.restore(self._feed)
            self._epoch, keys = restored.epoch, list(restored.records)
        else:
            keys = [] if self.state is None else self.state.keys()
        if keys:
            await self.write((), dict.fromkeys(keys, None))

    async def server_time(self) -> int:
        """Ask the API for next to nothing, and so for its own time.

        Raises:
            SourceError: the tenant's cloud did not answer.
        """
        ask = Ask(Box(from_unix(self._clock.unix())), top=1)
        async with self._source.fetch(self.tenant, ask) as page:
            return page.server_time

    async def _patiently_server_time(self) -> int:
        async for attempt in passing_trouble(self._clock):
            with attempt:
                return await self.server_time()
        raise AssertionError("the policy ends in a result or an error")

    def _read_obeyed(self, raw: bytes | None) -> Obeyed | None:
        try:
            return None if raw is None else decode_obeyed(raw)
        except (LookupError, ValueError, TypeError) as error:
            raise CheckpointUnreadable(
                f"tenant {self._feed.tenant}: the checkpoint's record of the last order is damaged or of a "
                "newer version; it was left as it is: run the version that wrote it"
            ) from error

"""The commit log in memory: atomic, ordered, and it can fail on purpose at either side of a commit."""

import asyncio
from collections import deque

from ingest.errors import RecordsRejected, Rewound
from ingest.pipeline.ports import Batch, Record, Restored, Topic


class MemoryCommitLog:
    """Keeps what is committed; `failures` says what becomes of the next commits.

    `before` loses a commit, `after` loses only its answer, `reject` refuses its first record.
    """

    def __init__(self, *, max_record_bytes: int = 1_000_000) -> None:
        self.published: list[Record] = []
        self.checkpoints: dict[bytes, bytes] = {}
        self.failures: deque[str] = deque()
        self.commits = 0
        self.statuses: dict[str, bytes | None] = {}
        self._epochs: dict[str, int] = {}
        self._max = max_record_bytes

    async def restore(self, feed):
        await asyncio.sleep(0)
        prefix = str(feed).encode()
        records = {
            key: value
            for key, value in self.checkpoints.items()
            if key == prefix or key.startswith(prefix + b"/")
        }
        return Restored(self._epochs.setdefault(str(feed), 1), records)

    async def commit(self, batch: Batch) -> None:
        await asyncio.sleep(0)
        feed = str(batch.feed)
        if batch.epoch != self._epochs.get(feed):
            raise Rewound("an older epoch")
        failure = self.failures.popleft() if self.failures else ""
        if failure == "reject" and batch.records:
            self._epochs[feed] += 1
            raise RecordsRejected("refused", positions=(0,), reason="too_large")
        if failure == "before":
            self._epochs[feed] += 1
            raise Rewound("nothing was committed")
        self.published.extend(batch.records)
        for key, value in batch.checkpoint.items():
            if value is None:
                self.checkpoints.pop(key, None)
            else:
                self.checkpoints[key] = value
        self.commits += 1
        if failure == "after":
            self._epochs[feed] += 1
            raise Rewound("everything was committed")

    def report(self, tenant: str, status: bytes | None, *, soon: bool) -> None:
        self.statuses[tenant] = status

    def max_record_bytes(self, topic: Topic) -> int:
        return self._max

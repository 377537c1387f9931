"""All tenants together: a worker for each, and one line a minute that says how they do."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

import structlog

from ingest.model.status import FeedStatus, State
from ingest.pipeline.ports import Clock
from ingest.pipeline.worker import Worker

_LOOK_SECONDS = 1.0
_LINE_SECONDS = 60.0

Spawn = Callable[[str, Callable[[], Awaitable[None]]], None]
"""Runs an eternal coroutine function under a name, and again if it ends unbidden."""


class Fleet:
    """The workers of this process."""

    def __init__(
        self,
        *,
        workers: Iterable[Worker],
        clock: Clock,
        events: structlog.stdlib.BoundLogger,
    ) -> None:
        self._workers = list(workers)
        self._clock = clock
        self._events = events

    def start(self, spawn: Spawn) -> None:
        """Start every worker and the watch over them."""
        for worker in self._workers:
            spawn(f"reader of {worker.status.feed}", worker.run)
        spawn("watch over the fleet", self._watch)

    def snapshot(self) -> list[FeedStatus]:
        """Return how every feed is doing."""
        return [worker.status for worker in self._workers]

    async def _watch(self) -> None:
        line_at = self._clock.monotonic() + _LINE_SECONDS
        while True:
            await self._clock.sleep(_LOOK_SECONDS)
            for worker in self._workers:
                worker.notice_lag()
            if self._clock.monotonic() >= line_at:
                line_at += _LINE_SECONDS
                self._say()

    def _say(self) -> None:
        statuses = self.snapshot()
        states = Counter(status.state for status in statuses)
        now = self._clock.unix()
        ages = [now - status.fresh_at for status in statuses if status.fresh_at is not None]
        self._events.info(
            "fleet",
            tenants=len(statuses),
            oldest_reading_seconds=round(max(ages), 1) if ages else None,
            remembered=sum(status.remembered for status in statuses),
            **{str(state).replace("-", "_"): states[state] for state in State},
        )

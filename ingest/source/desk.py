"""How much is decided on at once.

Where all tenants are overdue the daemon would else read every answer before it decides on the first: what
lies there for seconds is no longer in the processor's cache, and was asked for too early.
"""

import asyncio

from ingest.pipeline.ports import Clock
from ingest.source.memory import SMALL_BYTES, Lease, Room

_BYTES = 32 * 1024 * 1024
"""Answers that are read and decided on at once, until Kafka has them; and one more, however large."""

_ENOUGH_BYTES = _BYTES // 2
"""So many keep whoever decides on them busy."""

_PATIENCE_SECONDS = 5.0


class Desk:
    """Places for answers of `largest` bytes at most."""

    def __init__(self, *, largest: int, clock: Clock) -> None:
        self._room = Room(capacity=_BYTES + largest, largest=largest, tell=lambda _: None)
        self._clock = clock
        self._moved = clock.monotonic()
        self._lately = 0.0
        self._lately_at = self._moved

    @property
    def is_busy(self) -> bool:
        """Whether so much lies there, and moves, that more need not be asked for yet.

        What lies there and does not move is no reason to ask for less: it is a shard's that Kafka does not
        take.
        """
        return self._room.used > _ENOUGH_BYTES and self._flow() > _ENOUGH_BYTES

    def _flow(self) -> float:
        """Return about how many bytes came in the last second; what is older counts less and less."""
        now = self._clock.monotonic()
        self._lately *= 0.5 ** (now - self._lately_at)
        self._lately_at = now
        return self._lately

    def place(self) -> Lease:
        """Return a place of nothing yet."""
        return self._room.lease()

    async def take(self, place: Lease, size: int) -> None:
        """Wait for a place, but not for ever.

        What lies there may be a shard's that Kafka does not take just now: once no large answer has found a
        place for five seconds, others go on beside it. Small ones fit in what is left, and tell nothing.
        """
        self._lately = self._flow() + size
        if not place.covers(size):
            left = self._moved + _PATIENCE_SECONDS - self._clock.monotonic()
            try:
                async with asyncio.timeout(max(0.0, left)):
                    await place.cover(size)
            except TimeoutError:
                return
        if size > SMALL_BYTES:
            self._moved = self._clock.monotonic()

"""The end: one deadline, spent in named phases, each bounded by what is left."""

import asyncio
from collections.abc import Awaitable

import structlog

from ingest.pipeline.ports import Clock


class Deadline:
    """A bound that is built once and passed down; every phase asks how much is left."""

    def __init__(self, *, seconds: float, clock: Clock) -> None:
        self._clock = clock
        self._at = clock.monotonic() + seconds

    def remaining(self, share: float = 1.0) -> float:
        """Return the given share of the seconds left, never below 0."""
        return max(0.0, self._at - self._clock.monotonic()) * share


async def phase(
    name: str,
    work: Awaitable[None],
    *,
    seconds: float,
    events: structlog.stdlib.BoundLogger,
) -> bool:
    """Run one phase of the stop within its bound; a failure or a late end is logged, never raised."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        events.warning("shutdown_phase_late", phase=name, seconds=round(seconds, 1))
        return False
    except Exception:
        # Every phase gets its turn, whatever became of the one before.
        events.exception("shutdown_phase_failed", phase=name)
        return False
    return True

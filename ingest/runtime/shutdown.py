"""The end: one deadline, spent in named phases, last opened first closed."""

import asyncio
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self, TypeVar

import structlog

from ingest.pipeline.ports import Clock

T = TypeVar("T")

_SHARE = 0.75
"""A phase may spend this part of what is left, so that the ones after it have their turn."""

_LEAST_SECONDS = 0.5


class Deadline:
    """A bound that is built once and passed down; every phase asks how much is left."""

    def __init__(self, *, seconds: float, clock: Clock) -> None:
        self._clock = clock
        self._at = clock.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds left, never below 0."""
        return max(0.0, self._at - self._clock.monotonic())


class Stages:
    """What the process opened, by name; closed in reverse order under one deadline.

    A stage that fails to close, or is late, is logged by name and the next one has its turn: a stop
    always ends. Opening that fails half-way is unwound in the same way.
    """

    def __init__(
        self, *, grace_seconds: float, clock: Clock, events: structlog.stdlib.BoundLogger
    ) -> None:
        self._grace = grace_seconds
        self._clock = clock
        self._events = events
        self._open: list[tuple[str, AbstractAsyncContextManager[object]]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        deadline = Deadline(seconds=self._grace, clock=self._clock)
        while self._open:
            name, stage = self._open.pop()
            seconds = max(_LEAST_SECONDS, deadline.remaining() * _SHARE)
            await self._close(name, stage.__aexit__(None, None, None), seconds)

    async def enter(self, name: str, stage: AbstractAsyncContextManager[T]) -> T:
        """Open a stage; it is closed before everything that was opened earlier."""
        value = await stage.__aenter__()
        self._open.append((name, stage))
        return value

    async def _close(self, name: str, closing: Awaitable[object], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await closing
        except TimeoutError:
            self._events.warning("stage_closed_late", stage=name, seconds=round(seconds, 1))
        except Exception:
            # Every stage gets its turn, whatever became of the one before.
            self._events.exception("stage_failed_to_close", stage=name)
        else:
            self._events.debug("stage_closed", stage=name)

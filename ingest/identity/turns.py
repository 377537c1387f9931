"""Who may ask next: a few at a time, and of those who wait whoever is due first."""

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Turns:
    """A semaphore whose queue is in order of `due`; those who give up waiting leave no trace.

    `width` is asked whenever somebody comes or leaves: it may change while turns are had, and only then.
    """

    def __init__(self, width: Callable[[], int]) -> None:
        self._width = width
        self._taken = 0
        self._queue: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    @asynccontextmanager
    async def turn(self, due: float) -> AsyncIterator[None]:
        """Wait for a turn, and have it until the context is left."""
        if self._taken < self._width():
            self._taken += 1
        else:
            called = asyncio.get_running_loop().create_future()
            # Those due at the same time in the order in which they came.
            heapq.heappush(self._queue, (due, next(self._numbers), called))
            try:
                await called
            except asyncio.CancelledError:
                if called.done() and not called.cancelled():
                    self._pass_on()
                raise
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        self._taken -= 1
        width = self._width()
        while self._queue and self._taken < width:
            _due, _number, called = heapq.heappop(self._queue)
            if not called.done():
                self._taken += 1
                called.set_result(None)

"""Who may ask next: a few at a time, and of those who wait whoever is due first."""

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """A semaphore whose queue is in order of `due`; those who give up waiting leave no trace."""

    def __init__(self, width: int) -> None:
        self._free = width
        self._queue: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    @asynccontextmanager
    async def turn(self, due: float) -> AsyncIterator[None]:
        """Wait for a turn, and have it until the context is left."""
        if self._free:
            self._free -= 1
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
        while self._queue:
            _due, _number, called = heapq.heappop(self._queue)
            if not called.done():
                called.set_result(None)
                return
        self._free += 1

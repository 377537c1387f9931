"""How many calls are under way at once: few at first, and more as long as their answers find a place.

Where all tenants are overdue, as many calls as there may be connections would bring in at once what is
decided on one answer after another: it would only lie in memory. How many are needed depends on how far away
the cloud is, so it is found out, as TCP finds out how much a network carries.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType

_FEWEST = 8
"""Calls that are always allowed at once."""

_STALL_SECONDS = 0.1
"""Where nobody had a turn for so long, those who have one are slow, and must not hold up all others."""


class Turns:
    """Gives turns in the order in which they are asked for; `async with turns:` is one call.

    Args:
        most: the most calls at once.
        is_enough: tells whether their answers keep whoever decides on them busy.
    """

    def __init__(self, most: int, *, is_enough: Callable[[], bool]) -> None:
        self._most = most
        self._is_enough = is_enough
        self._fewest = min(_FEWEST, most)
        self._limit = self._fewest
        self._taken = 0
        self._has_moved = False
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._alarm: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        """Wait for a turn."""
        if self._taken < self._limit:
            # So nobody waits.
            self._taken += 1
            return
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append(turn)
        if self._alarm is None:
            self._alarm = loop.call_later(_STALL_SECONDS, self._look)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                # It was given just now, to somebody who no longer wants it.
                self._taken -= 1
                self._serve()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the turn back."""
        self._taken -= 1
        # What was needed once may be too many when everybody is overdue.
        if self._is_enough() or self._taken < self._limit // 2:
            self._limit = max(self._fewest, self._limit - 1)
        elif self._waiting:
            self._limit = min(self._most, self._limit + 1)
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self._taken < self._limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self._taken += 1
                self._has_moved = True
                turn.set_result(None)

    def _look(self) -> None:
        """Allow more calls if those under way stand still: one, where it is for want of a place."""
        self._alarm = None
        if not self._has_moved:
            more = 1 if self._is_enough() else self._limit
            self._limit = min(self._most, self._limit + more)
            self._serve()
        self._has_moved = False
        if self._waiting:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(_STALL_SECONDS, self._look)

"""Room in memory for answers that are being read, for all tenants together.

An answer's size is not known before it is read, so a lease grows while it is. Growing step by step can
deadlock when everybody holds a part and waits for more; so a part of the room, as large as the largest
answer, is kept for one lease at a time, which can then always be finished.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Room:
    """A bounded number of bytes.

    Args:
        capacity: bytes of all leases together.
        largest: the most that one lease can come to; kept back from the common part.
        tell: is told the bytes held, when they change.
    """

    def __init__(self, *, capacity: int, largest: int, tell: Callable[[int], None]) -> None:
        self._common = max(0, capacity - largest)
        self._held = 0
        self._used = 0
        self._tell = tell
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._reserve_taken = False
        self.largest = largest

    def lease(self) -> "Lease":
        """Return a lease of nothing yet."""
        return Lease(self)

    async def take(self, size: int, lease: "Lease") -> None:
        """Add `size` bytes to a lease; waits for room."""
        if not lease.in_reserve and self._held + size > self._common:
            await self._wait(size, lease)
        if lease.in_reserve:
            lease.reserved += size
        else:
            self._held += size
            lease.common += size
        self._count(size)

    async def _wait(self, size: int, lease: "Lease") -> None:
        """Wait for the common part or for the reserve, whichever has room first."""
        while self._held + size > self._common:
            if not self._reserve_taken:
                self._reserve_taken = lease.in_reserve = True
                return
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn

    def give_back(self, lease: "Lease") -> None:
        """Take all of a lease back."""
        self._held -= lease.common
        if lease.in_reserve:
            self._reserve_taken = False
        self._count(-lease.common - lease.reserved)
        lease.common = lease.reserved = 0
        lease.in_reserve = False
        # All of them look again, in their order: who does not fit waits again.
        waiting, self._waiting = self._waiting, deque()
        for turn in waiting:
            if not turn.done():
                turn.set_result(None)

    def _count(self, size: int) -> None:
        self._used += size
        self._tell(self._used)


class Lease:
    """What one call holds; all of it is given back when the context is left."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.common = 0
        self.reserved = 0
        self.in_reserve = False

    async def __aenter__(self) -> Self:
        """Hold nothing yet."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give everything back."""
        self._room.give_back(self)

    async def cover(self, size: int) -> None:
        """Have room for `size` bytes in all; grows by doubling, so that few have to wait often."""
        held = self.common + self.reserved
        if size > held:
            wanted = max(size, min(2 * held, self._room.largest))
            await self._room.take(wanted - held, self)

"""Room in memory for answers that are being read, for all tenants together.

An answer's size is not known before it is read, so a lease grows while it is. Growing step by step can
deadlock when everybody holds a part and waits for more; so a part of the room, as large as the largest
answer, is kept for one lease at a time, which can then always be finished.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

SMALL_BYTES = 64 * 1024
"""The size of a small answer: most hold nothing, or little."""


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
        self.used = 0
        self._tell = tell
        self._waiting: list[_Waiting] = []
        self._reserve_taken = False
        self.largest = largest

    def lease(self) -> "Lease":
        """Return a lease of nothing yet."""
        return Lease(self)

    async def wait(self, size: int, lease: "Lease") -> None:
        """Add `size` bytes to a lease once there is room."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, lease, turn))
        await turn

    def grant(self, size: int, lease: "Lease") -> bool:
        """Add to a lease, from the common part or from the reserve; tell whether either had room."""
        if not lease.in_reserve and self._held + size > self._common:
            if self._reserve_taken:
                return False
            self._reserve_taken = lease.in_reserve = True
        if lease.in_reserve:
            lease.reserved += size
        else:
            self._held += size
            lease.common += size
        self._count(size)
        return True

    def give_back(self, lease: "Lease") -> None:
        """Take all of a lease back."""
        self._held -= lease.common
        if lease.in_reserve:
            self._reserve_taken = False
        self._count(-lease.common - lease.reserved)
        lease.common = lease.reserved = 0
        lease.in_reserve = False
        # In their order; who does not fit goes on waiting, and need not be woken to find that out: with a
        # few hundred of them, that would take as long as the answers do.
        self._waiting = [waiting for waiting in self._waiting if not self._is_served(*waiting)]

    def _is_served(self, size: int, lease: "Lease", turn: asyncio.Future[None]) -> bool:
        if turn.done():
            return True
        is_granted = self.grant(size, lease)
        if is_granted:
            # Should it be cancelled before it goes on, its lease gives this back.
            turn.set_result(None)
        return is_granted

    def _count(self, size: int) -> None:
        self.used += size
        self._tell(self.used)


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
        if not self.covers(size):
            await self._room.wait(self._lack(size), self)

    def covers(self, size: int) -> bool:
        """Have room for `size` bytes in all if that needs no wait; tell whether."""
        return size <= self.common + self.reserved or self._room.grant(self._lack(size), self)

    def _lack(self, size: int) -> int:
        held = self.common + self.reserved
        return max(size, min(2 * held, self._room.largest)) - held


_Waiting = tuple[int, Lease, asyncio.Future[None]]
"""Bytes wanted, for which lease, and what is told when it has them."""

"""A process in the event loop that can be killed or frozen at any await that reaches outside.

Whatever it does to the world passes its gate, once on the way out and once with the answer. What is done
between two gates is done at once, so a fault at every gate is a fault at every await.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any


class Fate(StrEnum):
    """What befalls a process at a gate."""

    CRASH = "crash"
    FREEZE = "freeze"


class Process:
    """Its tasks end with it; frozen, none of them gets past a gate.

    Args:
        name: for people.
        rng: draws how long each passage takes.
    """

    def __init__(self, name: str, rng: random.Random) -> None:
        self.name = name
        self.is_dead = False
        self._rng = rng
        self._awake = asyncio.Event()
        self._awake.set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._fate: Fate | None = None
        self._passages = 0

    def __repr__(self) -> str:
        return self.name

    @property
    def is_frozen(self) -> bool:
        return not self._awake.is_set()

    @property
    def is_well(self) -> bool:
        return not (self.is_dead or self.is_frozen)

    @property
    def tasks(self) -> frozenset[asyncio.Task[Any]]:
        return frozenset(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a task of this process."""
        return self.keep(asyncio.get_running_loop().create_task(work))

    def keep(self, task: asyncio.Task[Any]) -> asyncio.Task[Any]:
        """Take a task for one of this process."""
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def doom(self, fate: Fate | None, passages: int) -> None:
        """Let a fate befall the process at the gate that comes after so many others."""
        self._fate, self._passages = fate, passages

    def freeze(self) -> None:
        self._awake.clear()

    def wake(self) -> None:
        self._awake.set()

    def kill(self) -> None:
        self.is_dead = True
        self._awake.set()
        for task in self._tasks:
            task.cancel()

    async def gate(self) -> None:
        """Let a moment pass; a dead process never gets further, a frozen one not until it wakes."""
        if self._fate is not None:
            self._passages -= 1
            if self._passages < 0:
                fate, self._fate = self._fate, None
                if fate is Fate.CRASH:
                    self.kill()
                else:
                    self.freeze()
        self._die_if_dead()
        await asyncio.sleep(self._rng.uniform(0.001, 0.02))
        await self._awake.wait()
        self._die_if_dead()

    async def patience(self, ready: Callable[[], bool]) -> None:
        """Ask again and again, as a client does, until it is so."""
        while not ready():
            await asyncio.sleep(0.05)
            await self.gate()

    def _die_if_dead(self) -> None:
        if self.is_dead:
            raise asyncio.CancelledError(f"{self.name} is dead")

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Clients keep what failed where nobody asks for it any more.
            task.exception()


class ProcessClock:
    """The clock of a process: what sleeps in it does not go on while it is frozen."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def unix(self) -> float:
        return 1_700_000_000.0 + asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._process.gate()

"""Tasks with names in words; one that is meant to be eternal and ends is a fault.

A task that fails is logged with its traceback and started again after a pause, unless its error asks to
stop the process. One task's fault never touches another (law 4).
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import structlog

from ingest.errors import IngestError, Recovery
from ingest.pipeline.ports import Clock
from ingest.telemetry.metrics import RuntimeMetrics

_PAUSE_CAP_SECONDS = 60.0
_STUCK_SECONDS = 5.0


class Supervisor:
    """Owns every eternal task of the process."""

    def __init__(
        self,
        *,
        clock: Clock,
        rng: random.Random,
        metrics: RuntimeMetrics,
        events: structlog.stdlib.BoundLogger,
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._events = events
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._fatal: asyncio.Future[IngestError] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()
        self._fatal.cancel()

    def spawn(self, name: str, run: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """Run `run` under `name`, and again whenever it ends unbidden; return what ends it."""
        task = asyncio.get_running_loop().create_task(self._guard(name, run), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

        async def end() -> None:
            self._ending.add(task)
            task.cancel()
            _, stuck = await asyncio.wait({task}, timeout=_STUCK_SECONDS)
            if stuck:
                self._events.warning("tasks_stuck", tasks=[name], count=1)
            self._ending.discard(task)

        return end

    async def until(self, stop: asyncio.Event) -> IngestError | None:
        """Wait until `stop` is set, or for the error that asks to stop the process."""
        asked = asyncio.get_running_loop().create_task(stop.wait(), name="wait for the stop")
        try:
            waiting: set[asyncio.Future[Any]] = {asked, self._fatal}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
        return self._fatal.result() if self._fatal.done() else None

    async def stop(self) -> None:
        """Cancel every task and wait for all of them; those that hang are named in the log."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        while self._tasks:
            _, stuck = await asyncio.wait(set(self._tasks), timeout=_STUCK_SECONDS)
            if stuck:
                names = sorted(task.get_name() for task in stuck)
                self._events.warning("tasks_stuck", tasks=names[:10], count=len(names))

    async def _guard(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        faults = 0
        while True:
            began = self._clock.monotonic()
            try:
                await run()
                if not self._is_to_end():  # a cancelled task may still end of itself
                    self._events.error("task_ended_unbidden", task=name)
            except IngestError as error:
                if error.recovery is Recovery.STOP:
                    if not self._fatal.done():
                        self._fatal.set_result(error)
                    return
                self._events.exception("task_failed", task=name)
            except Exception:
                # The last line of defence: a defect in one task must not become everybody's.
                self._events.exception("task_failed", task=name)
            if self._is_to_end():
                return
            lived = self._clock.monotonic() - began
            faults = 1 if lived > _PAUSE_CAP_SECONDS else faults + 1
            self._metrics.task_restarted(name.partition(" of ")[0])
            pause = min(_PAUSE_CAP_SECONDS, 0.5 * 2.0**faults)
            await self._clock.sleep(pause * (0.5 + 0.5 * self._rng.random()))

    def _is_to_end(self) -> bool:
        return self._stopping or asyncio.current_task() in self._ending

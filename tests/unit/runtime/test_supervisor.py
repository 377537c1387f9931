import asyncio
import random
from itertools import pairwise

import pytest
import structlog
from prometheus_client import CollectorRegistry

from ingest.errors import SourceUnavailable, TopicMismatch
from ingest.runtime.supervisor import Supervisor
from ingest.telemetry.metrics import RuntimeMetrics
from tests.fakes.clock import LoopClock

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]


def _supervisor():
    return Supervisor(
        clock=LoopClock(),
        rng=random.Random(1),
        metrics=RuntimeMetrics(CollectorRegistry()),
        events=structlog.get_logger(),
    )


async def test_a_task_that_fails_is_started_again_after_a_pause():
    runs = []

    async def fail():
        runs.append(asyncio.get_running_loop().time())
        raise RuntimeError("defect")

    async with _supervisor() as supervisor:
        supervisor.spawn("failing task", fail)
        await asyncio.sleep(20)
    assert len(runs) >= 3
    assert all(later - earlier >= 0.5 for earlier, later in pairwise(runs))


async def test_an_eternal_task_that_ends_is_a_fault_and_runs_again():
    runs = []

    async def end():
        runs.append(1)

    with structlog.testing.capture_logs() as logs:
        async with _supervisor() as supervisor:
            supervisor.spawn("reader of nothing", end)
            await asyncio.sleep(5)
    assert len(runs) > 1
    assert logs[0]["event"] == "task_ended_unbidden"
    assert logs[0]["task"] == "reader of nothing"


async def test_one_tasks_fault_does_not_touch_another():
    beats = []

    async def beat():
        while True:
            beats.append(1)
            await asyncio.sleep(1)

    async def fail():
        raise SourceUnavailable("cut", reason="cut")

    async with _supervisor() as supervisor:
        supervisor.spawn("beating task", beat)
        supervisor.spawn("failing task", fail)
        await asyncio.sleep(10.5)
    assert len(beats) == 11


async def test_an_error_that_stops_the_process_is_handed_up():
    async def refuse():
        raise TopicMismatch("topic is another installation's")

    async with _supervisor() as supervisor:
        supervisor.spawn("shard", refuse)
        error = await supervisor.until(asyncio.Event())
    assert isinstance(error, TopicMismatch)


async def test_a_stop_that_is_asked_for_has_no_error():
    stop = asyncio.Event()
    async with _supervisor() as supervisor:
        asyncio.get_running_loop().call_later(3, stop.set)
        assert await supervisor.until(stop) is None


async def test_a_task_that_hangs_in_its_end_is_named():
    async def hang():
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(12)

    with structlog.testing.capture_logs() as logs:
        async with _supervisor() as supervisor:
            supervisor.spawn("reader of molasses", hang)
            await asyncio.sleep(1)
    stuck = [line for line in logs if line["event"] == "tasks_stuck"]
    assert stuck
    assert stuck[0]["tasks"] == ["reader of molasses"]

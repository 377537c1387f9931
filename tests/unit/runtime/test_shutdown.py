import asyncio
from contextlib import asynccontextmanager

import pytest
import structlog

from ingest.runtime.shutdown import Stages
from tests.fakes.clock import LoopClock

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]


def _stages(grace=20.0):
    return Stages(grace_seconds=grace, clock=LoopClock(), events=structlog.get_logger())


def _stage(name, journal, *, closing=0.0, error=None):
    @asynccontextmanager
    async def stage():
        journal.append(f"open {name}")
        yield name
        await asyncio.sleep(closing)
        if error:
            raise error
        journal.append(f"close {name}")

    return stage()


async def test_stages_close_in_the_reverse_order_of_opening():
    journal = []
    async with _stages() as stages:
        for name in ("tokens", "kafka", "readers"):
            await stages.enter(name, _stage(name, journal))
    assert journal[3:] == ["close readers", "close kafka", "close tokens"]


async def test_a_stage_that_hangs_leaves_time_for_the_others(looptime):
    journal = []
    with structlog.testing.capture_logs() as logs:
        async with _stages(grace=20.0) as stages:
            await stages.enter("kafka", _stage("kafka", journal, closing=1.0))
            await stages.enter("readers", _stage("readers", journal, closing=3600.0))
    assert journal[-1] == "close kafka"
    assert looptime <= 20
    assert [line["stage"] for line in logs if line["event"] == "stage_closed_late"] == ["readers"]


async def test_a_stage_that_fails_to_close_does_not_stop_the_others():
    journal = []
    async with _stages() as stages:
        await stages.enter("kafka", _stage("kafka", journal))
        await stages.enter("portal", _stage("portal", journal, error=RuntimeError("defect")))
    assert journal[-1] == "close kafka"


async def test_opening_that_fails_half_way_closes_what_was_opened():
    journal = []

    @asynccontextmanager
    async def broken():
        raise OSError("port in use")
        yield

    with pytest.raises(OSError, match="port in use"):
        async with _stages() as stages:
            await stages.enter("kafka", _stage("kafka", journal))
            await stages.enter("portal", broken())
    assert journal == ["open kafka", "close kafka"]

import asyncio

import pytest

from ingest.source.desk import Desk
from tests.fakes.clock import LoopClock

pytestmark = pytest.mark.looptime
MB = 1024 * 1024


async def _lie(desk, size, seconds):
    async with desk.place() as place:
        await desk.take(place, size)
        await asyncio.sleep(seconds)


async def test_a_desk_is_busy_while_much_comes_and_lies_there():
    desk = Desk(largest=64 * MB, clock=LoopClock())
    assert not desk.is_busy
    for _ in range(100):
        lying = [asyncio.create_task(_lie(desk, MB, 0.3)) for _ in range(20)]
        await asyncio.sleep(0.2)
        assert desk.is_busy
    await asyncio.gather(*lying)
    assert not desk.is_busy


async def test_a_desk_is_not_busy_with_what_goes_as_it_comes():
    desk = Desk(largest=64 * MB, clock=LoopClock())
    for _ in range(200):
        await _lie(desk, MB, 0.01)
        assert not desk.is_busy


async def test_a_desk_is_not_busy_with_what_does_not_move():
    desk = Desk(largest=64 * MB, clock=LoopClock())
    stuck = [asyncio.create_task(_lie(desk, MB, 3600)) for _ in range(40)]
    await asyncio.sleep(4)
    assert not desk.is_busy
    for _ in range(20):
        # Others' answers come and go beside it.
        await _lie(desk, MB, 0.5)
        assert not desk.is_busy
    for task in stuck:
        task.cancel()


async def test_large_answers_that_wait_in_vain_go_on_after_five_seconds():
    desk = Desk(largest=64 * MB, clock=LoopClock())
    stuck = [asyncio.create_task(_lie(desk, MB, 3600)) for _ in range(96)]
    await asyncio.sleep(0)
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(_lie(desk, 4 * MB, 0) for _ in range(20)))
    assert 5.0 <= asyncio.get_running_loop().time() - began < 5.5
    for task in stuck:
        task.cancel()

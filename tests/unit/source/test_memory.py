import asyncio

import pytest

from ingest.source.memory import Room

pytestmark = pytest.mark.looptime
MB = 1024 * 1024


async def _read(room, size, held=1.0):
    async with room.lease() as lease:
        covered = 0
        while covered < size:
            covered = min(size, covered + 256 * 1024)
            await lease.cover(covered)
            await asyncio.sleep(0.01)
        await asyncio.sleep(held)


async def test_many_large_answers_share_the_room_and_all_are_read():
    seen = []
    room = Room(capacity=16 * MB, largest=4 * MB, tell=seen.append)
    async with asyncio.timeout(600):
        await asyncio.gather(*(_read(room, 4 * MB) for _ in range(50)))
    assert max(seen) <= 16 * MB
    assert seen[-1] == 0


async def test_room_that_is_used_up_lets_one_finish_after_another():
    # The common part is full of leases that all want more: step by step, they would wait for ever.
    room = Room(capacity=5 * MB, largest=4 * MB, tell=lambda _: None)
    async with asyncio.timeout(600):
        await asyncio.gather(*(_read(room, 4 * MB) for _ in range(12)))


async def test_small_answers_are_read_beside_a_large_slow_one():
    room = Room(capacity=16 * MB, largest=4 * MB, tell=lambda _: None)
    slow = asyncio.create_task(_read(room, 4 * MB, held=1000.0))
    await asyncio.sleep(10)
    async with asyncio.timeout(30):
        await asyncio.gather(*(_read(room, 64 * 1024) for _ in range(100)))
    slow.cancel()


async def test_whoever_gives_up_waiting_leaves_nothing_behind():
    seen = []
    room = Room(capacity=5 * MB, largest=4 * MB, tell=seen.append)
    readers = [asyncio.create_task(_read(room, 4 * MB, held=50.0)) for _ in range(6)]
    await asyncio.sleep(5)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    assert seen[-1] == 0
    async with asyncio.timeout(60):
        await _read(room, 4 * MB)


async def test_whoever_is_cancelled_as_room_is_found_for_it_leaves_nothing_behind():
    seen = []
    room = Room(capacity=5 * MB, largest=4 * MB, tell=seen.append)
    async with room.lease() as common, room.lease() as reserve:
        await common.cover(MB)
        await reserve.cover(MB)
        waiting = asyncio.create_task(_read(room, 256 * 1024))
        await asyncio.sleep(1)
        assert seen[-1] == 2 * MB
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert seen[-1] == 0


async def test_those_who_wait_are_served_in_their_order_and_not_woken_in_vain():
    room = Room(capacity=5 * MB, largest=4 * MB, tell=lambda _: None)
    served = []

    async def read(number):
        async with room.lease() as lease:
            await lease.cover(MB)
            served.append(number)
            await asyncio.sleep(1)

    steps = 0
    loop = asyncio.get_running_loop()
    call_soon = loop.call_soon

    def counting(*args, **kwargs):
        nonlocal steps
        steps += 1
        return call_soon(*args, **kwargs)

    loop.call_soon = counting
    await asyncio.gather(*map(read, range(200)))
    assert served == list(range(200))
    assert steps < 200 * 10

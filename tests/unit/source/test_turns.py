import asyncio

import pytest

from ingest.source.turns import Turns

pytestmark = pytest.mark.looptime


class Calls:
    """Calls that take a second each, or as long as told; how many were under way at once."""

    def __init__(self, most):
        self.enough = False
        self.turns = Turns(most, is_enough=lambda: self.enough)
        self.now = self.peak = 0
        self.begun = []

    async def call(self, name=None, seconds=1.0):
        async with self.turns:
            self.begun.append(name)
            self.now += 1
            self.peak = max(self.peak, self.now)
            try:
                await asyncio.sleep(seconds)
            finally:
                self.now -= 1

    async def is_made_beside(self, slow, *, after):
        """So many calls that do not end are under way after so many seconds, and one more is made."""
        tasks = [asyncio.create_task(self.call(seconds=3600)) for _ in range(slow)]
        await asyncio.sleep(after)
        assert self.now == slow
        async with asyncio.timeout(1.2):
            await self.call()
        for task in tasks:
            task.cancel()


@pytest.fixture
def calls():
    return Calls(512)


async def test_calls_begin_few_at_once(calls):
    tasks = [asyncio.create_task(calls.call()) for _ in range(400)]
    await asyncio.sleep(0.05)
    assert calls.now == 8
    await asyncio.gather(*tasks)


async def test_there_are_more_as_long_as_their_answers_find_a_place(calls):
    async with asyncio.timeout(4):
        await asyncio.gather(*(calls.call(seconds=0.05) for _ in range(1000)))
    assert 64 < calls.peak <= 512


async def test_turns_come_in_the_order_in_which_they_are_asked_for(calls):
    await asyncio.gather(*(calls.call(name) for name in range(100)))
    assert calls.begun == list(range(100))


async def test_slow_calls_do_not_hold_others_up(calls):
    await calls.is_made_beside(300, after=1)


async def test_there_are_never_more_than_are_allowed():
    calls = Calls(20)
    await asyncio.gather(*(calls.call(seconds=5) for _ in range(100)))
    assert calls.peak == 20
    alone = Calls(1)
    await asyncio.gather(*(alone.call(seconds=5) for _ in range(5)))
    assert alone.peak == 1


async def test_there_are_few_while_what_they_bring_is_enough(calls):
    await asyncio.gather(*(calls.call(seconds=0.05) for _ in range(1000)))
    calls.enough = True
    await asyncio.gather(*(calls.call(seconds=0.05) for _ in range(1000)))
    tasks = [asyncio.create_task(calls.call(seconds=0.05)) for _ in range(400)]
    await asyncio.sleep(0.04)
    assert calls.now == 8
    await asyncio.gather(*tasks)


async def test_where_those_under_way_wait_for_a_place_others_are_read_all_the_same(calls):
    """Theirs may be a shard's that Kafka does not take just now."""
    calls.enough = True
    await calls.is_made_beside(40, after=5)


async def test_a_fleet_that_needs_few_begins_few_when_all_are_overdue(calls):
    await asyncio.gather(*(calls.call(seconds=0.05) for _ in range(1000)))
    for _ in range(600):
        await calls.call(seconds=0.01)
    tasks = [asyncio.create_task(calls.call()) for _ in range(400)]
    await asyncio.sleep(0.05)
    assert calls.now == 8
    await asyncio.gather(*tasks)


async def test_whoever_gives_up_leaves_its_turn_to_others():
    calls = Calls(2)
    first = [asyncio.create_task(calls.call(seconds=10)) for _ in range(2)]
    await asyncio.sleep(0)
    given_up = [asyncio.create_task(calls.call("given up")) for _ in range(20)]
    await asyncio.sleep(1)
    for task in given_up:
        task.cancel()
    await asyncio.sleep(0)
    last = asyncio.create_task(calls.call("last"))
    await asyncio.gather(*first, last)
    assert "given up" not in calls.begun
    async with asyncio.timeout(0.05):
        async with calls.turns, calls.turns:
            pass


async def test_a_turn_that_is_given_to_somebody_who_gives_up_is_not_lost():
    calls = Calls(1)
    async with calls.turns:
        unlucky, next_one = (asyncio.create_task(calls.call(name)) for name in ("unlucky", "next"))
        await asyncio.sleep(0)
    # It has its turn, and is cancelled before it can go on.
    unlucky.cancel()
    await next_one
    assert calls.begun == ["next"]

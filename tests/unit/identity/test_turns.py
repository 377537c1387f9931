"""Turns: so many at once, those due first come first, and nobody's giving up costs a turn."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.identity.turns import Turns


async def take(turns, due, had):
    async with turns.turn(due):
        had.append(due)
        await asyncio.sleep(1)


@asynccontextmanager
async def busy(width=1):
    """Turns that are all taken for a second."""
    turns = Turns(lambda: width)
    tasks = [asyncio.create_task(take(turns, 0, [])) for _ in range(width)]
    await asyncio.sleep(0)
    yield turns
    await asyncio.gather(*tasks)


@pytest.mark.asyncio
@pytest.mark.looptime
async def test_those_due_first_come_first_in_whatever_order_they_ask():
    had = []
    async with busy() as turns:
        waiting = [asyncio.create_task(take(turns, due, had)) for due in (3, 1, 2)]
    await asyncio.gather(*waiting)
    assert had == [1, 2, 3]


@pytest.mark.asyncio
@pytest.mark.looptime
async def test_no_more_have_a_turn_at_once_than_may():
    turns, had = Turns(lambda: 3), []
    waiting = [asyncio.create_task(take(turns, due, had)) for due in range(9)]
    await asyncio.sleep(0.5)
    assert len(had) == 3
    await asyncio.gather(*waiting)
    assert asyncio.get_running_loop().time() == 3


@pytest.mark.asyncio
@pytest.mark.looptime
async def test_who_gives_up_just_when_called_passes_the_turn_on():
    had = []
    async with busy() as turns:
        called, after = (asyncio.create_task(take(turns, due, had)) for due in (1, 2))
        await asyncio.sleep(0.9)
        # Called first and cancelled then, within one round of the loop.
        asyncio.get_running_loop().call_later(0.1, called.cancel)
    await asyncio.gather(called, after, return_exceptions=True)
    assert had == [2]
    await asyncio.wait_for(take(turns, 3, had), 1.5)


@pytest.mark.asyncio
@pytest.mark.looptime
async def test_who_fails_in_its_turn_passes_it_on():
    turns, had = Turns(lambda: 1), []
    with pytest.raises(ValueError, match="mine"):
        async with turns.turn(1):
            raise ValueError("mine")
    await asyncio.wait_for(take(turns, 2, had), 1.5)
    assert had == [2]


@pytest.mark.asyncio
@pytest.mark.looptime
async def test_a_width_that_changes_while_turns_are_had_holds_from_their_ends_on():
    width, had = 2, []
    turns = Turns(lambda: width)
    waiting = [asyncio.create_task(take(turns, due, had)) for due in range(12)]
    await asyncio.sleep(0.5)
    assert len(had) == 2
    width = 6
    await asyncio.sleep(1)
    assert len(had) == 8
    width = 1
    await asyncio.sleep(1)
    assert len(had) == 9
    await asyncio.gather(*waiting)
    assert asyncio.get_running_loop().time() == 6
    assert had == list(range(12))


@given(
    width=st.integers(1, 3),
    steps=st.lists(st.tuples(st.floats(0, 9), st.booleans(), st.integers(0, 3)), max_size=20),
)
def test_whoever_gives_up_whenever_every_turn_comes_back(width, steps):
    async def run():
        turns, tasks = Turns(lambda: width), []

        async def work(due):
            async with turns.turn(due):
                await asyncio.sleep(0)

        for due, gives_up, rounds in steps:
            tasks.append(asyncio.create_task(work(due)))
            for _ in range(rounds):
                await asyncio.sleep(0)
            if gives_up:
                tasks[len(tasks) // 2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert turns._taken == 0

    asyncio.run(run())

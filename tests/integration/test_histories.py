"""What was said of a tenant goes on, over pauses and restarts: the whole fleet in virtual time."""

import pytest
import structlog

from ingest.model.roster import Standing
from ingest.model.status import State
from tests.harness.world import World

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]


def entered(status):
    return [(one.state, one.code) for one in status.transitions]


async def test_a_state_outlives_a_restart_with_its_since_and_is_no_second_transition(signing_key):
    world = World(signing_key)
    world.fault("http_5xx", status=503, seconds=10_000)
    async with world.reading():
        await world.run(60)
        before = world.status(world.bad)
        counted = world.counted("defender_ingest_state_transitions_total")
    assert (before.state, before.code) == (State.FAILING, "http_503")
    assert counted > 0
    async with world.reading():
        await world.until(
            lambda: world.status(world.bad).state is State.FAILING,
            seconds=300,
        )
        after = world.status(world.bad)
        assert world.counted("defender_ingest_state_transitions_total") == 0
    # A record of the topic holds times to 100 ns.
    assert after.since == pytest.approx(before.since, abs=1e-5)
    assert entered(after) == entered(before)


async def test_a_pause_is_logged_and_counted_once_and_not_again_after_a_restart(signing_key):
    world = World(signing_key)
    world.events = structlog.get_logger()
    one = world.tenants[1]
    with structlog.testing.capture_logs() as told:
        async with world.reading():
            await world.run(60)
            before = world.counted("defender_ingest_state_transitions_total")
            world.placement.register(one, Standing.PAUSED, why="moving house")
            await world.run(60)
            assert world.counted("defender_ingest_state_transitions_total") == before + 1
            # Others change meanwhile, which looks at this one again.
            world.placement.register(world.tenants[2], why="another name")
            await world.run(60)
        async with world.reading():
            await world.run(60)
            paused = world.status(one)
    assert paused.state is State.PAUSED
    assert [event for event in told if event["event"] == "state_changed"] == [
        {
            "event": "state_changed",
            "log_level": "info",
            "tenant": one.id,
            "tenant_name": one.name,
            "feed": "mde-alerts",
            "state": "paused",
            "code": "paused",
            "was": "healthy",
            "reason": "paused by a test: moving house",
            "must_act": "us",
        }
    ]


async def test_who_awaits_approval_is_a_warning_once(signing_key):
    world = World(signing_key)
    world.events = structlog.get_logger()
    one = world.tenants[1]
    with structlog.testing.capture_logs() as told:
        async with world.reading():
            world.placement.register(one, Standing.AWAITING, why="consented without an invitation")
            await world.run(60)
    (event,) = (event for event in told if event["event"] == "state_changed")
    assert (event["log_level"], event["code"]) == ("warning", "awaiting_approval")
    assert event["tenant"] == one.id


async def test_a_pause_is_part_of_the_history_and_ends_none(signing_key):
    world = World(signing_key)
    one = world.tenants[1]
    async with world.reading():
        await world.run(60)
        world.placement.register(one, Standing.PAUSED, why="moving house")
        await world.run(60)
        paused = world.status(one)
        world.placement.register(one)
        await world.run(60)
        resumed = world.status(one)
    assert (paused.state, paused.reason) == (State.PAUSED, "paused by a test: moving house")
    assert paused.fresh_at is not None
    assert [state for state, _ in entered(resumed)] == ["healthy", "paused", "healthy"]

"""The issue's list of bad input, in virtual time, through the real readers: clear, whole, contained.

Each test lets one tenant of several meet something bad. Then the simulator's own audit says whether
anything of anybody is lost, twice or in the wrong place, and the other tenants were well all along.
"""

import json

import pytest

from ingest.errors import Blame
from ingest.model.status import State
from ingest.model.tenant import Tenant
from ingest.pipeline.ports import Topic
from ingest.simulator.cloud import REGION
from ingest.simulator.content import MALFORMED_FORMS
from tests.harness.world import LIMIT, PLAN, UNKNOWN, World

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

TENANTS = PLAN.tenants


@pytest.fixture
def world(signing_key) -> World:
    return World(signing_key)


async def test_without_bad_input_everything_is_published_and_nothing_set_aside(world):
    async with world.reading():
        await world.run(90)
        await world.settle()
        verdict = world.audited()
    assert verdict.quarantined == 0
    assert verdict.published > 15 * TENANTS


async def test_the_audit_of_this_world_can_fail(world):
    async with world.reading():
        await world.settle()
        world.log.published.append(world.log.published.pop(3))
        lost = world.log.published.pop(0)
        world.log.published.append(world.log.published[5])
        faults = world.verdict().faults
    assert lost.topic is Topic.ALERTS
    assert (faults["lost"], faults["twice"]) == (1, 1)


async def test_an_unknown_tenant_is_parked_with_words_for_us(world):
    world.bad = Tenant(UNKNOWN, "nobody", REGION)
    world.tenants.append(world.bad)
    async with world.reading():
        await world.run(60)
        status = world.status(world.bad)
        await world.settle()
        world.audited()
    assert (status.state, status.code, status.blame) == (State.PARKED, "unknown_tenant", Blame.US)
    assert "does not know this tenant" in status.reason
    assert not [record for record in world.log.published if UNKNOWN.encode() in record.key]


async def test_a_page_that_is_no_json_is_asked_for_again(world):
    async with world.reading():
        await world.run(30)
        for _ in range(5):
            world.fault("non_json")
            await world.run(20)
        assert world.cloud.book.counts["non_json"] == 5
        assert world.status(world.bad).state is State.HEALTHY
        await world.settle()
        world.audited()


async def test_pages_that_stay_no_json_are_a_state_and_lose_nothing(world):
    async with world.reading():
        await world.run(30)
        # From here on every version stays: one that came and went in an outage is not the reader's.
        world.cloud.customers[world.bad.id].population.freeze()
        world.fault("non_json", seconds=180)
        world.fault("late", by=1.0, count=20)
        await world.until(lambda: world.status(world.bad).state is State.FAILING, seconds=120)
        failing = world.status(world.bad)
        await world.until(lambda: world.status(world.bad).state is State.HEALTHY, seconds=900)
        await world.settle()
        world.audited()
    assert (failing.code, failing.blame) == ("unreadable", Blame.MICROSOFT)
    assert "not an object with an array of records" in failing.reason


@pytest.mark.parametrize("form", MALFORMED_FORMS)
async def test_a_record_that_is_no_alert_is_set_aside_once_whole_and_stops_nobody(world, form):
    async with world.reading():
        await world.run(30)
        world.fault("malformed", record=form)
        await world.run(30)
        assert world.status(world.bad).state is State.HEALTHY
        await world.settle()
        verdict = world.audited()
    assert verdict.quarantined == 1
    reason = {
        "no_id": "no_id",
        "empty_id": "no_id",
        "number_id": "bad_id",
        "newline_id": "bad_id",
        "giant_id": "bad_id",
        "no_time": "no_time",
        "null_time": "no_time",
        "unreadable_time": "bad_time",
        "string": "not_an_object",
        "list": "not_an_object",
    }[form]
    assert world.reasons() == {reason}
    assert {record.key for record in world.quarantined()} == {world.bad.id.encode()}


async def test_an_id_of_a_megabyte_is_set_aside_in_parts_that_the_broker_takes(world):
    async with world.reading():
        world.fault("malformed", record="giant_id")
        await world.settle()
        world.audited()
    parts = world.quarantined()
    assert len(parts) > 1
    for record in parts:
        headers = sum(len(name) + len(value) for name, value in record.headers)
        assert len(record.key) + len(record.value) + headers <= LIMIT
    whole = json.loads(b"".join(record.value for record in parts))
    assert len(whole["id"]) > 1024 * 1024


async def test_an_alert_over_the_brokers_limit_is_set_aside_whole(world):
    async with world.reading():
        await world.run(30)
        world.fault("huge")
        await world.run(30)
        assert world.status(world.bad).state is State.HEALTHY
        await world.settle()
        verdict = world.audited()
    assert verdict.quarantined == 1
    assert world.reasons() == {"too_large"}
    assert len(b"".join(record.value for record in world.quarantined())) > LIMIT


async def test_all_that_is_bad_on_one_page_does_not_keep_its_alerts(world):
    for form in MALFORMED_FORMS:
        world.fault("malformed", record=form)
    world.fault("huge", count=2)
    async with world.reading():
        await world.settle()
        verdict = world.audited()
    assert verdict.quarantined == len(MALFORMED_FORMS) + 2


@pytest.mark.parametrize(
    "garbage",
    [b"garbage", b'{"v":2}', b"\xff\xfe", b"[" * 100_000, b'{"v":1,"fast":"x"}'],
    ids=["text", "newer", "binary", "deep", "words"],
)
async def test_a_checkpoint_that_cannot_be_decoded_parks_its_tenant_untouched(world, garbage):
    key = world.checkpoint(world.bad)
    world.log.checkpoints[key] = garbage
    async with world.reading():
        await world.run(60)
        status = world.status(world.bad)
        await world.settle()
        world.audited(without=world.bad)
    assert (status.state, status.code) == (State.PARKED, "checkpoint_unreadable")
    assert status.blame is Blame.US
    assert key.decode() in status.reason
    # Left as it was, for the person who has to look; and nothing was published on a guess.
    assert world.log.checkpoints[key] == garbage
    assert not [r for r in world.log.published if r.key.startswith(world.bad.id.encode())]


async def test_a_checkpoint_that_lost_a_part_parks_its_tenant(world):
    async with world.reading():
        await world.run(60)
    prefix = world.checkpoint(world.bad) + b"/j/"
    journal = next(key for key in world.log.checkpoints if key.startswith(prefix))
    del world.log.checkpoints[journal]
    async with world.reading():
        await world.run(60)
        status = world.status(world.bad)
        await world.settle()
        world.audited(without=world.bad)
    assert (status.state, status.code) == (State.PARKED, "checkpoint_unreadable")


async def test_a_checkpoint_that_was_mended_is_gone_on_from_with_nothing_lost_or_twice(world):
    async with world.reading():
        await world.run(60)
    key = world.checkpoint(world.bad)
    good, world.log.checkpoints[key] = world.log.checkpoints[key], b"garbage"
    async with world.reading():
        await world.until(lambda: world.status(world.bad).state is State.PARKED, seconds=30)
        # As it is now, it stays: what came and went while nobody read is not the reader's.
        world.cloud.freeze()
        world.log.checkpoints[key] = good
        await world.until(lambda: world.status(world.bad).state is State.HEALTHY, seconds=600)
        await world.settle()
        world.audited()


async def test_a_checkpoint_that_was_deleted_is_begun_anew(world):
    world.log.checkpoints[world.checkpoint(world.bad)] = b"garbage"
    async with world.reading():
        await world.until(lambda: world.status(world.bad).state is State.PARKED, seconds=30)
        world.cloud.freeze()
        del world.log.checkpoints[world.checkpoint(world.bad)]
        await world.until(lambda: world.status(world.bad).state is State.HEALTHY, seconds=600)
        await world.settle()
        world.audited()

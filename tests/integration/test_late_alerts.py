"""Law 1 and law 9: what becomes visible late is found once and counted, the future moves nothing."""

import json

import pytest

from ingest.model.window import Reach
from ingest.simulator.cloud import Plan
from tests.harness.world import EPOCH, HOURS, World

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

QUIET = Plan(tenants=3, births_per_minute=6.0, version_seconds=60.0, backlog=10, limits=False)


def world_of(key, **options):
    reach = Reach(overlap=HOURS // 6, look_back=24 * HOURS, first=24 * HOURS)
    return World(key, plan=QUIET, reach=reach, interval=30.0, reconcile_interval=900.0, **options)


def published(world, tenant):
    return [r for r in world.log.published if r.key.startswith(tenant.id.encode())]


async def test_alerts_that_are_visible_six_hours_late_are_published_once_and_counted_late(
    signing_key,
):
    world = world_of(signing_key)
    late_ids = set()
    async with world.reading():
        await world.run(600)
        assert world.counted("defender_ingest_alerts_late_total") == 0
        for tenant in world.tenants:
            population = world.cloud.customers[tenant.id].population
            world.cloud.advance()
            known = {
                stored.story.id for stored in population.slice(*population.between(None, None))
            }
            world.cloud.add_fault(tenant.id, {"kind": "late", "by": 6 * 3600.0, "count": 5})
            late_ids |= {
                f"{tenant.id}/{stored.story.id}"
                for stored in population.slice(*population.between(None, None))
                if stored.story.id not in known
            }
        await world.run(2400)
        assert world.counted("defender_ingest_alerts_late_total") == len(late_ids) == 15
        await world.settle()
        world.audited()
    keys = [r.key.decode() for r in world.log.published]
    assert {keys.count(key) for key in late_ids} == {1}
    for record in world.log.published:
        marked = dict(record.headers).get("ce_late") == b"true"
        assert marked == (record.key.decode() in late_ids)


async def test_a_look_back_that_is_shorter_than_the_delay_does_not_find_them(signing_key):
    world = world_of(signing_key)
    world.shorten(Reach(overlap=HOURS // 6, look_back=HOURS, first=24 * HOURS))
    async with world.reading():
        await world.run(600)
        world.fault("late", by=6 * 3600.0, count=5)
        await world.run(2400)
        assert world.counted("defender_ingest_alerts_late_total") == 0


async def test_an_alert_of_the_year_9999_is_published_flagged_and_moves_no_watermark(signing_key):
    world = world_of(signing_key)
    async with world.reading():
        await world.run(300)
        world.fault("year_9999", count=3)
        await world.run(1200)
        now = world.clock.unix()
        for tenant in world.tenants:
            assert EPOCH < world.status(tenant).watermark <= now
        header = json.loads(world.log.checkpoints[world.checkpoint(world.bad)])
        assert max(header["fast"], header["slow"], header["horizon"]) <= now * 10_000_000
        flagged = [
            record
            for record in published(world, world.bad)
            if dict(record.headers).get("ce_future") == b"true"
        ]
        assert len(flagged) == 3
        # What is born after it is found as ever, also by a reader that starts anew.
    async with world.reading():
        await world.run(300)
        await world.settle()
        world.audited()
    assert len(published(world, world.bad)) > 13

"""What an operator orders: a rewind or one alert anew, done once by whoever owns the tenant's shard."""

from collections import Counter

import pytest

from ingest.model.instant import format_instant, from_unix
from ingest.model.roster import Order, OrderKind
from ingest.pipeline.ports import Topic
from tests.harness.world import World

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]


def alerts_of(world, tenant):
    prefix = tenant.id.encode() + b"/"
    return [r for r in world.log.published if r.topic is Topic.ALERTS and r.key.startswith(prefix)]


def replays(records):
    return [r for r in records if "ce_replay" in dict(r.headers)]


def rewind(since, name="r1"):
    return Order(id=name, kind=OrderKind.REWIND, since=since)


async def test_a_rewind_publishes_again_what_the_api_still_has_and_says_so(signing_key):
    world = World(signing_key)
    one, *others = world.tenants
    async with world.reading():
        await world.run(120)
        await world.settle()
        before = alerts_of(world, one)
        theirs = {other.id: len(alerts_of(world, other)) for other in others}
        world.placement.register(one, order=rewind(0))
        await world.run(60)
        again = alerts_of(world, one)[len(before) :]
    newest = {record.key: record.value for record in before}
    assert {record.key: record.value for record in again} == newest
    assert Counter(record.key for record in again).most_common(1)[0][1] == 1
    assert all(dict(record.headers)["ce_replay"] == b"r1" for record in again)
    assert {other.id: len(alerts_of(world, other)) for other in others} == theirs


async def test_a_rewind_leaves_what_is_older_than_asked_for_alone(signing_key):
    world = World(signing_key)
    one = world.tenants[0]
    async with world.reading():
        await world.run(60)
        middle = from_unix(world.clock.unix())
        await world.run(60)
        await world.settle()
        before = len(alerts_of(world, one))
        world.placement.register(one, order=rewind(middle))
        await world.run(60)
        again = alerts_of(world, one)[before:]
    assert 0 < len(again) < before
    edge = format_instant(middle).encode()
    assert all(dict(record.headers)["ce_time"] >= edge for record in again)


async def test_an_order_is_obeyed_once_also_over_restarts_and_new_alerts_are_no_replays(
    signing_key,
):
    world = World(signing_key)
    one = world.tenants[0]
    async with world.reading():
        await world.run(60)
        world.placement.register(one, order=rewind(0))
        await world.run(30)
    again = len(replays(alerts_of(world, one)))
    assert again > 0
    async with world.reading():
        world.placement.register(one, order=rewind(0))
        before = len(alerts_of(world, one))
        await world.run(120)
        fresh = alerts_of(world, one)[before:]
    assert len(fresh) > 0
    assert replays(fresh) == []


async def test_nothing_is_lost_around_a_rewind_and_nothing_else_is_there_twice(signing_key):
    world = World(signing_key)
    one = world.tenants[0]
    async with world.reading():
        for number in range(4):
            await world.run(50)
            since = from_unix(world.clock.unix() - 20 * number)
            world.log.failures.extend(["before", "after"])
            world.placement.register(one, order=rewind(since, f"r{number}"))
        await world.run(30)
        await world.settle()
    ordered = [r for r in world.log.published if "ce_replay" not in dict(r.headers)]
    flagged = replays(world.log.published)
    world.log.published[:] = ordered
    assert world.verdict().faults["twice"] == 0
    world.log.published.extend(flagged)
    assert world.verdict().faults["lost"] == 0


async def test_one_alert_is_fetched_anew_and_published_again_with_the_order(signing_key):
    world = World(signing_key)
    one = world.tenants[0]
    async with world.reading():
        await world.run(60)
        await world.settle()
        before = alerts_of(world, one)
        wanted = before[-1]
        alert = wanted.key.decode().split("/", 1)[1]
        order = Order(id="f1", kind=OrderKind.REFETCH, alert=alert)
        world.placement.register(one, order=order)
        await world.run(30)
        again = alerts_of(world, one)[len(before) :]
    assert [(record.key, record.value) for record in again] == [(wanted.key, wanted.value)]
    assert dict(again[0].headers)["ce_replay"] == b"f1"


async def test_an_alert_that_the_api_does_not_have_is_told_and_the_feed_goes_on(signing_key):
    world = World(signing_key)
    one = world.tenants[0]
    async with world.reading():
        await world.run(60)
        order = Order(id="f2", kind=OrderKind.REFETCH, alert="da'no such alert")
        world.placement.register(one, order=order)
        await world.run(60)
        await world.settle()
    assert replays(world.log.published) == []
    assert world.audited().clean


async def test_an_alert_in_quarantine_is_published_by_a_second_try_once_it_fits(signing_key):
    world = World(signing_key)
    one = world.tenants[0]
    world.log._max = 3_200
    async with world.reading():
        await world.run(60)
        await world.settle()
        aside = [
            record
            for record in world.log.published
            if record.topic is Topic.QUARANTINE and record.key == one.id.encode()
        ]
        newest = {dict(record.headers)["ce_subject"].decode(): record for record in aside}
        published = {record.key.decode().split("/", 1)[1] for record in alerts_of(world, one)}
        alert, record = next(
            (alert, record) for alert, record in newest.items() if alert not in published
        )
        world.log._max = 1_000_000
        world.placement.register(one, order=Order(id="q1", kind=OrderKind.REFETCH, alert=alert))
        await world.run(60)
        again = replays(alerts_of(world, one))
    # Not the stored bytes: the order of its lists is another each time.
    told = [dict(one.headers) for one in again]
    assert [(one["ce_subject"], one["ce_time"]) for one in told] == [
        (alert.encode(), dict(record.headers)["ce_time"])
    ]

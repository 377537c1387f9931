"""Law 6 by the simulator's own count: two simulated hours with random 429s and five kills."""

import random

import pytest

from ingest.model.window import Reach
from ingest.settings.models import Source
from ingest.simulator.cloud import Plan
from tests.harness.world import HOURS, World

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

PLAN = Plan(tenants=6, births_per_minute=12.0, version_seconds=300.0, backlog=300, page_cap=25)
"""Small pages make a backlog many calls: whoever is careless is over at once."""

LIMITS = Source(page_size=10_000)
KILLS = 5
SECONDS = 2 * 3600


def calls(world):
    return {c.id: c.calls.summary() for c in world.cloud.customers.values()}


@pytest.mark.slow
async def test_no_tenant_is_asked_above_its_limits_over_hours_of_429s_and_kills(signing_key):
    rng = random.Random(1)
    reach = Reach(overlap=HOURS // 6, look_back=8 * HOURS, first=8 * HOURS)
    world = World(
        signing_key,
        plan=PLAN,
        source=LIMITS,
        reach=reach,
        interval=15.0,
        reconcile_interval=600.0,
    )
    kills = sorted(rng.randrange(60, SECONDS - 600) for _ in range(KILLS))
    for start, end in zip([0, *kills], [*kills, SECONDS], strict=True):
        async with world.reading():
            for _ in range((end - start) // 60):
                if rng.random() < 0.5:
                    tenant = rng.choice(world.tenants)
                    form = rng.choice(("seconds", "http-date"))
                    wait = rng.choice((1, 5, 40))
                    fault = {"kind": "throttle429", "retry_after": wait, "form": form}
                    world.cloud.add_fault(tenant.id, fault)
                await world.run(60)
            await world.run((end - start) % 60)
        world.kill()
    found = calls(world)
    assert max(one["max_60s"] for one in found.values()) <= 100
    assert max(one["max_3600s"] for one in found.values()) <= 1500
    # Busy enough to have been over: without a budget these tenants are asked far more often.
    assert max(one["max_3600s"] for one in found.values()) > 800
    assert sum(one["early"] for one in found.values()) == 0
    assert world.cloud.book.counts["throttle429"] > 20
    async with world.reading():
        await world.settle(seconds=2400)
        # With so small pages and so few calls versions may come and go unread; what is there at the
        # end is there, once.
        assert not any(world.verdict(outage_seconds=SECONDS).faults.values())


async def test_without_a_budget_the_same_hours_are_over_the_limits(signing_key):
    unlimited = Source(page_size=10_000, calls_per_minute=10**6, calls_per_hour=10**8)
    world = World(signing_key, plan=PLAN, source=unlimited, interval=15.0, reconcile_interval=600.0)
    async with world.reading():
        await world.run(300)
    assert max(one["max_60s"] for one in calls(world).values()) > 100

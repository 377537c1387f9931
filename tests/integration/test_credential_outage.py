"""Our own credential goes bad, and thousands of tenants with it: a handful of calls, and a quick way back.

The whole of identity (MSAL too) on the simulated cloud, in virtual time.
"""

import asyncio
from collections import Counter

import pytest

from ingest.identity.tokens import Tokens
from ingest.model.status import State
from ingest.simulator.cloud import Plan
from tests.harness.real_tokens import in_virtual_time, real_tokens
from tests.harness.world import World

OLD, NEW = "the-secret-that-expires", "the-secret-that-follows"
HOUR = 3600


class Outage:
    """A world whose tokens are real, and their secret in a file."""

    def __init__(self, key, file, *, tenants: int, interval: float) -> None:
        self.file = file
        file.write_text(OLD)
        plan = Plan(
            tenants=tenants, births_per_minute=0.0, backlog=0, client_secret=OLD, limits=False
        )
        self.world = World(
            key,
            plan=plan,
            interval=interval,
            reconcile_interval=86_400.0,
            parked_probe=300.0,
            tokens=self._made,
        )
        self.application = self.world.cloud.application

    def _made(self, world) -> Tokens:
        tokens, self.http = real_tokens(world, client_secret_file=self.file)
        return tokens

    def expire(self) -> None:
        """From now on the secret has expired, and every token that was given is at its end soon."""
        self.application.secrets[OLD] = self.world.cloud.timeline.now()

    def mend(self) -> None:
        self.application.secrets[NEW] = None
        self.file.write_text(NEW)

    def states(self) -> Counter[State]:
        return Counter(status.state for status in self.world.fleet.snapshot())

    def codes(self) -> set[str]:
        return {status.code for status in self.world.fleet.snapshot()}

    async def until_all_are_healthy(self, *, at_most: int) -> int:
        for seconds in range(at_most):
            if set(self.states()) == {State.HEALTHY}:
                return seconds
            await asyncio.sleep(1)
        raise AssertionError(self.states())


@pytest.fixture
def outage(signing_key, tmp_path):
    return lambda **options: Outage(signing_key, tmp_path / "secret", **options)


@pytest.mark.slow
@pytest.mark.timeout(900)
@in_virtual_time
async def test_five_thousand_tenants_with_an_expired_secret_make_ten_calls_until_it_is_mended(
    outage,
):
    made = outage(tenants=5000, interval=60.0)
    made.expire()
    async with made.world.reading():
        await asyncio.sleep(HOUR / 4)
        assert set(made.states()) == {State.PARKED}
        assert made.codes() == {"secret_expired"}
        assert len(made.http.posts) <= 10
        made.mend()
        assert await made.until_all_are_healthy(at_most=121) <= 120
        # Each once, and the one that found out.
        assert len(made.http.posts) <= 10 + 5000


@in_virtual_time
async def test_an_outage_of_an_hour_costs_ten_calls_too(outage):
    made = outage(tenants=100, interval=60.0)
    made.expire()
    async with made.world.reading():
        await asyncio.sleep(HOUR)
        assert set(made.states()) == {State.PARKED}
        assert len(made.http.posts) <= 10
        made.mend()
        assert await made.until_all_are_healthy(at_most=121) <= 120


@in_virtual_time
async def test_a_secret_that_expires_while_all_are_read_is_noticed_by_the_tokens_that_end(outage):
    made = outage(tenants=100, interval=600.0)
    async with made.world.reading():
        await made.until_all_are_healthy(at_most=700)
        asked = len(made.http.posts)
        assert asked == 100
        made.expire()
        # While a token still holds, its tenant is read.
        await asyncio.sleep(HOUR / 2)
        assert set(made.states()) == {State.HEALTHY}
        await asyncio.sleep(HOUR)
        assert set(made.states()) == {State.PARKED}
        assert len(made.http.posts) - asked <= 10
        made.mend()
        assert await made.until_all_are_healthy(at_most=121) <= 120


@in_virtual_time
async def test_what_is_mended_at_entra_alone_is_noticed_by_a_probe(outage):
    made = outage(tenants=200, interval=60.0)
    made.expire()
    async with made.world.reading():
        await asyncio.sleep(200)
        assert set(made.states()) == {State.PARKED}
        made.application.secrets[OLD] = None
        # The next probe is at seven minutes.
        assert await made.until_all_are_healthy(at_most=420) <= 220 + 120
        assert len(made.http.posts) <= 5 + 200


@in_virtual_time
async def test_one_tenant_that_refuses_our_secret_stops_nobody(outage):
    made = outage(tenants=100, interval=300.0)
    odd = made.world.tenants[7]
    made.world.cloud.add_fault(odd.id, {"kind": "secret_expired", "seconds": 2 * HOUR})
    async with made.world.reading():
        await asyncio.sleep(HOUR)
        assert made.states() == {State.HEALTHY: 99, State.PARKED: 1}
        assert len([path for path in made.http.posts if odd.id in path]) <= 10

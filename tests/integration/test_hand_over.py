"""Tenants that change hands while tokens are scarce: whoever missed a turn does not wait for the others."""

import asyncio
import random
import uuid

import pytest
import structlog
from prometheus_client import CollectorRegistry

from ingest.identity.entra import Granted
from ingest.identity.tokens import Tokens
from ingest.model.tenant import Tenant
from ingest.pipeline.schedule import Schedule, phase
from ingest.settings.models import Entra, Region
from ingest.telemetry.metrics import IdentityMetrics
from tests.fakes.clock import LoopClock

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

INTERVAL = 20.0
SCHEDULE = Schedule(interval=INTERVAL, reconcile_interval=3600.0, parked_probe=300.0)
AT_ONCE, SECONDS = 16, 0.1
TENANTS = [Tenant(id=str(uuid.UUID(int=n)), name=f"customer {n}", region="eu") for n in range(1500)]


class Login:
    """Entra ID, slow: 160 tokens a second at sixteen at once."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def consent_url(self, tenant):
        return ""

    async def acquire(self, tenant, *, resource, proof):
        self.asked.append(tenant.id)
        await asyncio.sleep(SECONDS)
        return Granted("token", 3600.0)


class Owner:
    """A replica as far as tokens go: `read` says when each of its tenants could be called."""

    def __init__(self, tokens, clock) -> None:
        self.tokens, self.clock = tokens, clock
        self.read: dict[str, float] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def take(self, tenants):
        for tenant in tenants:
            task = asyncio.create_task(self._begin(tenant, len(tenants)))
            self.tasks[tenant.id] = task

    def give_away(self, tenants):
        for tenant in tenants:
            self.tasks.pop(tenant.id).cancel()

    async def _begin(self, tenant, fleet):
        now = self.clock.unix()
        due = SCHEDULE.due(tenant.id, now)
        await self.clock.sleep(SCHEDULE.first(tenant.id, now, fleet))
        await self.tokens.get(tenant, due=due)
        self.read[tenant.id] = self.clock.unix()

    def late(self, tenant, *, dark_since):
        """Return for how long the first turn that was missed, or came, had passed when it was read."""
        turn = dark_since + (phase(tenant.id) * INTERVAL - dark_since) % INTERVAL
        return self.read[tenant.id] - turn


@pytest.fixture
def login():
    return Login()


@pytest.fixture
async def owner(login):
    clock = LoopClock(epoch=1_700_000_000.0)
    async with Tokens(
        settings=Entra(
            client_id=str(uuid.UUID(int=9)), client_secret="the-secret", token_requests=AT_ONCE
        ),
        regions={"eu": Region(api_url="https://api.test", resource="https://resource.test")},
        ca_file=None,
        clock=clock,
        rng=random.Random(1),
        metrics=IdentityMetrics(CollectorRegistry()),
        log=structlog.get_logger(),
    ) as tokens:
        tokens._entra = login
        yield Owner(tokens, clock)


@pytest.mark.parametrize(("dark", "late"), [(1.0, 2.0), (3.0, 5.0)])
async def test_who_missed_a_turn_while_nobody_read_is_read_before_those_who_did_not(
    owner, login, dark, late
):
    began = owner.clock.unix()
    owner.take(TENANTS[:1000])
    await asyncio.gather(*owner.tasks.values())
    # A thousand tokens took over six seconds all the same.
    assert owner.clock.unix() - began > 1000 / AT_ONCE * SECONDS
    assert max(owner.late(one, dark_since=began - dark) for one in TENANTS[:1000]) < late


async def test_who_comes_later_does_not_wait_for_those_who_came_first_or_are_gone_again(
    owner, login
):
    owner.take(TENANTS[:1000])
    await asyncio.sleep(2)
    asked = len(login.asked)
    owner.give_away([one for one in TENANTS[500:1000] if one.id not in owner.read])
    began = owner.clock.unix()
    owner.take(TENANTS[1000:])
    await asyncio.gather(*owner.tasks.values())
    gone = {one.id for one in TENANTS[500:1000]}
    assert not gone.intersection(login.asked[asked:])
    assert max(owner.late(one, dark_since=began - 1) for one in TENANTS[1000:]) < 2
    assert max(owner.late(one, dark_since=began - 3) for one in TENANTS[:500]) < 2

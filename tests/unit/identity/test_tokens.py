"""Tokens in virtual time: one request per tenant, renewed before it is needed, and never twice.

A directory of our own stands in the place of Entra ID.
"""

import asyncio
import random
import uuid
from contextlib import asynccontextmanager

import pytest
import structlog

from ingest.errors import (
    CredentialRejected,
    SourceUnavailable,
    TenantRejected,
    Throttled,
)
from ingest.identity.entra import Granted
from ingest.identity.tokens import Tokens
from ingest.model.tenant import Tenant
from ingest.settings.models import Entra, Region
from tests.fakes.clock import LoopClock

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

LIFE = 3600.0


def tenant_number(number: int) -> Tenant:
    return Tenant(id=str(uuid.UUID(int=number)), name=f"customer {number}", region="eu")


ONE, TWO, THREE, FOUR = map(tenant_number, range(1, 5))


class Directory:
    """Entra ID as this test has it: `errors` are raised first, each request takes `seconds`."""

    def __init__(self) -> None:
        self.seconds = 0.5
        self.lifetime = LIFE
        self.errors: dict[str, list[Exception]] = {}
        self.asked: list[tuple[float, str]] = []
        self.secrets: list[str] = []
        self.good_secret: str | None = None
        self.slow: dict[str, float] = {}

    def consent_url(self, tenant):
        return f"https://login.test/{tenant.id}/adminconsent"

    async def acquire(self, tenant, *, resource, proof):
        assert resource == "https://resource.test"
        secret = proof.text
        self.asked.append((asyncio.get_running_loop().time(), tenant.id))
        self.secrets.append(secret)
        number = len(self.asked)
        await asyncio.sleep(self.slow.get(tenant.id, self.seconds))
        if self.good_secret not in (None, secret):
            raise CredentialRejected("it has expired", reason="secret_expired")
        if errors := self.errors.get(tenant.id):
            raise errors.pop(0)
        return Granted(f"token {number} of {tenant.id}", self.lifetime)

    def since(self, start: int) -> list[float]:
        """Return when each request after the `start`-th was made."""
        return [time for time, _ in self.asked[start:]]

    def count(self, tenant=None):
        return len([asked for _, asked in self.asked if tenant in (None, asked)])


@pytest.fixture
def directory():
    return Directory()


@asynccontextmanager
async def tokens_of(directory, ledger, file, *, at_once):
    async with Tokens(
        settings=Entra(
            client_id=str(uuid.UUID(int=9)), client_secret_file=file, token_requests=at_once
        ),
        regions={"eu": Region(api_url="https://api.test", resource="https://resource.test")},
        ca_file=None,
        clock=LoopClock(),
        rng=random.Random(1),
        metrics=ledger,
        log=structlog.get_logger(),
    ) as made:
        made._entra = directory
        yield made


@pytest.fixture
def secret_file(tmp_path):
    path = tmp_path / "secret"
    path.write_text("old")
    return path


@pytest.fixture
async def tokens(directory, ledger, secret_file):
    async with tokens_of(directory, ledger, secret_file, at_once=64) as made:
        yield made


@pytest.fixture
async def few(directory, ledger, secret_file):
    """Two at once."""
    async with tokens_of(directory, ledger, secret_file, at_once=2) as made:
        yield made


def now() -> float:
    return asyncio.get_running_loop().time()


async def outcomes(*awaitables):
    """Return what each gave, an error by its class."""
    found = await asyncio.gather(*awaitables, return_exceptions=True)
    return [type(one) if isinstance(one, BaseException) else one for one in found]


async def test_a_hundred_who_ask_for_one_tenant_make_one_request(tokens, directory, ledger):
    given = await asyncio.gather(*(tokens.get(ONE) for _ in range(100)))
    assert set(given) == {f"token 1 of {ONE.id}"}
    assert directory.count() == 1
    assert ledger.requests("ok") == 1


async def test_tenants_do_not_wait_for_one_another_once_the_credential_is_known_to_be_good(
    tokens, directory
):
    await tokens.get(tenant_number(0))
    began = now()
    given = await asyncio.gather(*(tokens.get(tenant_number(n)) for n in range(1, 51)))
    assert len(set(given)) == 50
    assert now() - began == pytest.approx(directory.seconds)


async def test_a_token_that_is_held_is_given_at_once(tokens, directory):
    first = await tokens.get(ONE)
    began = now()
    await asyncio.sleep(LIFE / 2)
    assert await tokens.get(ONE) == first
    assert now() == began + LIFE / 2
    assert directory.count() == 1


async def test_a_token_is_renewed_ahead_of_its_end_and_nobody_waits_for_it(tokens, directory):
    held = {await tokens.get(ONE)}
    for _ in range(3 * 3600):
        await asyncio.sleep(1)
        began = now()
        held.add(await tokens.get(ONE))
        assert now() == began
    # Three hours of tokens that are renewed after 70 to 90 percent of their hour.
    assert 3 <= len(held) - 1 <= 5
    assert directory.count() == len(held)


async def test_a_fleet_that_began_in_step_does_not_renew_in_step(tokens, directory):
    fleet = [tenant_number(number) for number in range(1, 51)]
    await asyncio.gather(*map(tokens.get, fleet))
    while directory.count() < 100:
        await asyncio.sleep(1)
        await asyncio.gather(*map(tokens.get, fleet))
    times = directory.since(50)
    assert min(times) >= 0.7 * LIFE
    assert max(times) <= 0.9 * LIFE + 2
    assert max(times) - min(times) > 0.15 * LIFE
    assert max(times.count(time) for time in times) <= 3


async def test_a_renewal_that_fails_costs_nobody_the_token_that_still_holds(
    tokens, directory, events
):
    first = await tokens.get(ONE)
    directory.errors[ONE.id] = [SourceUnavailable("cut", reason="entra_network")] * 1000
    while now() < LIFE - 61:
        assert await tokens.get(ONE) == first
        await asyncio.sleep(5)
    warnings = [event for event in events if event["event"] == "token_renewal_failed"]
    assert warnings
    assert warnings[0]["tenant"] == ONE.id
    assert warnings[0]["error"] == "cut"
    # It is tried again about each minute, not at each call.
    assert all(
        later - earlier >= 30
        for earlier, later in zip(directory.since(1), directory.since(2), strict=False)
    )
    assert directory.count() > 5
    directory.errors.clear()
    await asyncio.sleep(120)
    assert await tokens.get(ONE) != first


async def test_a_token_is_not_used_in_its_last_minute(tokens, directory):
    first = await tokens.get(ONE)
    directory.errors[ONE.id] = [SourceUnavailable("cut", reason="entra_network")] * 1000
    await asyncio.sleep(LIFE - 59)
    with pytest.raises(SourceUnavailable):
        await tokens.get(ONE)
    directory.errors.clear()
    assert await tokens.get(ONE) != first


async def test_a_token_of_short_life_is_used_all_the_same(tokens, directory):
    directory.lifetime = 30.0
    first = await tokens.get(ONE)
    await asyncio.sleep(15)
    assert await tokens.get(ONE) == first
    await asyncio.sleep(13)
    assert await tokens.get(ONE) != first


async def test_a_401_forces_one_fresh_token_though_many_meet_it(tokens, directory):
    refused = await tokens.get(ONE)
    fresh = await asyncio.gather(*(tokens.refresh(ONE, refused) for _ in range(20)))
    assert set(fresh) == {f"token 2 of {ONE.id}"}
    # Those who come late with the old one are given what is there.
    assert await tokens.refresh(ONE, refused) == fresh[0]
    assert await tokens.get(ONE) == fresh[0]
    assert directory.count() == 2


async def test_a_401_during_a_renewal_waits_for_that_one(tokens, directory):
    refused = await tokens.get(ONE)
    await asyncio.sleep(0.91 * LIFE)
    assert await tokens.get(ONE) == refused
    assert await tokens.refresh(ONE, refused) == f"token 2 of {ONE.id}"
    assert directory.count() == 2


async def test_a_refused_token_is_not_given_again_where_no_other_is_to_be_had(tokens, directory):
    refused = await tokens.get(ONE)
    rejected = TenantRejected("no consent", reason="not_consented", blame=None)
    directory.errors[ONE.id] = [rejected, rejected]
    assert await outcomes(tokens.refresh(ONE, refused)) == [TenantRejected]
    assert await outcomes(tokens.get(ONE)) == [TenantRejected]
    assert await tokens.get(ONE) == f"token 4 of {ONE.id}"


async def test_all_who_wait_are_told_the_same_error_and_the_next_one_asks_again(
    tokens, directory, ledger
):
    directory.errors[ONE.id] = [Throttled("slowly", retry_after=5.0)]
    assert await outcomes(*(tokens.get(ONE) for _ in range(10))) == [Throttled] * 10
    assert ledger.requests("throttled") == 1
    assert await tokens.get(ONE)
    assert directory.count() == 2


async def test_one_who_stops_waiting_does_not_take_the_token_from_the_others(tokens, directory):
    impatient = asyncio.create_task(tokens.get(ONE))
    patient = asyncio.create_task(tokens.get(ONE))
    await asyncio.sleep(0.1)
    impatient.cancel()
    assert await outcomes(impatient) == [asyncio.CancelledError]
    assert await patient == f"token 1 of {ONE.id}"
    assert directory.count() == 1


async def test_where_few_may_ask_at_once_those_due_first_come_first(few, directory):
    asked = [asyncio.create_task(few.get(ONE)), asyncio.create_task(few.get(TWO))]
    await asyncio.sleep(0.1)
    asked += [asyncio.create_task(few.get(tenant_number(n), due=100.0 - n)) for n in range(3, 9)]
    await asyncio.gather(*asked)
    assert [tenant for _, tenant in directory.asked[2:]] == [
        tenant_number(n).id for n in range(8, 2, -1)
    ]


async def test_what_is_asked_for_now_comes_before_what_is_due_later_and_after_what_is_overdue(
    few, directory
):
    began = few._clock.unix()
    asked = [asyncio.create_task(few.get(tenant_number(n))) for n in (10, 11)]
    await asyncio.sleep(0.1)
    for tenant, due in ((ONE, began + 30), (TWO, None), (THREE, began - 10)):
        asked.append(asyncio.create_task(few.get(tenant, due=due)))
    await asyncio.gather(*asked)
    assert [tenant for _, tenant in directory.asked[2:]] == [THREE.id, TWO.id, ONE.id]


async def test_a_renewal_lets_those_who_have_no_token_go_first(few, directory):
    await few.get(ONE)
    await asyncio.sleep(0.91 * LIFE)
    asked = [asyncio.create_task(few.get(tenant_number(n))) for n in (10, 11)]
    await asyncio.sleep(0.1)
    assert await few.get(ONE) == f"token 1 of {ONE.id}"
    asked += [asyncio.create_task(few.get(tenant_number(n))) for n in (12, 13)]
    await asyncio.gather(*asked)
    await asyncio.sleep(1)
    assert [tenant for _, tenant in directory.asked[3:]] == [
        tenant_number(12).id,
        tenant_number(13).id,
        ONE.id,
    ]


async def test_a_token_that_nobody_waits_for_any_more_is_not_asked_for(few, directory):
    asked = [asyncio.create_task(few.get(tenant)) for tenant in (ONE, TWO, THREE, FOUR)]
    await asyncio.sleep(0.1)
    # The first is on its way and lands; the third was still to be asked for.
    asked[0].cancel()
    asked[2].cancel()
    await asyncio.sleep(0)
    # Who comes right after does not get the end of it.
    again = asyncio.create_task(few.get(THREE, due=few._clock.unix() + 9))
    assert await outcomes(*asked) == [
        asyncio.CancelledError,
        f"token 2 of {TWO.id}",
        asyncio.CancelledError,
        f"token 3 of {FOUR.id}",
    ]
    assert await again == f"token 4 of {THREE.id}"
    assert await few.get(ONE) == f"token 1 of {ONE.id}"
    assert directory.count() == 4


async def test_a_renewal_is_not_given_up_with_those_who_joined_it(few, directory):
    held = await few.get(ONE)
    await asyncio.sleep(0.91 * LIFE)
    asked = [asyncio.create_task(few.get(tenant_number(n))) for n in (10, 11)]
    await asyncio.sleep(0.1)
    assert await few.get(ONE) == held
    joined = asyncio.create_task(few.refresh(ONE, held))
    await asyncio.sleep(0.1)
    joined.cancel()
    assert await outcomes(joined) == [asyncio.CancelledError]
    await asyncio.gather(*asked)
    await asyncio.sleep(1)
    assert directory.count(ONE.id) == 2


async def test_what_is_in_flight_at_the_end_is_given_up_at_once(tokens, directory, ledger):
    directory.seconds = 1000.0
    waiting = asyncio.create_task(tokens.get(ONE))
    await asyncio.sleep(1)
    await tokens.__aexit__(None, None, None)
    assert await outcomes(waiting) == [asyncio.CancelledError]
    assert now() == pytest.approx(1)
    assert ledger.requests("cancelled") == 1


async def test_a_bad_secret_is_shown_to_two_tenants_and_then_to_one_ever_more_rarely(
    tokens, directory, ledger
):
    directory.good_secret = "another"
    for number in range(1, 11):
        assert await outcomes(tokens.get(tenant_number(number))) == [CredentialRejected]
    assert directory.count() == 2
    began = now()
    while now() < began + 300:
        await outcomes(*(tokens.get(tenant_number(number)) for number in range(1, 51)))
        await asyncio.sleep(1)
    # After one, three and seven minutes.
    assert directory.count() == 2 + 2
    assert ledger.rejected() == 1
    directory.good_secret = None
    await asyncio.sleep(240)
    assert await tokens.get(ONE)
    assert await tokens.get(TWO)
    assert ledger.rejected() == 0


async def test_one_tenant_that_refuses_our_secret_for_hours_costs_no_other_its_tokens(
    tokens, directory
):
    bad = CredentialRejected("it has expired", reason="secret_expired")
    directory.errors[ONE.id] = [bad] * 1000
    for _ in range(100):
        assert await outcomes(tokens.get(ONE)) == [CredentialRejected]
        await asyncio.sleep(300)
        assert isinstance(await tokens.get(TWO), str)


async def test_a_new_secret_in_the_file_is_used_by_the_next_request(tokens, directory, secret_file):
    await tokens.get(ONE)
    secret_file.write_text("new")
    await tokens.get(TWO)
    assert directory.secrets == ["old", "new"]


async def test_a_new_secret_ends_the_stop_of_everybody_without_a_probe(
    tokens, directory, secret_file
):
    directory.good_secret = "new"
    await outcomes(tokens.get(ONE), tokens.get(TWO))
    assert await outcomes(tokens.get(THREE)) == [CredentialRejected]
    assert directory.count() == 2
    secret_file.write_text("new")
    assert await tokens.get(THREE) == f"token 3 of {THREE.id}"


async def test_whom_the_former_secret_was_refused_for_is_asked_for_with_the_new_one_at_once(
    tokens, directory, secret_file
):
    directory.good_secret = "new"
    former = [asyncio.create_task(tokens.get(tenant)) for tenant in (ONE, TWO)]
    await asyncio.sleep(0.1)
    # Their requests are still on their way when the file is changed.
    secret_file.write_text("new")
    assert await outcomes(*former) == [f"token 3 of {ONE.id}", f"token 4 of {TWO.id}"]
    assert directory.secrets == ["old", "old", "new", "new"]
    assert await tokens.get(THREE)


async def test_a_secret_that_is_exchanged_for_another_bad_one_is_asked_with_once_each(
    tokens, directory, secret_file
):
    directory.good_secret = "the third"
    waiting = asyncio.create_task(tokens.get(ONE))
    await asyncio.sleep(0.1)
    secret_file.write_text("the second")
    assert await outcomes(waiting) == [CredentialRejected]
    assert directory.secrets == ["old", "the second"]


async def test_of_thousands_who_ask_at_once_with_a_bad_secret_two_are_sent(tokens, directory):
    directory.good_secret = "another"
    found = await asyncio.gather(
        *(tokens.get(tenant_number(number)) for number in range(5000)), return_exceptions=True
    )
    assert {type(one) for one in found} == {CredentialRejected}
    assert directory.count() == 2
    assert sum(not one.is_confirmed for one in found) == 1


async def test_a_new_bad_secret_is_shown_to_two_more_and_to_no_third(
    tokens, directory, secret_file
):
    directory.good_secret = "the third"
    tenants = [tenant_number(number) for number in range(200)]
    await outcomes(*map(tokens.get, tenants))
    secret_file.write_text("the second")
    await outcomes(*map(tokens.get, tenants))
    assert directory.secrets == ["old", "old", "the second", "the second"]


async def test_one_tenant_that_hangs_while_nothing_is_proven_keeps_no_other_waiting(
    tokens, directory
):
    directory.slow[ONE.id] = 30.0
    waiting = asyncio.create_task(tokens.get(ONE))
    await asyncio.sleep(0)
    began = now()
    assert all(await asyncio.gather(*(tokens.get(tenant_number(n)) for n in range(2, 60))))
    assert now() - began < 3
    assert await waiting


async def test_renewals_that_a_known_refusal_stops_are_not_told_one_by_one(
    tokens, directory, events
):
    tenants = [tenant_number(number) for number in range(50)]
    await asyncio.gather(*map(tokens.get, tenants))
    directory.good_secret = "another"
    await asyncio.sleep(0.95 * LIFE)
    for _ in range(5):
        assert all(await asyncio.gather(*map(tokens.get, tenants)))
        await asyncio.sleep(10)
    names = [event["event"] for event in events]
    assert names.count("credential_rejected") == 1
    # Those that were under way already.
    assert names.count("token_renewal_failed") <= 1

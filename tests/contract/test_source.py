"""One suite for the source: on the simulated cloud in virtual time, and over TLS on real sockets."""

import asyncio
import time
import tracemalloc
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import rsa
from prometheus_client import CollectorRegistry

from ingest.errors import (
    AnswerTooLarge,
    Blame,
    QueryRefused,
    SourceUnavailable,
    TenantRejected,
    Throttled,
)
from ingest.model.alert import Alert, Malformed
from ingest.model.instant import parse_instant
from ingest.model.sweep import Ask, Box
from ingest.model.tenant import Tenant
from ingest.pipeline.retry import passing_trouble
from ingest.settings.models import Region, Source
from ingest.simulator.alerts import PATHS
from ingest.simulator.certificates import server_context
from ingest.simulator.cloud import REGION, Plan, SimulatedCloud
from ingest.simulator.exchange import Response
from ingest.simulator.server import SimulatorServer
from ingest.simulator.times import http_date
from ingest.source.client import DefenderSource
from ingest.telemetry.metrics import SourceMetrics
from tests.fakes.clock import LoopClock
from tests.harness.cloud_transport import CloudTokens, CloudTransport

EVERYTHING = Ask(Box(0), top=10_000)
MB = 1024 * 1024


@dataclass(frozen=True)
class Asked:
    at: float
    host: str
    authorization: str


class Cloud(SimulatedCloud):
    """The simulated cloud; it notes each call for alerts, and can be told what to answer instead."""

    def __init__(self, **wiring) -> None:
        super().__init__(**wiring)
        self.asked: list[Asked] = []
        self.instead: deque[Response] = deque()

    def handle(self, method, path, query, headers, body=b""):
        if path in PATHS:
            now = self.timeline.now()
            self.asked.append(Asked(now, headers["host"], headers["authorization"]))
            if self.instead:
                answer = self.instead.popleft()
                answer.headers.setdefault("Date", http_date(now))
                return answer
        return super().handle(method, path, query, headers, body)


class Metrics(SourceMetrics):
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.held = [0]
        super().__init__(self.registry)

    def memory(self, size: int) -> None:
        self.held.append(size)
        super().memory(size)

    def count(self, name, **labels):
        return self.registry.get_sample_value(f"defender_ingest_source_{name}", labels) or 0


class World:
    """A source on a cloud, and what tests ask of the two."""

    def __init__(self, cloud, source, tokens, metrics, clock) -> None:
        self.cloud, self.source, self.tokens = cloud, source, tokens
        self.metrics, self.clock = metrics, clock
        self.customers = list(cloud.customers.values())
        self.customer = self.customers[0]
        self.tenants = [Tenant(c.id, c.name, c.region) for c in self.customers]
        self.tenant = self.tenants[0]

    def fault(self, kind, tenant="*", **options):
        self.cloud.add_fault(tenant, {"kind": kind, **options})

    def stored(self):
        """Return what the API has of the first tenant, in the order in which it answers."""
        population = self.customer.population
        return population.slice(*population.between(None, None))[::-1]

    async def page(self, ask=EVERYTHING, tenant=None):
        async with self.source.fetch(tenant or self.tenant, ask) as page:
            return page

    async def refusal(self, kind, ask=EVERYTHING):
        """Return the error of a call that must fail: exactly of this kind, and showing no content."""
        with pytest.raises(kind) as caught:
            await self.page(ask)
        error = caught.value
        assert type(error) is kind
        shown = f"{error!s} {error!r} {error.__cause__!r}"
        secrets = [item.story.id for item in self.stored()] + ["Bearer", "DOCTYPE", "html", "{"]
        secrets += [asked.authorization.removeprefix("Bearer ") for asked in self.cloud.asked]
        assert not [secret for secret in secrets if secret in shown]
        assert self.metrics.count("requests_total", outcome=error.reason) >= 1
        assert self.metrics.held[-1] == 0
        return error


@asynccontextmanager
async def _world(cloud, settings, clock, api_url, **wiring):
    tokens, metrics = CloudTokens(cloud), Metrics()
    async with DefenderSource(
        settings=settings,
        regions={REGION: Region(api_url=api_url)},
        tokens=tokens,
        clock=clock,
        metrics=metrics,
        log=structlog.get_logger(),
        **wiring,
    ) as source:
        yield World(cloud, source, tokens, metrics, clock)


def _cloud(clock, key, plan):
    plan = {"tenants": 1, "births_per_minute": 0.0, "backlog": 10} | plan
    return Cloud(plan=Plan(**plan), clock=clock.unix, key=key)


class VirtualClock(LoopClock):
    """Virtual time moves in microseconds: of a shorter sleep nobody would ever wake."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(max(seconds, 1e-6))


class InVirtualTime:
    """No sockets: hours pass at once."""

    moment = 60.0

    def __init__(self, key) -> None:
        self._key = key

    @asynccontextmanager
    async def open(self, plan=None, **settings):
        clock = VirtualClock()
        cloud = _cloud(clock, self._key, plan or {})
        settings = Source(**settings)
        transport = CloudTransport(cloud, timeout=settings.timeout_seconds)
        wiring = {"ca_file": None, "transport": transport}
        async with _world(cloud, settings, clock, "https://api.test", **wiring) as world:
            yield world


class LeapingClock:
    """Real time, but whoever sleeps is at once where he wanted to be: budgets cost no waiting."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead

    def unix(self) -> float:
        return time.time() + self._ahead

    async def sleep(self, seconds: float) -> None:
        self._ahead += seconds
        await asyncio.sleep(0)


class OverSockets:
    """The real transport, the real server of the simulator, TLS between them."""

    moment = 1.0

    def __init__(self, key, authority) -> None:
        self._key = key
        self._context, self._ca_file = authority

    @asynccontextmanager
    async def open(self, plan=None, **settings):
        clock = LeapingClock()
        cloud = _cloud(clock, self._key, plan or {})
        server = SimulatorServer(cloud=cloud, context=self._context, host="127.0.0.1", port=0)
        # Handlers that were left in the middle of a slow answer need not be waited for.
        server._runner._shutdown_timeout = 0.1
        async with (
            server,
            _world(cloud, Source(**settings), clock, server.url, ca_file=self._ca_file) as world,
        ):
            yield world


@pytest.fixture(scope="module")
def key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return server_context(tmp_path_factory.mktemp("authority"), "127.0.0.1")


@pytest.fixture(params=[pytest.param("virtual", marks=pytest.mark.looptime), "sockets"])
def place(request, key, authority, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    return InVirtualTime(key) if request.param == "virtual" else OverSockets(key, authority)


async def test_a_page_holds_every_record_byte_for_byte(place):
    async with place.open({"backlog": 300}) as world:
        page = await world.page()
        assert [record.raw for record in page.records] == [item.raw for item in world.stored()]
        assert [record.id for record in page.records] == [i.story.id for i in world.stored()]
        assert [record.updated for record in page.records] == [i.updated for i in world.stored()]
        assert (page.next_link, page.linked) == (None, False)
        # Counted as it is in memory, not as it came through the wire.
        assert page.body_bytes > sum(len(item.raw) for item in world.stored())
        assert world.metrics.count("bytes_total") == page.body_bytes
        assert world.metrics.count("records_total") == 300


async def test_what_is_prepared_is_a_token_and_no_call(place):
    async with place.open() as world:
        await world.source.prepare(world.tenant, due=world.clock.unix())
        assert world.cloud.asked == []
        assert world.tenant.id in world.tokens._tokens
        await world.page()
        assert len(world.cloud.asked) == 1


async def test_the_time_of_a_page_is_the_servers_own(place):
    async with place.open() as world:
        date = {"Date": "Tue, 02 Jan 2024 03:04:05 GMT"}
        world.cloud.instead.append(Response(200, b'{"value":[]}', date))
        assert (await world.page()).server_time == parse_instant("2024-01-02T03:04:05Z")


async def test_only_what_was_asked_for_is_in_the_page(place):
    async with place.open({"backlog": 60}) as world:
        updated = [item.updated for item in world.stored()]
        window = [i for i in world.stored() if updated[50] <= i.updated < updated[10]]
        born = sorted(item.story.created for item in window)
        inside = [i.raw for i in window if born[3] <= i.story.created < born[-3]]
        assert len(inside) == 34
        box = Box(updated[50], updated[10], born[3], born[-3])
        for skip, top in ((0, 10_000), (7, 10_000), (0, 9), (20, 5), (35, 10)):
            page = await world.page(Ask(box, top=top, skip=skip))
            assert [record.raw for record in page.records] == inside[skip : skip + top]


async def test_a_refused_token_is_replaced_once_and_the_question_asked_again(place):
    async with place.open() as world:
        await world.page()
        world.customer.tokens_since += 1
        assert len((await world.page()).records) == 10
        assert world.tokens.refreshed == 1
        first, refused, fresh = (asked.authorization for asked in world.cloud.asked)
        assert first == refused != fresh


async def test_fresh_tokens_that_are_refused_too_are_an_error_after_the_first(place):
    async with place.open() as world:
        world.cloud.instead += [Response(401, b"{}"), Response(401, b"{}")]
        with pytest.raises(TenantRejected) as caught:
            await world.page()
        assert (caught.value.reason, caught.value.blame) == ("unauthorized", Blame.CUSTOMER)
        assert (world.tokens.refreshed, len(world.cloud.asked)) == (1, 2)
        assert world.metrics.count("requests_total", outcome="unauthorized") == 2
        assert world.metrics.held[-1] == 0


@pytest.mark.parametrize(
    ("options", "least", "most", "pause"),
    [
        ({"retry_after": 70}, 70, 70, 70),
        ({"retry_after": 70, "form": "http-date"}, 69, 72, 69),
        ({"form": "years"}, 3e8, 4e8, 3600),
    ],
    ids=["seconds", "http-date", "years"],
)
async def test_a_throttled_tenant_is_left_alone_as_long_as_was_asked(
    place, options, least, most, pause
):
    # Tokens outlive the pause, so that it is followed by one call.
    async with place.open({"tenants": 2, "token_seconds": 10_000}) as world:
        world.fault("throttle429", world.tenant.id, **options)
        error = await world.refusal(Throttled)
        assert least <= error.retry_after <= most
        # Another tenant does not wait with it.
        await world.page(tenant=world.tenants[1])
        world.customer.blocked_until = 0.0
        await world.page()
        throttled, neighbour, again = (asked.at for asked in world.cloud.asked)
        assert neighbour - throttled < 30
        assert pause <= again - throttled < pause + 10
        assert world.metrics.count("throttled_seconds_total") == pytest.approx(pause, abs=3)


async def test_a_retry_after_that_says_nothing_pauses_nothing(place):
    async with place.open() as world:
        world.fault("throttle429", form="absurd", count=7)
        errors = [await world.refusal(Throttled) for _ in range(7)]
        world.cloud.instead.append(Response(429, b"slow down"))
        errors.append(await world.refusal(Throttled))
        # One of the absurd ones is a date long ago.
        assert {error.retry_after for error in errors} == {None, 0.0}
        assert errors[-1].retry_after is None
        assert len((await world.page()).records) == 10
        assert world.cloud.asked[-1].at - world.cloud.asked[0].at < 60


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [
        *(("http_5xx", {"status": code}, f"http_{code}") for code in (500, 502, 503, 504)),
        ("cut", {}, "network"),
        ("reset", {}, "network"),
        ("non_json", {}, "unreadable"),
    ],
)
async def test_a_broken_answer_is_one_call_and_one_error_and_the_next_is_whole(
    place, kind, options, reason
):
    async with place.open() as world:
        world.fault(kind, **options)
        error = await world.refusal(SourceUnavailable)
        assert error.reason == reason
        assert len(world.cloud.asked) == 1
        assert len((await world.page()).records) == 10


@pytest.mark.parametrize(("kind", "option"), [("slow", "delay"), ("trickle", "over")])
async def test_an_answer_that_takes_too_long_is_given_up(place, kind, option):
    async with place.open(timeout_seconds=place.moment) as world:
        world.fault(kind, **{option: place.moment * 10})
        error = await world.refusal(SourceUnavailable)
        assert error.reason == "timeout"
        assert len((await world.page()).records) == 10


async def test_a_gzip_bomb_is_dropped_before_it_fills_the_memory(place):
    async with place.open(page_bytes=MB) as world:
        world.fault("gzip_bomb", bytes=32 * MB, count=2)
        # The simulator makes its bomb for the first call, which takes memory of its own.
        await world.refusal(AnswerTooLarge)
        tracemalloc.start()
        try:
            await world.refusal(AnswerTooLarge)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 8 * MB
        assert max(world.metrics.held) <= MB
        assert len((await world.page()).records) == 10


async def test_deep_nesting_beside_the_records_hides_none_of_them(place):
    async with place.open() as world:
        world.fault("deep_nesting")
        page = await world.page()
        assert [record.raw for record in page.records] == [item.raw for item in world.stored()]


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ("no_id", "no_id"),
        ("empty_id", "no_id"),
        ("number_id", "bad_id"),
        ("newline_id", "bad_id"),
        ("giant_id", "bad_id"),
        ("no_time", "no_time"),
        ("null_time", "no_time"),
        ("unreadable_time", "bad_time"),
        ("string", "not_an_object"),
        ("list", "not_an_object"),
    ],
)
async def test_a_record_that_is_no_alert_is_set_aside_whole_and_alone(place, form, reason):
    async with place.open() as world:
        world.fault("malformed", record=form)
        page = await world.page()
        assert [record.raw for record in page.records] == [item.raw for item in world.stored()]
        odd = [record for record in page.records if not isinstance(record, Alert)]
        assert [(type(record), record.reason) for record in odd] == [(Malformed, reason)]
        assert len(page.records) == 11


async def test_a_huge_alert_and_one_of_the_year_9999_are_alerts_like_others(place):
    async with place.open() as world:
        world.fault("huge", bytes=2_000_000)
        world.fault("year_9999")
        page = await world.page()
        assert [record.raw for record in page.records] == [item.raw for item in world.stored()]
        assert max(len(record.raw) for record in page.records) > 2_000_000
        assert page.records[0].updated == parse_instant("9999-12-31T23:59:59.9999999Z")
        # It is no reason to believe that so much time has passed.
        assert page.server_time <= world.clock.unix() * 1e7


async def test_a_query_that_the_api_does_not_take_is_refused_as_that(place):
    async with place.open() as world:
        error = await world.refusal(QueryRefused, Ask(Box(0), top=10_001))
        assert error.reason == "http_400"


async def test_a_tenant_without_the_permission_is_its_administrators_to_mend(place):
    async with place.open() as world:
        world.fault("roles_missing")
        error = await world.refusal(TenantRejected)
        assert (error.reason, error.blame) == ("forbidden", Blame.CUSTOMER)


async def test_a_link_of_the_same_origin_leads_to_the_next_records(place):
    async with place.open({"page_cap": 4}) as world:
        world.customer.links = True
        raws, link = [], None
        for _ in range(3):
            page = await world.page(Ask(Box(0), top=10_000, link=link))
            raws += [record.raw for record in page.records]
            link = page.next_link
        assert link is None
        assert raws == [item.raw for item in world.stored()]


async def test_a_link_to_a_foreign_host_is_told_of_and_never_called(place):
    async with place.open() as world:
        world.fault("foreign_next_link", cap=4, count=2)
        for _ in range(2):
            page = await world.page()
            assert (len(page.records), page.next_link, page.linked) == (4, None, True)
        assert world.metrics.count("links_refused_total") == 2
        assert len(world.cloud.asked) == 2
        assert len({asked.host for asked in world.cloud.asked}) == 1


async def test_a_link_that_leads_back_to_its_own_page_costs_a_call_only_when_asked_for(place):
    async with place.open() as world:
        world.fault("looping_next_link", cap=4, count=3)
        first = await world.page()
        again = await world.page(Ask(Box(0), top=10_000, link=first.next_link))
        assert again.next_link == first.next_link is not None
        assert again.records == first.records
        assert len(world.cloud.asked) == 2


async def test_no_hour_and_no_minute_has_more_calls_than_allowed_whatever_they_are_for(place):
    async with place.open(calls_per_minute=6, calls_per_hour=24) as world:
        await world.page()
        # After an hour's rest as many calls are possible at once as ever are.
        await world.clock.sleep(3600)
        for turn in range(24):
            # Calls that are tried again, and those with a fresh token, are calls like others.
            if turn % 4 == 1:
                world.fault("http_5xx", count=2)
            if turn % 4 == 2:
                world.customer.tokens_since += 1
            async for attempt in passing_trouble(world.clock):
                with attempt:
                    await world.page()
        calls = world.customer.calls.summary()
        assert calls["total"] >= 36
        assert calls["max_60s"] <= 6
        assert 20 <= calls["max_3600s"] <= 24
        assert len(world.cloud.asked) == sum(
            world.metrics.count("requests_total", outcome=outcome)
            for outcome in ("ok", "unauthorized", "http_500", "http_502", "http_503", "http_504")
        )


async def test_a_page_counts_against_the_room_until_it_is_left(place):
    async with place.open({"backlog": 200}) as world:
        async with world.source.fetch(world.tenant, EVERYTHING) as page:
            assert world.metrics.held[-1] >= page.body_bytes > 100_000
        assert world.metrics.held[-1] == 0


async def test_the_pages_of_many_tenants_never_take_more_than_the_room(place):
    limits = {"page_bytes": MB // 2, "memory_bytes": MB}
    async with place.open({"tenants": 12, "backlog": 1}, **limits) as world:
        world.fault("huge", bytes=400_000)
        inside = most = read = 0

        async def use(tenant):
            nonlocal inside, most, read
            async with world.source.fetch(tenant, EVERYTHING) as page:
                inside += page.body_bytes
                most = max(most, inside)
                for _ in range(50):
                    await asyncio.sleep(0)
                inside -= page.body_bytes
                read += page.body_bytes > 400_000

        async with asyncio.timeout(600):
            await asyncio.gather(*map(use, world.tenants))
        assert read == 12
        assert 400_000 < most <= max(world.metrics.held) <= MB
        assert world.metrics.held[-1] == 0
        # All of the room is there again: two have place in it together.
        first, second = (world.source.fetch(tenant, EVERYTHING) for tenant in world.tenants[:2])
        async with asyncio.timeout(10), first, second:
            assert world.metrics.held[-1] > 800_000


async def test_a_call_that_is_cancelled_leaves_nothing_behind(place):
    async with place.open({"backlog": 200}) as world:
        world.fault("trickle", over=place.moment * 20)
        call = asyncio.create_task(world.page())
        async with asyncio.timeout(place.moment * 15):
            while world.metrics.held[-1] == 0 or not world.cloud.asked:
                await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert world.metrics.held[-1] == 0
        assert world.metrics.count("requests_total", outcome="cancelled") == 1
        assert len((await world.page()).records) == 200

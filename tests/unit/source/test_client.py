"""The source alone, in virtual time, with a transport that answers what it is told."""

import asyncio
import json
import time
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from ingest.errors import AnswerTooLarge, QueryRefused, SourceUnavailable, TenantRejected, Throttled
from ingest.model.instant import from_unix, parse_instant
from ingest.model.sweep import Ask, Box
from ingest.model.tenant import Tenant
from ingest.settings.models import Region, Source
from ingest.source.client import DefenderSource
from ingest.telemetry.metrics import SourceMetrics
from tests.fakes.clock import LoopClock

pytestmark = pytest.mark.looptime

TENANT = Tenant("11111111-1111-1111-1111-111111111111", "Contoso", "eu")
OTHER = Tenant("22222222-2222-2222-2222-222222222222", "Fabrikam", "eu")
ASK = Ask(Box(0), top=100)
EMPTY = b'{"value":[]}'
DATE = "Tue, 02 Jan 2024 03:04:05 GMT"


class Reply:
    def __init__(self, status=200, *pieces, **headers) -> None:
        self.status = status
        self._pieces = pieces or (EMPTY,)
        self._headers = {name.replace("_", "-").lower(): text for name, text in headers.items()}
        self.pulled = 0

    def header(self, name):
        return self._headers.get(name.lower(), "")

    async def pieces(self):
        for piece in self._pieces:
            await asyncio.sleep(0)
            if isinstance(piece, Exception):
                raise piece
            self.pulled += 1
            yield piece


class Transport:
    """Gives one reply after another, then empty pages; notes when and how it was asked."""

    def __init__(self, replies) -> None:
        self.replies = deque(replies)
        self.sent = []

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    @asynccontextmanager
    async def get(self, url, headers):
        self.sent.append((asyncio.get_running_loop().time(), url, dict(headers)))
        yield self.replies.popleft() if self.replies else Reply()

    @property
    def times(self):
        return [at for at, _, _ in self.sent]


class Tokens:
    def __init__(self) -> None:
        self.refused = []
        self.takes = 0.0
        self.dues = []

    async def get(self, tenant, *, due=None):
        self.dues.append(due)
        await asyncio.sleep(self.takes)
        return "secret-1"

    async def refresh(self, tenant, rejected):
        self.refused.append(rejected)
        return f"secret-{len(self.refused) + 1}"


class Metrics(SourceMetrics):
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.held = [0]
        super().__init__(self.registry)

    def memory(self, size):
        self.held.append(size)


class Log:
    def __init__(self) -> None:
        self.warnings = []

    def warning(self, event, **fields):
        self.warnings.append((event, fields))


class Subject(DefenderSource):
    """The source with its doubles at hand."""

    def __init__(self, *replies, **changes) -> None:
        self.transport, self.tokens = Transport(replies), Tokens()
        self.metrics, self.log, self.clock = Metrics(), Log(), LoopClock()
        super().__init__(
            settings=Source(**changes),
            regions={"eu": Region(api_url="https://api.test")},
            ca_file=None,
            tokens=self.tokens,
            clock=self.clock,
            metrics=self.metrics,
            log=self.log,
            transport=self.transport,
        )

    async def page(self, tenant=TENANT):
        async with self.fetch(tenant, ASK) as page:
            return page

    async def refusal(self, kind):
        with pytest.raises(kind) as caught:
            await self.page()
        return caught.value


async def test_a_call_carries_the_token_in_its_header_and_nowhere_else():
    source = Subject(Reply(401), Reply())
    await source.page()
    (_, first, refused), (_, second, fresh) = source.transport.sent
    assert first == second
    assert "secret" not in first
    assert refused == {"Authorization": "Bearer secret-1"}
    assert fresh == {"Authorization": "Bearer secret-2"}
    assert source.tokens.refused == ["secret-1"]


@pytest.mark.parametrize("region", ["https://evil.test", "evil.test", "dod", ""])
async def test_a_region_that_is_not_served_is_asked_for_neither_a_token_nor_an_alert(region):
    source = Subject()
    tenant = replace(TENANT, region=region)
    for attempt in (source.page(tenant), source.prepare(tenant, due=0.0)):
        with pytest.raises(TenantRejected) as refusal:
            await attempt
        assert refusal.value.reason == "unknown_region"
    assert (source.transport.sent, source.tokens.dues) == ([], [])


@pytest.mark.parametrize("date", ["", "yesterday", "Tue, 99 Jan 2024 03:04:05 GMT", "0", "9" * 50])
async def test_without_a_date_that_can_be_read_the_local_clock_stands_in(date):
    source = Subject(Reply(Date=date))
    page = await source.page()
    assert page.server_time == pytest.approx(from_unix(source.clock.unix()), abs=1e6)


@pytest.fixture(params=["UTC0", "JST-9", "EST5"])
def zone(request, monkeypatch):
    """The zone of the machine, which must not matter."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    "form", [DATE, "Tuesday, 02-Jan-24 03:04:05 GMT", "Tue Jan  2 03:04:05 2024"]
)
async def test_all_forms_of_an_http_date_are_read_alike_in_every_zone(form):
    source = Subject(
        Reply(Date=form), Reply(429, b"", Date="Tue, 02 Jan 2024 03:03:45 GMT", Retry_After=form)
    )
    assert (await source.page()).server_time == parse_instant("2024-01-02T03:04:05Z")
    error = await source.refusal(Throttled)
    assert error.retry_after == 20
    await source.page()
    assert source.transport.times[2] - source.transport.times[1] == pytest.approx(20, abs=0.1)


async def test_a_retry_after_is_counted_from_the_servers_own_time():
    # The local clock is months ahead of this; by it, the time would long be over.
    late = {"Date": DATE, "Retry_After": "Tue, 02 Jan 2024 03:14:05 GMT"}
    assert (await Subject(Reply(429, b"", **late)).refusal(Throttled)).retry_after == 600


HEADERS = st.text() | st.from_regex(r"[-+0-9.:, eE]{0,40}", fullmatch=True)
DATES = st.builds(
    "{} {} {} {}:{}:{} {}".format,
    st.sampled_from(["Tue,", "Sunday", ""]),
    st.integers(-1, 40),
    st.sampled_from(["Jan 2024", "Dec 9999", "Feb 0", "Mar 99999999999"]),
    *[st.integers(-1, 70)] * 3,
    st.sampled_from(["GMT", "", "-0000", "+9999", "-99999999", "EST"]),
)


@given(HEADERS | DATES, HEADERS | DATES)
@settings(max_examples=60)
async def test_no_text_in_a_header_is_more_than_a_bounded_wait(date, wait):
    source = Subject(Reply(429, b"", Date=date, Retry_After=wait))
    error = await source.refusal(Throttled)
    assert error.retry_after is None or error.retry_after >= 0
    await source.page()
    asked, again = source.transport.times
    assert again - asked <= 3600 + 4


@pytest.mark.parametrize("digits", ["7200", "9" * 12, "9" * 5000])
async def test_a_wait_beyond_an_hour_is_told_whole_and_obeyed_for_an_hour(digits):
    source = Subject(Reply(429, b"", Retry_After=digits))
    error = await source.refusal(Throttled)
    assert error.retry_after == float(digits[:12])
    await source.page()
    asked, again = source.transport.times
    assert again - asked == pytest.approx(3600, abs=1)


async def test_an_outage_that_says_how_long_is_left_alone_so_long():
    source = Subject(Reply(503, b"", Retry_After="90"))
    await source.refusal(SourceUnavailable)
    await asyncio.gather(source.page(), source.page(OTHER))
    first, neighbour, again = source.transport.times
    assert again - first == pytest.approx(90, abs=1)
    assert neighbour - first < 10


async def test_a_budget_that_is_not_known_counts_as_spent():
    source = Subject()
    for _ in range(3):
        await source.page()
    # 1,200 calls an hour, a quarter of which is kept for bursts: one in four seconds.
    assert source.transport.times == pytest.approx([4, 8, 12], abs=0.1)
    waited = source.metrics.registry.get_sample_value(
        "defender_ingest_source_budget_wait_seconds_total"
    )
    assert waited == pytest.approx(12, abs=0.1)


async def test_a_wait_too_short_for_the_clock_to_tell_ends_all_the_same():
    source = Subject(calls_per_minute=100, calls_per_hour=1500)
    slept = 0

    async def sleep(seconds):
        nonlocal slept
        slept += 1
        # Virtual time counts microseconds; a budget may be short by less than that.
        assert slept < 20, f"asks to sleep {seconds} s, and again, for ever"
        await asyncio.sleep(seconds)

    source.clock.sleep = sleep
    for _ in range(4):
        await source.page()


async def test_a_fresh_token_costs_a_call_of_the_budget():
    source = Subject(Reply(401))
    await source.page()
    assert source.transport.times == pytest.approx([4, 8], abs=0.1)


async def test_who_is_cancelled_while_waiting_has_spent_nothing():
    source = Subject()
    call = asyncio.create_task(source.page())
    await asyncio.sleep(3.9)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await source.page()
    assert source.transport.times == pytest.approx([4], abs=0.1)


async def test_who_waits_for_a_token_or_a_budget_holds_no_room():
    source = Subject()
    source.tokens.takes = 100.0
    await source.page()
    assert source.transport.times == pytest.approx([104], abs=0.1)
    assert source.metrics.held[:2] == [0, 64 * 1024]
    call = asyncio.create_task(source.page())
    await asyncio.sleep(102)
    assert source.metrics.held[-1] == 0
    await call


async def test_an_error_of_whoever_uses_the_page_stays_as_it_is_and_frees_the_room():
    source = Subject()
    with pytest.raises(TimeoutError, match="mine"):
        async with source.fetch(TENANT, ASK):
            raise TimeoutError("mine")
    assert source.metrics.held[-1] == 0


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"error":{"code":"TooBusy","message":"content"}}', "TooBusy"),
        (b'{"error":{"code":"content of an alert"}}', ""),
        (b'{"error":{"code":"x\\ncontent"}}', ""),
        (b'{"error":{"code":"' + b"c" * 65 + b'"}}', ""),
        (b'{"error":{"code":7}}', ""),
        (b'{"error":"content"}', ""),
        (b'{"error":{"code":"\\ud800"}}', ""),
        (b'{"error":' + b"[" * 10_000, ""),
        (b"\xff\xfe", ""),
        (b"", ""),
    ],
)
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, QueryRefused),
        (403, TenantRejected),
        (404, TenantRejected),
        (500, SourceUnavailable),
        (302, SourceUnavailable),
    ],
)
async def test_an_error_shows_the_code_of_its_envelope_and_nothing_else_of_it(
    body, code, status, kind
):
    error = await Subject(Reply(status, body)).refusal(kind)
    assert f"{status} {code}".strip() in str(error)
    assert not [word for word in ("content", "ccc", "[[", "\ud800", "\n") if word in str(error)]
    assert error.__cause__ is None


async def test_an_error_without_end_is_not_read_to_its_end():
    reply = Reply(500, *[b"x" * 8192] * 1000)
    await Subject(reply).refusal(SourceUnavailable)
    assert reply.pulled <= 3


async def test_an_error_whose_body_is_cut_is_still_that_error():
    reply = Reply(503, b'{"err', SourceUnavailable("cut", reason="network"))
    error = await Subject(reply).refusal(SourceUnavailable)
    assert error.reason == "http_503"


async def test_an_answer_as_large_as_allowed_is_read_and_one_byte_more_is_not():
    largest = 64 * 1024
    body = EMPTY + b" " * (largest - len(EMPTY))
    source = Subject(Reply(200, body), Reply(200, body, b" ", b" " * 100), page_bytes=largest)
    assert (await source.page()).body_bytes == largest
    error = await source.refusal(AnswerTooLarge)
    assert "source.page_bytes" in str(error)
    assert max(source.metrics.held) <= largest


async def test_a_refused_link_is_logged_once_for_a_tenant_and_without_the_link():
    body = b'{"value":[],"@odata.nextLink":"https://evil.test/api/alerts"}'
    source = Subject(Reply(200, body), Reply(200, body), Reply(200, body))
    for tenant in (TENANT, TENANT, OTHER):
        page = await source.page(tenant)
        assert (page.next_link, page.linked) == (None, True)
    tenants = [fields["tenant"] for _, fields in source.log.warnings]
    assert tenants == [TENANT.id, OTHER.id]
    assert "evil" not in repr(source.log.warnings)


async def test_a_link_that_is_no_text_is_a_link_all_the_same():
    page = await Subject(Reply(200, b'{"value":[],"@odata.nextLink":{"a":1}}')).page()
    assert (page.next_link, page.linked) == (None, True)


async def test_others_get_their_turn_while_a_long_page_is_read():
    record = {"id": "x", "lastUpdateTime": "2024-01-02T03:04:05Z"}
    source = Subject(Reply(200, json.dumps({"value": [record] * 10_000}).encode()))
    call = asyncio.create_task(source.page())
    turns = 0
    while not call.done():
        # Nobody sleeps but for the first call's budget.
        await asyncio.sleep(0 if source.transport.sent else 0.5)
        turns += bool(source.transport.sent)
    assert len(call.result().records) == 10_000
    assert turns >= 20


@pytest.mark.looptime(False)
async def test_others_get_their_turn_while_a_page_that_is_no_json_is_searched_for_records():
    hostile = b'{"value":[' + b"[" * (2 * 1024 * 1024)
    source = Subject(Reply(200, hostile), calls_per_minute=10**6, calls_per_hour=10**8)
    began = last = time.perf_counter()
    call = asyncio.create_task(source.refusal(SourceUnavailable))
    longest = 0.0
    while not call.done():
        await asyncio.sleep(0)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    assert call.result().reason == "unreadable"
    # One tenant's answer must not hold all others back for as long as it takes to search it.
    assert longest < (last - began) / 3


async def test_a_token_is_prepared_for_the_time_when_it_is_due_and_for_a_known_region_only():
    subject = Subject()
    await subject.prepare(TENANT, due=7.0)
    with pytest.raises(TenantRejected, match="moon"):
        await subject.prepare(replace(TENANT, region="moon"), due=8.0)
    assert subject.tokens.dues == [7.0]
    assert subject.transport.sent == []


class Pool(Transport):
    """A transport of few connections; whoever asks for more waits for one."""

    def __init__(self, connections, body):
        super().__init__([])
        self._free, self._body = asyncio.Semaphore(connections), body

    @asynccontextmanager
    async def get(self, url, headers):
        async with self._free, super().get(url, headers):
            yield Reply(
                200, *(self._body[at : at + 65_536] for at in range(0, len(self._body), 65_536))
            )


class Crowd(Subject):
    """Many tenants that are all due at once; `at_once` is how many pages were decided on at a time."""

    def __init__(self, body, takes=1, **changes):
        super().__init__(**changes)
        self._takes = takes
        self._transport = Pool(self._settings.connections, body)
        self.at_once, self._now = [], 0

    async def _decide(self, number, takes=None):
        tenant = replace(TENANT, id=f"{number:08x}-1111-1111-1111-111111111111")
        async with self.fetch(tenant, ASK):
            self._now += 1
            self.at_once.append(self._now)
            await asyncio.sleep(takes or self._takes)
            self._now -= 1

    async def read(self, tenants):
        async with asyncio.timeout(3600):
            await asyncio.gather(*map(self._decide, range(tenants)))


def body_of(size):
    return b'{"value":[],"more":"' + b"x" * size + b'"}'


async def test_whoever_waits_for_a_connection_holds_no_room_that_those_who_have_one_need():
    crowd = Crowd(body_of(900_000), connections=2, page_bytes=1_000_000, memory_bytes=2_000_000)
    await crowd.read(100)
    assert len(crowd.at_once) == 100
    assert max(crowd.metrics.held) <= 2_000_000
    assert crowd.metrics.held[-1] == 0


async def test_large_answers_are_not_all_read_before_the_first_is_decided_on():
    crowd = Crowd(body_of(4_000_000))
    await crowd.read(40)
    # 32 MiB, and one more.
    assert max(crowd.at_once) == 9


async def test_answers_that_kafka_does_not_take_do_not_stop_those_of_others():
    crowd = Crowd(body_of(4_000_000), takes=36_000)
    began = asyncio.get_running_loop().time()
    stuck = [asyncio.create_task(crowd._decide(number)) for number in range(40)]
    await asyncio.sleep(60)
    assert max(crowd.at_once) == 40
    await crowd._decide(41, takes=1)
    assert asyncio.get_running_loop().time() - began < 120
    for task in stuck:
        task.cancel()
    await asyncio.gather(*stuck, return_exceptions=True)
    assert crowd.metrics.held[-1] == 0


async def test_many_that_go_on_beside_a_stuck_shard_are_not_patient_one_after_another():
    crowd = Crowd(body_of(4_000_000), takes=36_000, connections=4)
    stuck = [asyncio.create_task(crowd._decide(number)) for number in range(9)]
    await asyncio.sleep(60)
    assert len(crowd.at_once) == 9
    began = asyncio.get_running_loop().time()
    others = [asyncio.create_task(crowd._decide(number, takes=1)) for number in range(100, 132)]
    await asyncio.gather(*others)
    assert asyncio.get_running_loop().time() - began < 15
    for task in stuck:
        task.cancel()
    await asyncio.gather(*stuck, return_exceptions=True)


async def test_small_answers_are_decided_on_beside_each_other():
    crowd = Crowd(body_of(4_000))
    await crowd.read(2_000)
    assert max(crowd.at_once) == 2_000


async def test_time_spent_waiting_for_a_turn_is_not_the_apis():
    crowd = Crowd(body_of(30_000_000), connections=1)
    await crowd.read(20)
    seconds = crowd.metrics.registry.get_sample_value
    assert seconds("defender_ingest_source_request_seconds_count") == 20
    assert seconds("defender_ingest_source_request_seconds_sum") < 1

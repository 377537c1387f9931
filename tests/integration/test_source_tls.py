"""The source on real sockets: whom it trusts, what it sends, and what it leaves behind."""

import asyncio
import gc
import gzip
import ssl
from asyncio.sslproto import SSLProtocol
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import structlog
import trustme
from aiohttp import StreamReader, web
from prometheus_client import CollectorRegistry

from ingest.errors import SettingsError, SourceUnavailable
from ingest.model.sweep import Ask, Box
from ingest.model.tenant import Tenant
from ingest.pipeline.retry import passing_trouble
from ingest.runtime.allocator import narrow_tls_buffers
from ingest.runtime.clock import SystemClock
from ingest.settings.models import Region, Source
from ingest.source.client import DefenderSource
from ingest.telemetry.metrics import SourceMetrics

EMPTY = b'{"value":[]}'
TOKEN = "the-token"


def tenant(number=1):
    return Tenant(f"{number:08d}-1111-1111-1111-111111111111", f"Contoso {number}", "eu")


async def until(condition, seconds=10.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


class Patient(SystemClock):
    """Retries need not wait."""

    async def sleep(self, seconds):
        await asyncio.sleep(0)


class Tokens:
    async def get(self, tenant, *, due=None):
        return TOKEN

    async def refresh(self, tenant, rejected):
        return TOKEN


class Api:
    """A server over TLS; it answers as it is told and notes what reached it."""

    def __init__(self, answer) -> None:
        self.requests = []
        self.peers = set()
        self._answer = answer
        self.server = web.Server(self._handle, access_log=None)
        self.runner = web.ServerRunner(self.server, shutdown_timeout=0.1)
        self.url = ""

    async def _handle(self, request):
        self.requests.append(request)
        self.peers.add(request.transport.get_extra_info("peername"))
        answer = self._answer(request)
        return await answer if asyncio.iscoroutine(answer) else answer

    async def start(self, context):
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0, ssl_context=context).start()
        self.url = f"https://127.0.0.1:{self.runner.addresses[0][1]}"


class Place:
    """Servers, and sources that read from them."""

    def __init__(self, stack, folder) -> None:
        self._stack = stack
        self.ca = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(self.ca_file)

    def context(self, *names, ca=None):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        (ca or self.ca).issue_cert(*names).configure_cert(context)
        return context

    async def serve(self, answer=lambda _: web.Response(body=EMPTY), *, name="127.0.0.1", ca=None):
        api = Api(answer)
        self._stack.push_async_callback(api.runner.cleanup)
        await api.start(self.context(name, ca=ca))
        return api

    async def serve_raw(self, *pieces, context=None):
        """Serve bytes that a server should not send, whatever is asked."""

        async def answer(reader, writer):
            try:
                await reader.readuntil(b"\r\n\r\n")
                writer.writelines(pieces)
                await writer.drain()
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(
            answer, "127.0.0.1", 0, ssl=context or self.context("127.0.0.1")
        )
        await self._stack.enter_async_context(server)
        return f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    @asynccontextmanager
    async def source(self, url, **settings):
        registry = CollectorRegistry()
        async with DefenderSource(
            settings=Source(calls_per_minute=10**7, calls_per_hour=10**9, **settings),
            regions={"eu": Region(api_url=url)},
            ca_file=self.ca_file,
            tokens=Tokens(),
            clock=Patient(),
            metrics=SourceMetrics(registry),
            log=structlog.get_logger(),
        ) as source:
            source.registry = registry
            yield source

    async def refusal(self, url, **settings):
        async with self.source(url, **settings) as source:
            with pytest.raises(SourceUnavailable) as caught:
                await page(source)
        shown = f"{caught.value!s} {caught.value!r}"
        assert TOKEN not in shown
        assert "sensitive" not in shown
        return caught.value


async def page(source, number=1):
    async with source.fetch(tenant(number), Ask(Box(0), top=10)) as found:
        return found


@pytest.fixture
async def place(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    async with AsyncExitStack() as stack:
        yield Place(stack, tmp_path)


async def test_a_certificate_of_an_unknown_authority_is_refused_with_a_hint(place):
    api = await place.serve(ca=trustme.CA())
    error = await place.refusal(api.url)
    assert error.reason == "tls"
    assert "ca_file" in str(error)
    assert api.requests == []


async def test_a_certificate_of_another_host_is_refused(place):
    api = await place.serve(name="api.example")
    assert (await place.refusal(api.url)).reason == "tls"
    assert api.requests == []


def test_an_authority_that_cannot_be_read_is_a_mistake_in_the_settings(tmp_path):
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for file in (broken, tmp_path / "absent.pem"):
        with pytest.raises(SettingsError, match="ca_file"):
            DefenderSource(
                settings=Source(),
                regions={},
                ca_file=file,
                tokens=Tokens(),
                clock=SystemClock(),
                metrics=SourceMetrics(CollectorRegistry()),
                log=structlog.get_logger(),
            )


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_and_takes_no_token_along(place, status):
    elsewhere = await place.serve()
    to = {"Location": f"{elsewhere.url}/api/alerts"}
    api = await place.serve(lambda _: web.Response(status=status, headers=to))
    error = await place.refusal(api.url)
    assert error.reason == f"http_{status}"
    assert (len(api.requests), elsewhere.requests) == (1, [])
    assert len(elsewhere.server.connections) == 0


async def test_a_link_to_another_port_of_the_same_host_is_not_called(place):
    elsewhere = await place.serve()
    link = f'{{"value":[],"@odata.nextLink":"{elsewhere.url}/api/alerts"}}'.encode()
    api = await place.serve(lambda _: web.Response(body=link))
    async with place.source(api.url) as source:
        found = await page(source)
        assert (found.next_link, found.linked) == (None, True)
    assert elsewhere.requests == []


async def test_no_cookie_goes_from_one_call_into_another(place):
    cookie = {"Set-Cookie": "fpc=someone; Path=/; Secure"}
    api = await place.serve(lambda _: web.Response(body=EMPTY, headers=cookie))
    async with place.source(api.url) as source:
        for number in (1, 2, 1):
            await page(source, number)
    assert [request.headers.get("Cookie") for request in api.requests] == [None] * 3


async def test_calls_say_who_calls_and_what_they_take(place):
    api = await place.serve()
    async with place.source(api.url, user_agent="MdatpPartner-Contoso-Reader/7.1") as source:
        await page(source)
    (request,) = api.requests
    assert request.headers["User-Agent"] == "MdatpPartner-Contoso-Reader/7.1"
    assert request.headers["Accept"] == "application/json"
    assert "gzip" in request.headers["Accept-Encoding"]
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in str(request.url)


async def test_a_filter_reaches_the_server_in_the_bytes_that_were_made(place):
    api = await place.serve()
    async with place.source(api.url) as source:
        await page(source)
    assert api.requests[0].rel_url.raw_query_string == (
        "$filter=lastUpdateTime%20ge%201970-01-01T00%3A00%3A00.0000000Z&$top=10&$expand=evidence"
    )


async def test_many_tenants_share_no_more_connections_than_allowed(place):
    waiting, most, enough = 0, 0, asyncio.Event()

    async def answer(_):
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        if waiting == 2:
            enough.set()
        await enough.wait()
        waiting -= 1
        return web.Response(body=EMPTY)

    api = await place.serve(answer)
    async with place.source(api.url, connections=2) as source:
        await asyncio.gather(*(page(source, number) for number in range(8)))
    assert (len(api.requests), most, len(api.peers)) == (8, 2, 2)


async def test_a_tenants_next_call_finds_the_connection_open(place):
    api = await place.serve()
    async with place.source(api.url) as source:
        for number in (1, 2, 1):
            await page(source, number)
    assert (len(api.requests), len(api.peers)) == (3, 1)


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used_again(place):
    api = await place.serve()
    async with place.source(api.url) as source:
        await page(source)
        (kept,) = source._transport._session.connector._conns.values()
        for connection in api.server.connections:
            connection.transport.close()
        await until(lambda: not any(protocol.is_connected() for protocol, _ in kept))
        await page(source)
    assert (len(api.requests), len(api.peers)) == (2, 2)


async def test_a_call_whose_connection_is_lost_is_tried_again_out_of_the_budget(place):
    def answer(request):
        if len(api.requests) == 2:
            request.transport.abort()
        return web.Response(body=EMPTY)

    api = await place.serve(answer)
    async with place.source(api.url) as source:
        await page(source)
        async for attempt in passing_trouble(Patient()):
            with attempt:
                await page(source)
        counted = {
            sample.labels["outcome"]: sample.value
            for metric in source.registry.collect()
            for sample in metric.samples
            if sample.name == "defender_ingest_source_requests_total" and sample.value
        }
    assert len(api.requests) == 3
    # A call that only the HTTP library knows of is in no budget.
    assert counted == {"ok": 2, "network": 1}


async def test_a_connection_holds_a_small_buffer_for_as_long_as_it_is_kept(place, monkeypatch):
    monkeypatch.setattr(SSLProtocol, "max_size", SSLProtocol.max_size)
    narrow_tls_buffers()
    # Other tests' connections, made with wide buffers, may not have been collected yet.
    others = _clients()
    body = b'{"value":[%s]}' % b",".join(b'{"id":"da%d"}' % number for number in range(20_000))
    api = await place.serve(lambda _: web.Response(body=body))
    async with place.source(api.url) as source:
        # What is longer than the buffer comes whole all the same.
        assert len((await page(source)).records) == 20_000
        kept = [one for one in _clients() if one not in others]
        assert {len(one._ssl_buffer) for one in kept} == {64 * 1024}


def _clients():
    return [one for one in gc.get_objects() if type(one) is SSLProtocol and one._server_hostname]


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
PLAIN = b'{"value":["sensitive' + b"x" * 50_000 + b'"]}'
PACKED = gzip.compress(PLAIN)
BROKEN_CHECKSUM = PACKED[:-8] + bytes(8)


def _sized(body, encoding):
    return (
        HEAD + b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (encoding, len(body)) + body
    )


@pytest.mark.parametrize(
    "pieces",
    {
        "no answer": [],
        "no HTTP": [b"sensitive\r\n\r\n"],
        "half a head": [HEAD],
        "a head without end": [HEAD + b"X: " + b"sensitive" * 100_000],
        "a length that is none": [HEAD + b"Content-Length: sensitive\r\n\r\n"],
        "a body cut short": [HEAD + b"Content-Length: 99\r\n\r\nsensitive"],
        "chunks that are none": [HEAD + b"Transfer-Encoding: chunked\r\n\r\nsensitive\r\n"],
        "chunks without end": [HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\nsensitive\r\n"],
        "gzip that is none": [_sized(PLAIN, b"gzip")],
        "gzip cut short": [_sized(PACKED[:-20], b"gzip")],
        "gzip with a wrong checksum": [_sized(BROKEN_CHECKSUM, b"gzip")],
        "deflate cut short": [_sized(PACKED[10:-20], b"deflate")],
        "an encoding that nobody asked for": [_sized(PLAIN, b"br")],
        "two lengths": [HEAD + b"Content-Length: 12\r\nContent-Length: 99\r\n\r\n" + EMPTY],
    }.items(),
    ids=lambda item: item[0],
)
async def test_an_answer_that_is_no_good_http_is_trouble_that_may_pass(place, pieces):
    error = await place.refusal(await place.serve_raw(*pieces[1]), read_timeout_seconds=5)
    assert error.reason in ("network", "unreadable")


async def test_a_gzip_answer_in_several_members_is_one_answer(place):
    body = (
        b'{"value":[' + b" " * 5_000,
        b'{"id":"x","lastUpdateTime":"2024-01-02T03:04:05Z"}',
        b"]}",
    )
    members = b"".join(gzip.compress(part) for part in body)
    url = await place.serve_raw(_sized(members, b"gzip"))
    async with place.source(url) as source:
        assert [record.id for record in (await page(source)).records] == ["x"]


async def test_a_server_that_is_not_there_or_speaks_no_tls_is_trouble_that_may_pass(place):
    plain = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = plain.sockets[0].getsockname()[1]
    async with plain:
        assert (await place.refusal(f"https://127.0.0.1:{port}")).reason == "network"
    assert (await place.refusal(f"https://127.0.0.1:{port}")).reason == "network"


async def test_silence_is_not_waited_for_longer_than_allowed(place):
    silence = asyncio.Event()
    api = await place.serve(lambda _: silence.wait())
    async with asyncio.timeout(10):
        error = await place.refusal(api.url, read_timeout_seconds=0.2)
    assert error.reason == "timeout"


async def test_what_was_opened_is_closed_at_the_end_even_in_the_middle_of_calls(place):
    silence = asyncio.Event()
    api = await place.serve(
        lambda request: silence.wait() if len(api.requests) > 2 else web.Response(body=EMPTY)
    )
    async with place.source(api.url) as source:
        await asyncio.gather(page(source, 1), page(source, 2))
        calls = [asyncio.create_task(page(source, number)) for number in (1, 2, 3)]
        await until(lambda: len(api.requests) == 5)
        for call in calls:
            call.cancel()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended)
        assert source._room.used == 0
    # The server's handlers still wait; their connections are gone.
    await until(lambda: not any(one.transport for one in api.server.connections))
    # What is unclosed speaks up when it is collected, and a warning is an error.
    gc.collect()


def _readers():
    return {id(one) for one in gc.get_objects() if type(one) is StreamReader}


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD + b"Content-Length: 999999\r\n\r\n" + b"x" * 300_000],
        [HEAD + b"Transfer-Encoding: chunked\r\n\r\n30000\r\n" + b"x" * 0x30000],
    ],
    ids=["cut", "chunks without end"],
)
async def test_an_answer_that_broke_off_leaves_nothing_for_the_garbage_collector(place, pieces):
    url = await place.serve_raw(*pieces)
    async with place.source(url) as source:
        gc.collect()
        gc.disable()
        try:
            before = _readers()
            for _ in range(5):
                with pytest.raises(SourceUnavailable):
                    async for attempt in passing_trouble(Patient()):
                        with attempt:
                            await page(source)
            await until(lambda: not source._transport._session.connector._acquired)
            assert len(_readers() - before) <= 1
        finally:
            gc.enable()

"""The simulator's forward proxy: CONNECT to the cloud's names, and to nothing else."""

import asyncio

import pytest

from ingest.simulator.proxy import ForwardProxy


@pytest.fixture
async def proxy():
    async def echo(reader, writer):
        writer.write(b"you said " + await reader.read(100))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    upstream = server.sockets[0].getsockname()[:2]
    async with ForwardProxy(
        upstream=upstream, names=frozenset(("api.test",)), credentials="me:word"
    ) as made:
        yield made
    server.close()


async def answered(proxy, head: bytes, then: bytes = b"") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(head)
    if then:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(then)
        writer.write_eof()
    found = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return found


KNOWN = b"Proxy-Authorization: Basic bWU6d29yZA==\r\n"


async def test_what_is_sent_through_comes_back_as_it_is(proxy):
    head = b"CONNECT api.test:443 HTTP/1.1\r\n" + KNOWN + b"\r\n"
    assert await answered(proxy, head, b"hello") == b"you said hello"
    assert proxy.tunnels == {"api.test": 1}


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"CONNECT elsewhere.test:443 HTTP/1.1\r\n" + KNOWN + b"\r\n", b"403"),
        (b"CONNECT api.test:443 HTTP/1.1\r\n\r\n", b"407"),
        (b"GET http://api.test/ HTTP/1.1\r\n" + KNOWN + b"\r\n", b"400"),
        (b"CONNECT\r\n\r\n", b"400"),
        (b"X" * 40_000 + b"\r\n\r\n", b"400"),
    ],
)
async def test_whatever_else_is_asked_is_refused(proxy, head, status):
    found = await answered(proxy, head)
    assert found.split(b" ")[1] == status

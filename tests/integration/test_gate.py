"""The network of the chaos harness: what a cut keeps, and what comes late when it ends."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from ingest.simulator.broker import free_port
from tests.chaos.gate import Gate


class Far:
    """A server that notes what arrives and says it back."""

    def __init__(self):
        self.got = b""
        self.meetings = 0

    async def meet(self, reader, writer):
        self.meetings += 1
        while content := await reader.read(1024):
            self.got += content
            writer.write(content)
        writer.close()

    async def has(self, content):
        async with asyncio.timeout(10):
            while self.got != content:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def through_a_gate():
    far = Far()
    server = await asyncio.start_server(far.meet, "127.0.0.1", 0)
    gate = Gate(port=free_port(), upstream=server.sockets[0].getsockname()[1])
    await gate.open()
    try:
        yield far, gate
    finally:
        await gate.close()
        server.close()
        await server.wait_closed()


async def nothing_comes(reader):
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1024), 0.1)


async def connect(gate):
    return await asyncio.open_connection("127.0.0.1", gate.port)


async def test_an_open_gate_passes_everything_both_ways():
    async with through_a_gate() as (far, gate):
        reader, writer = await connect(gate)
        content = bytes(range(256)) * 4000
        writer.write(content)
        assert await asyncio.wait_for(reader.readexactly(len(content)), 10) == content
        writer.close()
        assert far.got == content


async def test_a_silent_cut_holds_both_ways_and_delivers_late():
    async with through_a_gate() as (far, gate):
        reader, writer = await connect(gate)
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        await gate.cut("silent")
        writer.write(b" during")
        await nothing_comes(reader)
        assert far.got == b"before"
        await gate.open()
        assert await asyncio.wait_for(reader.readexactly(7), 10) == b" during"
        writer.close()


async def test_what_a_client_said_before_it_gave_up_still_arrives():
    async with through_a_gate() as (far, gate):
        _, writer = await connect(gate)
        writer.write(b"first")
        await far.has(b"first")
        await gate.cut("silent")
        writer.write(b" last words")
        await writer.drain()
        writer.close()
        await asyncio.sleep(0.05)
        assert far.got == b"first"
        await gate.open()
        await far.has(b"first last words")


async def test_a_cut_of_answers_lets_what_is_asked_arrive():
    async with through_a_gate() as (far, gate):
        reader, writer = await connect(gate)
        await gate.cut("answers")
        writer.write(b"asked")
        await far.has(b"asked")
        await nothing_comes(reader)
        await gate.open()
        assert await asyncio.wait_for(reader.readexactly(5), 10) == b"asked"
        writer.close()


async def test_who_connects_during_a_silent_cut_is_let_through_after_it():
    async with through_a_gate() as (far, gate):
        await gate.cut("silent")
        reader, writer = await connect(gate)
        writer.write(b"hello")
        await nothing_comes(reader)
        assert far.meetings == 0
        await gate.open()
        assert await asyncio.wait_for(reader.readexactly(5), 10) == b"hello"
        writer.close()


async def test_a_reset_ends_connections_and_refuses_new_ones_until_it_is_over():
    async with through_a_gate() as (_, gate):
        reader, writer = await connect(gate)
        writer.write(b"x")
        await reader.readexactly(1)
        await gate.cut("reset")
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await connect(gate)
        await gate.open()
        reader, writer = await connect(gate)
        writer.write(b"y")
        assert await asyncio.wait_for(reader.readexactly(1), 10) == b"y"
        writer.close()


async def test_an_unknown_manner_of_a_cut_is_refused():
    with pytest.raises(ValueError, match="scissors"):
        await Gate(port=1, upstream=2).cut("scissors")

"""A network that can be cut: a TCP proxy on loopback which knows nothing of what passes."""

import asyncio
import socket
from contextlib import suppress

_CHUNK = 65_536


class Gate:
    """Passes bytes both ways between whoever connects to `port` and the server at `upstream`.

    A cut that is silent delivers what it held when it ends, as TCP does with what is not acknowledged:
    also to a server whose client has long given up.
    """

    def __init__(self, *, port: int, upstream: int) -> None:
        self.port = port
        self._upstream = upstream
        self._asked = _opened()
        self._answered = _opened()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen, and let everything pass."""
        self._asked.set()
        self._answered.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._meet, "127.0.0.1", self.port)

    async def cut(self, manner: str) -> None:
        """Cut it: `silent` holds both ways, `answers` one, `reset` ends connections and takes none."""
        match manner:
            case "silent":
                self._asked.clear()
                self._answered.clear()
            case "answers":
                self._answered.clear()
            case "reset":
                await self.close()
            case _:
                raise ValueError(f"unknown manner of a cut: {manner}")

    async def close(self) -> None:
        """End every connection with a reset and listen no more."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        writers = [writer]
        try:
            await self._asked.wait()
            with suppress(OSError):
                near, far = await asyncio.open_connection("127.0.0.1", self._upstream)
                writers.append(far)
                ways = [
                    asyncio.ensure_future(_pass(reader, far, self._asked)),
                    asyncio.ensure_future(_pass(near, writer, self._answered)),
                ]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)
        except asyncio.CancelledError:
            for one in writers:
                _lose(one)
        finally:
            for one in writers:
                one.close()
            self._tasks.discard(task)


def _opened() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def _pass(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, may: asyncio.Event
) -> None:
    with suppress(OSError):
        while content := await reader.read(_CHUNK):
            await may.wait()
            writer.write(content)
            await writer.drain()
        await may.wait()


def _lose(writer: asyncio.StreamWriter) -> None:
    """End a connection with a reset, which to linger for no time is."""
    connection = writer.get_extra_info("socket")
    if connection is not None:
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()

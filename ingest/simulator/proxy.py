"""A forward proxy before the simulated cloud: CONNECT, and nothing behind it but that cloud.

It alone knows the cloud's host names, as a company's proxy alone knows the way out.
"""

import asyncio
import base64
import contextlib
from collections import Counter
from typing import Self

_MOST_HEAD_BYTES = 16 * 1024
_PIECE_BYTES = 64 * 1024
_PATIENCE_SECONDS = 10.0
_ANSWERS = {
    200: "HTTP/1.1 200 Connection established\r\n\r\n",
    400: "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    403: "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    407: (
        'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="simulate"\r\n'
        "Content-Length: 0\r\nConnection: close\r\n\r\n"
    ),
}


class ForwardProxy:
    """Leads to one port of loopback under many names, while its context is entered.

    Args:
        upstream: host and port of the simulated cloud.
        names: the host names that lead there; every other one is forbidden.
        host: to listen on.
        port: same; 0 takes a free one.
        credentials: `NAME:PASSWORD` that it wants, where it wants any.

    `tunnels` counts what was opened and what was refused, by host name; `answers` counts statuses.
    """

    def __init__(
        self,
        *,
        upstream: tuple[str, int],
        names: frozenset[str],
        host: str = "127.0.0.1",
        port: int = 0,
        credentials: str = "",
    ) -> None:
        self._upstream = upstream
        self._names = names
        self._host = host
        self._wanted = port
        encoded = base64.b64encode(credentials.encode()).decode()
        self._authorization = f"Basic {encoded}" if credentials else ""
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.tunnels: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()
        self.port = 0

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://{self._host}:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, self._host, self._wanted, limit=_MOST_HEAD_BYTES
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._open.add(task)
            task.add_done_callback(self._open.discard)
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                await self._tunnel(reader, writer)
        finally:
            writer.close()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        status, name = await self._asked(reader)
        self.answers[status] += 1
        self.tunnels[name] += 1
        writer.write(_ANSWERS[status].encode())
        await writer.drain()
        if status != 200:  # noqa: PLR2004 - the one good answer
            return
        cloud, to_cloud = await asyncio.open_connection(*self._upstream)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pass_on(reader, to_cloud))
                both.create_task(_pass_on(cloud, writer))
        except* OSError:
            pass
        finally:
            to_cloud.close()

    async def _asked(self, reader: asyncio.StreamReader) -> tuple[int, str]:
        """Return the status that a request is answered with, and the host name that it wants."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.LimitOverrunError:
            return 400, ""
        request, *lines = head.split("\r\n")
        words = request.split(" ")
        if len(words) != 3 or words[0] != "CONNECT":  # noqa: PLR2004 - method, target, version
            return 400, ""
        name = words[1].rpartition(":")[0].lower()
        fields = {
            key.strip().lower(): value.strip()
            for key, _, value in (line.partition(":") for line in lines)
        }
        if self._authorization and fields.get("proxy-authorization") != self._authorization:
            return 407, name
        return (200 if name in self._names else 403), name


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes until it ends, and then its end."""
    while piece := await reader.read(_PIECE_BYTES):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()

"""A thin shell of sockets around the simulated cloud: TLS, pace, and nothing else."""

import asyncio
import ipaddress
import socket
import ssl
import struct
from typing import Self

from aiohttp import web

from ingest.simulator.cloud import SimulatedCloud
from ingest.simulator.exchange import Pace, Response, api_error


class SimulatorServer:
    """Serves a cloud over TLS while its context is entered; `port` is known from then on.

    `round_trip` is how many seconds later each answer comes, the admin endpoints' aside: a network's way
    there and back. The handshakes of new connections are as fast as ever.
    """

    def __init__(
        self,
        *,
        cloud: SimulatedCloud,
        context: ssl.SSLContext,
        host: str,
        port: int,
        round_trip: float = 0.0,
    ) -> None:
        self._cloud = cloud
        self._context = context
        self._host = host
        self._wanted = port
        self._round_trip = round_trip
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None))
        self.port = 0

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"https://{self._host}:{self.port}"

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, self._host, self._wanted, ssl_context=self._context, backlog=1024
        )
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        is_admin = request.path.startswith("/admin/")
        if is_admin and not _is_loopback(request.remote):
            return _plain(api_error(403, "Forbidden", "The admin endpoints are for loopback."))
        answer = self._cloud.handle(
            request.method,
            request.path,
            request.rel_url.raw_query_string,
            {name.lower(): value for name, value in request.headers.items()},
            body,
        )
        if self._round_trip and not is_admin:
            await asyncio.sleep(self._round_trip)
        return _plain(answer) if answer.pace is None else await _paced(request, answer, answer.pace)


def _plain(answer: Response) -> web.Response:
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body)


async def _paced(request: web.BaseRequest, answer: Response, pace: Pace) -> web.StreamResponse:
    """Send an answer as its pace says, which may be not at all."""
    if pace.reset:
        _drop(request, reset=True)
        return _plain(answer)
    await asyncio.sleep(pace.delay)
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = len(answer.body)
    await response.prepare(request)
    size = pace.piece or len(answer.body) or 1
    end = len(answer.body) if pace.cut_after is None else pace.cut_after
    for at in range(0, end, size):
        await response.write(answer.body[at : min(at + size, end)])
        await asyncio.sleep(pace.pause)
    if pace.cut_after is not None:
        _drop(request, reset=False)
        return response
    await response.write_eof()
    return response


def _drop(request: web.BaseRequest, *, reset: bool) -> None:
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if reset and connection is not None:
        # To linger for no time is to reset.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()


def _is_loopback(address: str | None) -> bool:
    return address is not None and ipaddress.ip_address(address).is_loopback

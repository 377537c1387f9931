"""HTTP as the source needs it: one GET, its status and headers at once, its body in pieces.

The only module of this room that knows aiohttp's client. Tests put a cloud without sockets in its place.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import aiohttp
from isal import isal_zlib
from yarl import URL

from ingest.errors import SourceUnavailable, forget_origin
from ingest.settings.models import Source
from ingest.settings.proxy import ProxyOf, environment_proxy
from ingest.settings.trust import tls_context

_READ_BUFFER_BYTES = 256 * 1024
_KEEP_ALIVE_SECONDS = 75.0
"""Longer than a poll interval, so that a tenant's next call finds a connection."""


class Reply(Protocol):
    """An answer whose body is still to be read."""

    status: int

    def header(self, name: str) -> str:
        """Return a header's value, "" if there is none."""
        ...

    def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body, decompressed, in pieces of bounded size."""
        ...


class Transport(Protocol):
    """Sends requests. Entered once, before the first."""

    async def __aenter__(self) -> Self:
        """Open."""
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection."""
        ...

    def get(self, url: str, headers: Mapping[str, str]) -> AbstractAsyncContextManager[Reply]:
        """Send one request; no redirect is followed, no cookie kept.

        Raises:
            SourceUnavailable: on entering or while pieces are read: the network failed.
        """
        ...


class _Reply:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self._headers = response.headers
        self._content = response.content

    def header(self, name: str) -> str:
        return self._headers.get(name, "")

    async def pieces(self) -> AsyncIterator[bytes]:
        # As they were decompressed: other ways of reading join what is joined anyway.
        async for piece, _ in self._content.iter_chunks():
            if piece:
                yield piece


class AiohttpTransport:
    """Implements `Transport` with one session for all tenants.

    Tenants share hosts, so they share connections; a cookie jar would carry one tenant's cookies into
    another's calls, so there is none.
    """

    def __init__(
        self, *, settings: Source, ca_file: Path | None, proxy_of: ProxyOf = environment_proxy
    ) -> None:
        self._settings = settings
        self._proxy_of = proxy_of
        self._tls = tls_context(ca_file)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the session."""
        aiohttp.set_zlib_backend(isal_zlib)
        settings = self._settings
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=settings.connections,
                ssl=self._tls,
                keepalive_timeout=_KEEP_ALIVE_SECONDS,
                ttl_dns_cache=60,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=settings.timeout_seconds,
                sock_connect=settings.connect_timeout_seconds,
                sock_read=settings.read_timeout_seconds,
            ),
            headers={"User-Agent": settings.user_agent, "Accept": "application/json"},
            read_bufsize=_READ_BUFFER_BYTES,
            middlewares=(_once,),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[Reply]:
        """See `Transport.get`."""
        if self._session is None:
            raise RuntimeError("a transport was used before it was entered")
        where = URL(url, encoded=True)
        try:
            # Not aiohttp's `trust_env`: it asks in a thread for each call, and reads `~/.netrc` too, whose
            # passwords have no business here.
            proxy = self._proxy_of(where.host or "")
            async with self._session.get(
                where, headers=headers, allow_redirects=False, proxy=proxy
            ) as response:
                yield _Reply(response)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            # aiohttp's reader keeps it: both would stay, with what was read, until they are collected.
            forget_origin(error)
            raise _trouble(error) from None


async def _once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Send a request once: trying again is for whoever keeps the budget (law 6).

    aiohttp would send a GET a second time by itself where the connection was lost before the answer;
    it does so for errors of its own alone.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        # Nothing was sent; nor does aiohttp try these again.
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _lost(error) from None


def _trouble(error: Exception) -> SourceUnavailable:
    """Return what an error of the network means."""
    match error:
        case TimeoutError():
            return SourceUnavailable("the alert API did not answer in time", reason="timeout")
        case aiohttp.ClientConnectorCertificateError():
            return SourceUnavailable(
                "the alert API's certificate is not trusted: check ca_file", reason="tls"
            )
        case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
            return SourceUnavailable(
                "the proxy does not let us through to the alert API: check http.proxy and what it allows",
                reason="proxy",
            )
    return _lost(error)


def _lost(error: Exception) -> SourceUnavailable:
    # Only the kind: some of aiohttp's messages hold headers or parts of the body.
    return SourceUnavailable(
        f"the call to the alert API failed: {type(error).__name__}", reason="network"
    )

"""One HTTP session for all requests to the login host, bounded in time and in bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from ingest.settings.proxy import ProxyOf, environment_proxy
from ingest.settings.trust import tls_context

_ANSWER_BYTES = 256 * 1024
_CONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the login host said; its text may hold a token."""

    status: int
    text: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


class LoginUnreached(Exception):
    """The login host gave no answer.

    `reason` is `entra_timeout`, `entra_tls`, `entra_proxy` or `entra_network`; `kind` names what happened,
    and shows no part of the request or of the answer.
    """

    def __init__(self, reason: str, kind: str) -> None:
        super().__init__(f"{reason}: {kind}")
        self.reason = reason
        self.kind = kind


class LoginHttp:
    """Sends requests while its context is entered.

    Args:
        connections: how many may be open at once.
        ca_file: certificate authorities in place of the system's.
        timeout_seconds: the bound on one whole request.
        proxy_of: which proxy a host is reached through.
    """

    def __init__(
        self,
        *,
        connections: int,
        ca_file: Path | None,
        timeout_seconds: float,
        proxy_of: ProxyOf = environment_proxy,
    ) -> None:
        self._connections = connections
        self._tls = tls_context(ca_file)
        self._timeout = aiohttp.ClientTimeout(
            total=timeout_seconds, sock_connect=min(_CONNECT_SECONDS, timeout_seconds)
        )
        self._proxy_of = proxy_of
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the session; nothing is connected before the first request."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._connections, ssl=self._tls, ttl_dns_cache=60
            ),
            # Connections are shared by tenants, so cookies would be too.
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            # An answer is small; so none is unpacked that would not be.
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def post(
        self, url: str, *, fields: Mapping[str, str], headers: Mapping[str, str]
    ) -> Answer:
        """Send a form.

        Raises:
            LoginUnreached: there was no answer.
        """
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self._call("POST", url, urlencode(fields).encode(), {**headers, **kind})

    async def get(self, url: str) -> Answer:
        """Ask for a document; a redirect is an answer like any other, and not followed.

        Raises:
            LoginUnreached: there was no answer.
        """
        return await self._call("GET", url, None, {})

    async def _call(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        if self._session is None:
            raise RuntimeError("requests were made of the login host before its session was open")
        where = URL(url, encoded=True)
        try:
            async with self._session.request(
                method,
                where,
                data=body,
                headers=headers,
                allow_redirects=False,
                proxy=self._proxy_of(where.host or ""),
            ) as response:
                text = await _read(response)
                return Answer(response.status, text, response.headers)
        except TimeoutError:
            raise LoginUnreached("entra_timeout", "TimeoutError") from None
        except aiohttp.ClientSSLError as error:
            raise LoginUnreached("entra_tls", type(error).__name__) from None
        except (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError) as error:
            raise LoginUnreached("entra_proxy", type(error).__name__) from None
        except (aiohttp.ClientError, OSError) as error:
            # Only the kind: some of aiohttp's messages hold headers or parts of the body.
            raise LoginUnreached("entra_network", type(error).__name__) from None


async def _read(response: aiohttp.ClientResponse) -> str:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > _ANSWER_BYTES:
            raise LoginUnreached("entra_network", "the answer is too large")
    return body.decode("utf-8", "replace")

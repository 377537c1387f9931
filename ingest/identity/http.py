"""One HTTP session for all requests to the login host, bounded in time and in bytes."""

import functools
from collections.abc import Callable, Mapping
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from ingest.settings.proxy import ProxyOf, environment_proxy

_ANSWER_BYTES = 256 * 1024
_PIECE_BYTES = 16 * 1024
_CONNECT_SECONDS = 10.0


class Exchange:
    """What MSAL takes for an HTTP client, for one token request; it remembers how that was answered.

    MSAL drops the headers of an error, and with them `Retry-After`; here they are kept. It also asks
    for the authority's metadata each time an application object is made; the answer follows from the
    authority's own URL, so it is given here, without a call and without trusting an answer's hosts.
    """

    def __init__(self, send: Callable[..., "Answer"]) -> None:
        self._send = send
        self.answer: Answer | None = None

    def post(
        self,
        url: str,
        *,
        data: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        **_: Any,
    ) -> "Answer":
        """Send a token request."""
        self.answer = self._send(url, data=dict(data or {}), headers=dict(headers or {}))
        return self.answer

    def get(self, url: str, **_: Any) -> "Answer":
        """Answer the question for the authority's metadata."""
        authority, _mark, rest = url.partition("/v2.0/.well-known/openid-configuration")
        if rest or not authority:
            return Answer(404, "{}", {})
        return Answer(
            200,
            f'{{"token_endpoint": "{authority}/oauth2/v2.0/token", "issuer": "{authority}/v2.0", '
            f'"authorization_endpoint": "{authority}/oauth2/v2.0/authorize"}}',
            {},
        )

    def close(self) -> None:
        """The session is not this one's to close."""


class Answer:
    """An answer in the form that MSAL expects."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str]) -> None:
        self.status_code = status
        self.text = text
        self.headers = headers

    def raise_for_status(self) -> None:
        """Raise where the status is an error; MSAL calls this on metadata only."""
        if self.status_code >= 400:  # noqa: PLR2004 - HTTP errors begin here
            raise requests.HTTPError(f"HTTP {self.status_code}")


def _read(response: requests.Response) -> bytes:
    """Return what has come, at most a piece; nothing at the end."""
    try:
        piece: bytes = response.raw.read1(_PIECE_BYTES, decode_content=True)
    except urllib3.exceptions.ReadTimeoutError:
        raise requests.exceptions.ReadTimeout("the answer is too slow") from None
    except urllib3.exceptions.HTTPError as error:
        raise requests.exceptions.ConnectionError(type(error).__name__) from None
    return piece


class TokenHttp:
    """Makes exchanges on one session that many threads share.

    Args:
        threads: how many may use it at once.
        ca_file: certificate authorities in place of the system's.
        timeout_seconds: the bound on one whole request.
        monotonic: seconds that never go back.
        proxy_of: which proxy a host is reached through.
    """

    def __init__(
        self,
        *,
        threads: int,
        ca_file: Path | None,
        timeout_seconds: float,
        monotonic: Callable[[], float],
        proxy_of: ProxyOf = environment_proxy,
    ) -> None:
        self._session = requests.Session()
        # Otherwise it reads ~/.netrc for each request, and sends what it finds there; nor is the
        # environment's proxy, or its authorities, to come before what is configured.
        self._session.trust_env = False
        # Connections are shared by tenants, so cookies would be too.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.mount("https://", HTTPAdapter(pool_connections=8, pool_maxsize=threads))
        self._verify: str | bool = True if ca_file is None else str(ca_file)
        self._timeout = timeout_seconds
        self._monotonic = monotonic
        self._proxy_of = proxy_of

    def exchange(self) -> Exchange:
        """Return a client for one token request."""
        return Exchange(functools.partial(self._send))

    def get(self, url: str) -> Answer:
        """Ask for a document; a redirect is an answer like any other, and not followed."""
        return self._call("GET", url, data=None, headers={"Accept": "application/json"})

    def close(self) -> None:
        """Close every connection."""
        self._session.close()

    def _send(self, url: str, *, data: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        return self._call("POST", url, data=data, headers=headers)

    def _call(
        self, method: str, url: str, *, data: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> Answer:
        deadline = self._monotonic() + self._timeout
        proxy = self._proxy_of(urlsplit(url).hostname or "")
        with self._session.request(
            method,
            url,
            data=data,
            headers=headers,
            verify=self._verify,
            proxies={} if proxy is None else {"https": proxy},
            timeout=(min(_CONNECT_SECONDS, self._timeout), self._timeout),
            allow_redirects=False,
            stream=True,
        ) as response:
            body = bytearray()
            # Not `iter_content`: that waits until a piece is full, however slowly it trickles.
            while piece := _read(response):
                body += piece
                if len(body) > _ANSWER_BYTES:
                    raise requests.exceptions.ContentDecodingError("the answer is too large")
                if self._monotonic() > deadline:
                    raise requests.exceptions.ReadTimeout("the answer is too slow")
            return Answer(response.status_code, body.decode("utf-8", "replace"), response.headers)

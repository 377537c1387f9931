"""Tokens for SASL OAUTHBEARER by the grant `client_credentials`: Entra ID's, and anybody's.

Not `ingest.identity`'s: that asks as the partner's application for the customers' tenants; this asks once for
our own brokers, at whatever authority guards them. The secret goes to `kafka.sasl.token_url` alone.
"""

import asyncio
import base64
import json
import re
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote_plus
from urllib.request import getproxies, proxy_bypass

import aiohttp
import structlog
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError
from yarl import URL

from ingest.settings.brokers import Sasl
from ingest.sink.secret import Secret
from ingest.telemetry.logs import mask_from_now_on

_TIMEOUT_SECONDS = 10.0
_AGAIN_SECONDS = 3.0
"""So long after a failure nobody asks again: many clients connect, each again and again."""

_USED_SHARE = 0.8
"""Of a token's life; then a new one is asked for, and the old one serves until there is one."""

_UNTOLD_SECONDS = 300.0
"""The life of a token whose endpoint does not tell it."""

_MOST_BYTES = 64 * 1024
_OK, _SERVER_ERROR, _TOO_MANY = 200, 500, 429
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
_CODE = re.compile(r"[a-z_]{1,40}")

_log: structlog.stdlib.BoundLogger = structlog.get_logger("defender_ingest")


class NoToken(KafkaError):  # type: ignore[misc]
    """There is no token; aiokafka waits for what Kafka's client raises, and tries again.

    Args:
        message: why, for people.
        is_refusal: whether it is the endpoint's last word, and no passing trouble.
    """

    def __init__(self, message: str, *, is_refusal: bool = False) -> None:
        super().__init__(message)
        self.is_refusal = is_refusal


class ClientCredentials(AbstractTokenProvider):  # type: ignore[misc]
    """Gives each connection the token in force; one request at a time.

    Args:
        settings: of OAUTHBEARER.
        monotonic: seconds that never go back.
    """

    def __init__(self, settings: Sasl, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._url = URL(settings.token_url or "", encoded=True)
        self._client_id = settings.client_id or ""
        self._scope = settings.scope
        self._in_header = settings.client_authentication == "basic"
        self._ca_file = settings.token_ca_file
        self._secret = Secret(
            key="kafka.sasl.client_secret_file",
            value=settings.client_secret,
            file=settings.client_secret_file,
        )
        self._monotonic = monotonic
        self._asking = asyncio.Lock()
        self._token = ""
        self._renew_at = 0.0
        self._ends_at = 0.0
        self._failure: NoToken | None = None
        self._again_at = 0.0

    @property
    def principal(self) -> str:
        """Whom the brokers take the latest token's bearer for, unless they are told another claim."""
        try:
            payload = self._token.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            return f"User:{claims['sub']}"
        except (LookupError, ValueError, TypeError):
            return f"the principal of client {self._client_id}"

    async def token(self) -> str:
        """Return a token that is in force.

        Raises:
            NoToken: the endpoint gives none; the message says why, without its words.
        """
        async with self._asking:
            now = self._monotonic()
            if now < self._renew_at:
                return self._token
            if now >= self._again_at:
                self._failure = await self._renew()
            if self._failure is None or now < self._ends_at:
                return self._token
            raise self._failure

    async def _renew(self) -> NoToken | None:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                answer = await self._ask()
            token, life = self._token_in(answer)
        except NoToken as error:
            failure = error
        except aiohttp.ClientConnectorCertificateError:
            failure = NoToken(
                f"the certificate of {self._place} is not trusted: check kafka.sasl.token_ca_file"
            )
        except (aiohttp.ClientError, OSError, ValueError, TypeError) as error:
            # Only the kind: words of these may hold headers or parts of the answer.
            failure = NoToken(f"no token from {self._place}: {type(error).__name__}")
        else:
            mask_from_now_on(token)
            now = self._monotonic()
            self._token, self._ends_at = token, now + life
            self._renew_at = now + life * _USED_SHARE
            return None
        self._again_at = self._monotonic() + _AGAIN_SECONDS
        _log.warning("kafka_token_refused", error=str(failure.args[0]))
        return failure

    def _token_in(self, answer: Mapping[str, Any]) -> tuple[str, float]:
        token = answer.get("access_token")
        life = float(answer.get("expires_in") or _UNTOLD_SECONDS)
        # It goes between bytes that mean something: nothing else may be in it.
        if not isinstance(token, str) or not _TOKEN.fullmatch(token) or not life > 0:
            raise NoToken(f"the answer of {self._place} holds no token")
        return token, life

    @property
    def _place(self) -> str:
        return f"the token endpoint at {self._url.host} (kafka.sasl.token_url)"

    async def _ask(self) -> dict[str, Any]:
        form = {"grant_type": "client_credentials"}
        headers = {"Accept": "application/json"}
        if self._scope:
            form["scope"] = self._scope
        if self._in_header:
            # Each is form-encoded first: RFC 6749, 2.3.1.
            pair = f"{quote_plus(self._client_id)}:{quote_plus(self._secret.read())}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": self._client_id, "client_secret": self._secret.read()}
        host = self._url.host or ""
        # Made for each request, of which there is one an hour: authorities can be exchanged too.
        tls = ssl.create_default_context(cafile=self._ca_file)
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.post(
                self._url,
                data=form,
                headers=headers,
                ssl=tls,
                allow_redirects=False,
                proxy=None if proxy_bypass(host) else getproxies().get("https"),
            ) as response,
        ):
            body = bytearray()
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > _MOST_BYTES:
                    raise NoToken(f"the answer of {self._place} is too large")
            if response.status >= _SERVER_ERROR or response.status == _TOO_MANY:
                raise NoToken(f"{self._place} answered {response.status}")
            if response.status != _OK:
                raise NoToken(
                    f"{self._place} refuses client {self._client_id} with {response.status}"
                    f"{_code(bytes(body))}: check client_id, client_secret and scope of kafka.sasl",
                    is_refusal=True,
                )
            answer = json.loads(body)
            return answer if isinstance(answer, dict) else {}


def _code(body: bytes) -> str:
    """Return the standard's word for what is wrong; nothing else of an answer is repeated."""
    try:
        code = str(json.loads(body)["error"])
    except (ValueError, LookupError, TypeError):
        return ""
    return f" {code}" if _CODE.fullmatch(code) else ""

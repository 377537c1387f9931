"""The simulated cloud behind the source's transport, without sockets: for worlds in virtual time."""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import urlencode, urlsplit

from ingest.errors import SourceUnavailable
from ingest.model.tenant import Tenant
from ingest.simulator.cloud import SimulatedCloud
from ingest.simulator.exchange import Pace, Response
from ingest.simulator.token_endpoint import DEFENDER

_PIECE = 64 * 1024


class _Reply:
    def __init__(self, response: Response) -> None:
        self.status = response.status
        self._headers = {name.lower(): value for name, value in response.headers.items()}
        self._body = response.body
        self._pace = response.pace or Pace()

    def header(self, name: str) -> str:
        return self._headers.get(name.lower(), "")

    async def pieces(self) -> AsyncIterator[bytes]:
        pace = self._pace
        end = len(self._body) if pace.cut_after is None else pace.cut_after
        size = pace.piece or _PIECE
        gzipped = self.header("Content-Encoding") == "gzip"
        inflate = zlib.decompressobj(31)
        for at in range(0, end, size):
            await asyncio.sleep(pace.pause)
            piece = self._body[at : min(at + size, end)]
            while piece:
                if gzipped:
                    yield inflate.decompress(piece, _PIECE)
                    piece = inflate.unconsumed_tail
                else:
                    yield piece
                    piece = b""
        if pace.cut_after is not None:
            raise SourceUnavailable("cut", reason="network")


class CloudTransport:
    """Calls the cloud's core; the simulator's delays pass on the loop's own clock."""

    def __init__(self, cloud: SimulatedCloud, *, timeout: float = 120.0) -> None:
        self._cloud = cloud
        self._timeout = timeout
        self.calls = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[_Reply]:
        self.calls += 1
        parts = urlsplit(url)
        await asyncio.sleep(0.05)
        response = self._cloud.handle(
            "GET",
            parts.path,
            parts.query,
            {"host": parts.netloc, **{name.lower(): value for name, value in headers.items()}},
        )
        try:
            async with asyncio.timeout(self._timeout):
                if response.pace is not None:
                    await asyncio.sleep(response.pace.delay)
                    if response.pace.reset:
                        raise SourceUnavailable("reset", reason="network")
                yield _Reply(response)
        except TimeoutError:
            raise SourceUnavailable("too slow", reason="timeout") from None


class CloudTokens:
    """Asks the cloud's core for tokens, as identity would."""

    def __init__(self, cloud: SimulatedCloud) -> None:
        self._cloud = cloud
        self._tokens: dict[str, str] = {}
        self.refreshed = 0

    async def get(self, tenant: Tenant, *, due: float | None = None) -> str:
        if tenant.id not in self._tokens:
            self._tokens[tenant.id] = self._ask(tenant)
        return self._tokens[tenant.id]

    async def refresh(self, tenant: Tenant, rejected: str) -> str:
        self.refreshed += 1
        if self._tokens.get(tenant.id) == rejected:
            del self._tokens[tenant.id]
        return await self.get(tenant)

    def _ask(self, tenant: Tenant) -> str:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._cloud.client_id,
            "client_secret": self._cloud.plan.client_secret,
            "scope": f"{DEFENDER}/.default",
        }
        answer = self._cloud.handle(
            "POST",
            f"/{tenant.id}/oauth2/v2.0/token",
            "",
            {"host": "login.test"},
            urlencode(form).encode(),
        )
        if answer.status != 200:
            raise SourceUnavailable("no token", reason="token")
        token: str = json.loads(answer.body)["access_token"]
        return token

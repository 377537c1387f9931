"""The portal: probes, metrics and status on one listener."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import msgspec
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from ingest.model.credential import CredentialStatus
from ingest.model.status import WELL, FeedStatus, State, described, instant_text
from ingest.pipeline.ports import Clock
from ingest.portal.listener import Listener, Serving
from ingest.settings.models import Listen

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_DEFAULT_TENANTS, _MOST_TENANTS = 1_000, 100_000


class Portal(Serving):
    """The listener of every replica.

    Args:
        settings: where to listen.
        registry: the metrics.
        ready: what keeps the daemon from doing its work, in words; nothing where it does.
        snapshot: how every feed is doing.
        delivery: what is promised, and what the brokers can do.
        credential: how the application's own credential is doing.
        clock: local time.
        log: for the address.
    """

    def __init__(
        self,
        *,
        settings: Listen,
        registry: CollectorRegistry,
        ready: Callable[[], list[str]],
        snapshot: Callable[[], Iterable[FeedStatus]],
        delivery: Callable[[], Mapping[str, str]],
        credential: Callable[[], CredentialStatus],
        clock: Clock,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._registry = registry
        self._ready = ready
        self._snapshot = snapshot
        self._delivery = delivery
        self._credential = credential
        self._clock = clock
        self._log = log
        app = web.Application()
        app.add_routes(
            [
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/status", self._status),
            ]
        )
        listener = Listener(app, host=settings.host, port=settings.port, section="listen")
        super().__init__(listener, thread="portal")

    async def _livez(self, _: web.Request) -> web.Response:
        """Say that the loop turns; nothing else makes a restart useful."""
        return web.Response(text="ok\n", headers=_HEADERS)

    async def _readyz(self, _: web.Request) -> web.Response:
        reasons = self._ready()
        if reasons:
            return web.Response(status=503, text="\n".join(reasons) + "\n", headers=_HEADERS)
        return web.Response(text="ok\n", headers=_HEADERS)

    async def _metrics(self, _: web.Request) -> web.Response:
        body = await self._aside(partial(generate_latest, self._registry))
        return web.Response(body=body, headers={**_HEADERS, "Content-Type": CONTENT_TYPE_LATEST})

    async def _status(self, request: web.Request) -> web.Response:
        wanted = request.query.get("state")
        if wanted is not None and wanted not in map(str, State):
            known = ", ".join(map(str, State))
            raise web.HTTPBadRequest(text=f"state: must be one of {known}\n")
        limit = request.query.get("limit", str(_DEFAULT_TENANTS))
        if not (limit.isascii() and limit.isdigit() and int(limit[:9]) <= _MOST_TENANTS):
            raise web.HTTPBadRequest(text=f"limit: must be a number up to {_MOST_TENANTS}\n")
        body = await self._aside(partial(self._describe, wanted, int(limit)))
        return web.Response(body=body, headers={**_HEADERS, "Content-Type": "application/json"})

    def _describe(self, wanted: str | None, limit: int) -> bytes:
        statuses = list(self._snapshot())
        states = dict.fromkeys(map(str, State), 0)
        for status in statuses:
            states[str(status.state)] += 1
        chosen = [s for s in statuses if wanted is None or s.state == wanted]
        # The unwell first, since a list may be cut.
        chosen.sort(key=lambda status: (status.state in WELL, status.since))
        now = self._clock.unix()
        return msgspec.json.encode(
            {
                "now": instant_text(now),
                **self._delivery(),
                "credential": self._credential().described(now),
                "tenants": len(statuses),
                "states": states,
                "shown": min(limit, len(chosen)),
                "feeds": [described(status) for status in chosen[:limit]],
            }
        )

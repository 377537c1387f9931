"""The status page, and the same as JSON: all tenants, whichever replica reads them."""

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from ingest.model.report import Seen
from ingest.model.showing import document, whole_document
from ingest.model.status import instant_text
from ingest.portal.fleet_view import FleetView, Query
from ingest.portal.listener import Listener, Serving
from ingest.portal.pages import HEADERS
from ingest.portal.status_pages import fleet_page, tenant_page
from ingest.settings.admin import Admin
from ingest.settings.hosts import is_loopback

_JSON_ROWS = 1_000
_READS = ("GET", "HEAD")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class AdminPortal(Serving):
    """The listener of those who run the daemon; nothing is changed by it.

    Args:
        settings: where to listen.
        token: returns what lets people in; without it only names of this machine are answered to.
        view: looks at the tenants.
        consent_url: returns where a tenant's administrator consents.
    """

    def __init__(
        self,
        *,
        settings: Admin,
        token: Callable[[], str] | None,
        view: FleetView,
        consent_url: Callable[[str], str],
    ) -> None:
        self._token = token
        self._view = view
        self._consent_url = consent_url
        app = web.Application(middlewares=[self._guard])
        app.add_routes(
            [
                web.get("/", self._fleet),
                web.get("/tenants/{tenant}", self._tenant),
                web.get("/api/v1/tenants", self._fleet_json),
                web.get("/api/v1/tenants/{tenant}", self._tenant_json),
            ]
        )
        listener = Listener(app, host=settings.host, port=settings.port or 0, section="admin")
        super().__init__(listener, thread="admin")

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in who may see customers; give every answer, errors too, the headers of a page."""
        try:
            self._admit(request)
            return await handler(request)
        except web.HTTPException as error:
            error.headers.update(HEADERS)
            raise

    def _admit(self, request: web.Request) -> None:
        if self._token is None:
            # A page elsewhere may have its own name lead here; it cannot have it be one of ours.
            if not is_loopback(_name(request.host)):
                raise web.HTTPForbidden(
                    text="this listener answers to names of this machine only\n"
                )
        elif not hmac.compare_digest(_given(request.headers), self._token().encode()):
            raise web.HTTPUnauthorized(
                text="the token of admin.token_file is needed: as a password, or as a bearer token\n",
                headers={"WWW-Authenticate": 'Basic realm="defender-ingest", charset="UTF-8"'},
            )
        if request.method not in _READS:
            raise web.HTTPMethodNotAllowed(request.method, _READS)

    async def _fleet(self, request: web.Request) -> web.Response:
        query, registered = _query(request), self._view.registered()

        def made() -> web.Response:
            return fleet_page(self._view.look(query, registered), query, self._view)

        return await self._aside(made)

    async def _tenant(self, request: web.Request) -> web.Response:
        one = self._one(request)
        link = self._consent_url(one.registration.tenant.id)
        return tenant_page(one, consent_url=link, view=self._view, now=self._view.now())

    async def _fleet_json(self, request: web.Request) -> web.Response:
        query, registered = _query(request), self._view.registered()

        def made() -> web.Response:
            view = self._view.look(query, registered, rows=_JSON_ROWS)
            return _json(
                {
                    "now": instant_text(view.now),
                    "is_told": self._view.is_told(),
                    "tenants": view.total,
                    "states": view.states,
                    "late": view.late,
                    "parked": view.parked,
                    "matching": view.matching,
                    "page": min(query.page, view.pages),
                    "pages": view.pages,
                    "shown": [document(one) for one in view.rows],
                }
            )

        return await self._aside(made)

    async def _tenant_json(self, request: web.Request) -> web.Response:
        return _json(whole_document(self._one(request)))

    def _one(self, request: web.Request) -> Seen:
        tenant = request.match_info["tenant"].lower()
        one = self._view.one(tenant, self._view.registered())
        if one is None:
            raise web.HTTPNotFound(text="no such tenant is registered\n")
        return one


def _query(request: web.Request) -> Query:
    try:
        return Query.of(request.query)
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"{error}\n") from None


def _json(content: object) -> web.Response:
    headers = {**HEADERS, "Content-Type": "application/json"}
    return web.Response(body=msgspec.json.encode(content), headers=headers)


def _name(host: str) -> str:
    """Return the name in a `Host` header, without its port; "" where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _given(headers: Mapping[str, str]) -> bytes:
    """Return the token that a request shows; nothing where it shows none."""
    scheme, _, words = headers.get("Authorization", "").partition(" ")
    # Bytes that are no text come as surrogates.
    shown = words.strip().encode(errors="surrogateescape")
    if scheme.lower() == "bearer":
        return shown
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(shown, validate=True).partition(b":")[2]
    except binascii.Error:
        return b""

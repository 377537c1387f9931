"""The consent page: an invitation, the way to Microsoft and back, and a clear word of what came of it."""

import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Self

import structlog
from aiohttp import web

from ingest.identity.consent import admin_consent_url
from ingest.model.instant import format_instant, from_unix
from ingest.model.invitation import Invitation, Visit
from ingest.model.tenant import is_guid
from ingest.pipeline.ports import Clock
from ingest.portal.consent_desk import VISIT_SECONDS, ConsentDesk
from ingest.portal.consent_words import WORDS, Outcome
from ingest.portal.listener import Listener
from ingest.portal.pages import HEADERS, page
from ingest.portal.visitors import Visitors, client_of
from ingest.settings.consent import CALLBACK, INVITATION, Consent
from ingest.settings.models import Entra
from ingest.settings.regions import Region
from ingest.telemetry.metrics import ConsentMetrics

_COOKIE_BYTES = 24
_OURS = re.compile(r"[A-Za-z0-9_-]{32}")
_MOST_BYTES = 8 * 1024
_CODE = re.compile(r"\bAADSTS[0-9]{4,8}\b")
_NOT_ADMINISTRATOR = frozenset(("AADSTS90093", "AADSTS90094", "AADSTS90095"))
_DECLINED = frozenset(("access_denied", "consent_required", "permission_denied"))
_ASK_AGAIN = frozenset((Outcome.NOT_VISIBLE, Outcome.BUSY, Outcome.OURS))
_BEGIN_AGAIN = frozenset(
    (Outcome.NO_ROLE, Outcome.NO_SERVICE, Outcome.BLOCKED, Outcome.OTHER_DIRECTORY)
)
_QUIET = frozenset((Outcome.FORGED, Outcome.NOT_BEGUN, Outcome.NOWHERE, Outcome.TOO_MANY))
"""Whatever roams the internet comes to these; they are counted, and logged only at debug."""


@dataclass(slots=True)
class _Seen:
    """What is known of one request, for its page and its log event."""

    client: str
    reference: str
    invitation: Invitation | None = None
    tenant: str | None = None
    code: str | None = None
    again: str | None = None


_SEEN = web.RequestKey("seen", _Seen)


class ConsentPage:
    """The public listener.

    Args:
        settings: of the page; `url` and `partner` are given.
        entra: whose application it is.
        regions: say what a consent is for.
        desk: knows what a consent comes to.
        clock: local time.
        metrics: count outcomes.
        log: has an event for each.
    """

    def __init__(
        self,
        *,
        settings: Consent,
        entra: Entra,
        regions: Mapping[str, Region],
        desk: ConsentDesk,
        clock: Clock,
        metrics: ConsentMetrics,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._settings = settings
        self._entra = entra
        self._regions = regions
        self._desk = desk
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._url = settings.url or ""
        self._secure = self._url.startswith("https:")
        # What a browser keeps by this name, no other host has set.
        self._cookie = "__Host-consent" if self._secure else "consent"
        self._visitors = Visitors(settings.requests_per_minute)
        app = web.Application(middlewares=[self._guard], client_max_size=_MOST_BYTES)
        app.add_routes(
            [
                web.get("/", self._start),
                web.get(INVITATION + "/{text}", self._start),
                web.post("/begin", self._begin),
                web.get(CALLBACK, self._back, allow_head=False),
            ]
        )
        self._listener = Listener(app, host=settings.host, port=settings.port, section="consent")

    @property
    def listening(self) -> str:
        """Where it listens, while it does."""
        return self._listener.url

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            SettingsError: the address cannot be listened on.
        """
        await self._listener.__aenter__()
        self._log.info("consent_page_opened", listening=self.listening, url=self._url)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening; a consent that is being registered then awaits approval at worst."""
        await self._listener.__aexit__()

    @web.middleware
    async def _guard(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Bound what one client may ask, and give errors a page like all others."""
        forwarded = request.headers.getall("X-Forwarded-For", [])
        client = client_of(request.remote, forwarded, self._settings.networks)
        seen = request[_SEEN] = _Seen(client, secrets.token_hex(4))
        if not self._visitors.may_ask(client, self._clock.monotonic()):
            return self._told(Outcome.TOO_MANY, seen)
        try:
            return await handler(request)
        except web.HTTPException:
            return self._told(Outcome.NOWHERE, seen)
        except Exception:
            # A defect of ours has a page too, and nothing of it is shown.
            self._log.exception("consent_page_failed", reference=seen.reference)
            return self._told(Outcome.OURS, seen)

    async def _start(self, request: web.Request) -> web.StreamResponse:
        """Show who asks, for what; whoever opens the link only to look at it uses nothing up."""
        seen = request[_SEEN]
        text = request.match_info.get("text", "")
        if text:
            seen.invitation, trouble = self._desk.invitation(text)
            if trouble is not None:
                return self._told(trouble, seen)
        invitation = seen.invitation
        until = None
        if invitation is not None:
            until = f"{format_instant(from_unix(invitation.expires))[:16].replace('T', ' ')} UTC"
        return page(
            "consent_start.html",
            # The redirect after the form leads to the login host, and may lead on from there.
            forms_lead_to="https:",
            partner=self._settings.partner,
            contact=self._settings.contact,
            customer=None if invitation is None else invitation.name,
            directory=None if invitation is None else invitation.tenant,
            until=until,
            invitation=text,
            login_host=self._entra.login_url.removeprefix("https://"),
        )

    async def _begin(self, request: web.Request) -> web.StreamResponse:
        """Send the administrator to Microsoft, with a state that only this browser can bring back."""
        seen = request[_SEEN]
        if request.headers.get("Origin", self._url) != self._url:
            return self._told(Outcome.FORGED, seen)
        text = (await request.post()).get("invitation", "")
        if text:
            seen.invitation, trouble = self._desk.invitation(str(text))
            if trouble is not None:
                return self._told(trouble, seen)
        invitation = seen.invitation
        region = self._desk.region(invitation)
        if region is None:
            return self._told(Outcome.OURS, seen)
        # One that is there goes on, so that two tabs do not take the way back from each other.
        cookie = request.cookies.get(self._cookie, "")
        if not _OURS.fullmatch(cookie):
            cookie = secrets.token_urlsafe(_COOKIE_BYTES)
        where = admin_consent_url(
            login_url=self._entra.login_url,
            client_id=self._entra.client_id,
            resource=self._regions[region].resource,
            tenant=None if invitation is None else invitation.tenant,
            redirect_url=f"{self._url}{CALLBACK}",
            state=self._desk.state(cookie, invitation),
        )
        self._note(Outcome.BEGUN, seen)
        answer = web.Response(status=303, headers={**HEADERS, "Location": where})
        answer.set_cookie(
            self._cookie,
            cookie,
            max_age=VISIT_SECONDS,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="Lax",
        )
        return answer

    async def _back(self, request: web.Request) -> web.StreamResponse:
        """Take what Microsoft sent back, believe little of it, and say what came of it."""
        seen = request[_SEEN]
        query = request.query
        cookie = request.cookies.get(self._cookie, "")
        visit, trouble = self._desk.visit(query.get("state", ""), cookie)
        seen.invitation = None if visit is None else visit.invitation
        # Before anything else: an error says admin_consent=True as well.
        if "error" in query:
            seen.again = self._way_back(visit)
            return self._told(_error(query, seen), seen)
        if visit is None:
            seen.again = "/" if trouble is Outcome.NOT_BEGUN else None
            return self._told(trouble, seen)
        tenant = query.get("tenant", "").lower()
        if query.get("admin_consent", "").lower() != "true" or not is_guid(tenant):
            seen.again = self._way_back(visit)
            return self._told(Outcome.ENTRA_ERROR, seen)
        seen.tenant = tenant
        outcome = await self._desk.outcome(tenant, visit.invitation)
        if outcome in _ASK_AGAIN:
            seen.again = request.path_qs
        elif outcome in _BEGIN_AGAIN:
            seen.again = self._way_back(visit)
        return self._told(outcome, seen)

    def _way_back(self, visit: Visit | None) -> str | None:
        """Return where to begin again."""
        if visit is None:
            return None
        if visit.invitation is None:
            return "/"
        return f"{INVITATION}/{self._desk.link_text(visit.invitation)}"

    def _told(self, outcome: Outcome, seen: _Seen) -> web.Response:
        """Return the page of an outcome, and count it."""
        self._note(outcome, seen)
        told = WORDS[outcome]
        answer = page(
            "consent_result.html",
            status=told.status,
            partner=self._settings.partner,
            contact=self._settings.contact,
            told=told,
            again=seen.again,
            directory=seen.tenant,
            code=seen.code,
            reference=seen.reference,
        )
        if outcome in (Outcome.TOO_MANY, Outcome.BUSY):
            answer.headers["Retry-After"] = "60"
        return answer

    def _note(self, outcome: Outcome, seen: _Seen) -> None:
        self._metrics.came_to(str(outcome))
        tell = self._log.debug if outcome in _QUIET else self._log.info
        tell(
            "consent",
            outcome=str(outcome),
            reference=seen.reference,
            client=seen.client,
            tenant=seen.tenant,
            invitation=None if seen.invitation is None else seen.invitation.id,
            tenant_name=None if seen.invitation is None else seen.invitation.name,
            code=seen.code,
        )


def _error(query: Mapping[str, str], seen: _Seen) -> Outcome:
    """Return what an error of the login host means; of its words only a code's digits are kept."""
    found = _CODE.search(query.get("error_description", "")[:200])
    seen.code = None if found is None else found[0]
    if seen.code in _NOT_ADMINISTRATOR:
        return Outcome.NOT_ADMINISTRATOR
    return Outcome.DECLINED if query.get("error") in _DECLINED else Outcome.ENTRA_ERROR

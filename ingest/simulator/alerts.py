"""The simulated `/api/alerts`: who may ask, how often, what is answered, and what goes wrong."""

import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, quote, urlencode

from isal import igzip

from ingest.simulator import clouds
from ingest.simulator.customer import Customer
from ingest.simulator.exchange import Pace, Response, api_error
from ingest.simulator.faults import Fault, FaultBook, Layer
from ingest.simulator.odata import ODataError, Query, read_query
from ingest.simulator.pages import Page, render_page, select
from ingest.simulator.population import Stored
from ingest.simulator.times import TICKS, Timeline, http_date
from ingest.simulator.token_endpoint import AUDIENCES, Grant

PATHS = frozenset({"/api/alerts", "/api/v1.0/alerts"})

_GZIP_FROM_BYTES = 1024
_PIECES = 40
_YEARS_SECONDS = 10 * 365 * 86_400
_ABSURD = ("soon", "-5", "", "1e3", "Thu, 01 Jan 1970 00:00:00 GMT", "3,7", "0x10")


@dataclass(frozen=True, slots=True)
class Asked:
    """One call, once it is known whose it is."""

    customer: Customer
    now: float
    wall: float
    path: str
    query: str
    host: str
    gzip: bool


class AlertApi:
    """Answers `GET /api/alerts` for all tenants.

    Args:
        page_cap: the most records of any page, below `$top`; None for no cap.
        limits: whether the documented limits hold.
        recorded: gives a recorded answer in place of a first page, or None.
    """

    def __init__(
        self,
        *,
        timeline: Timeline,
        rng: random.Random,
        book: FaultBook,
        customer: Callable[[str], Customer | None],
        grant_of: Callable[[str], Grant | None],
        page_cap: int | None,
        limits: bool,
        recorded: Callable[[Customer, float], bytes | None],
    ) -> None:
        self._timeline = timeline
        self._rng = rng
        self._book = book
        self._customer = customer
        self._grant_of = grant_of
        self._page_cap = page_cap
        self._limits = limits
        self._recorded = recorded
        self._bombs: dict[int, bytes] = {}
        self._turn = 0

    def handle(
        self, method: str, path: str, query: str, host: str, headers: Mapping[str, str]
    ) -> Response:
        """Answer one call."""
        now = self._timeline.now()
        scheme, _, token = headers.get("authorization", "").partition(" ")
        grant = self._grant_of(token.strip()) if scheme.lower() == "bearer" else None
        customer = None if grant is None else self._customer(grant.tenant)
        if grant is None or customer is None or not clouds.reads_at(customer, host):
            return _unauthorized("The token is missing, or it is not one of ours.")
        asked = Asked(
            customer=customer,
            now=now,
            wall=self._timeline.wall(now),
            path=path,
            query=query,
            host=host,
            gzip="gzip" in headers.get("accept-encoding", ""),
        )
        customer.calls.add(asked.wall)
        answer = self._refusal(method, asked, grant) or self._answer(asked)
        customer.calls.status[answer.status] += 1
        return answer

    def _refusal(self, method: str, asked: Asked, grant: Grant) -> Response | None:
        """Refuse a call that may not be made, or not now; None where it may."""
        customer = asked.customer
        if grant.expires <= asked.now or grant.generation != customer.tokens_since:
            return _unauthorized("The token has expired, or it was revoked.")
        fits = grant.audience in AUDIENCES and clouds.takes(customer, grant.audience)
        if not fits or "Alert.Read.All" not in grant.roles:
            if not grant.roles:
                customer.outages.failed(asked.wall, asked.wall)
            return api_error(
                403, "Forbidden", "The application does not have any of the required permissions."
            )
        if asked.now < customer.blocked_until:
            customer.calls.early += 1
            return _throttled(str(int(customer.blocked_until - asked.now) + 1))
        wait = customer.quota.admit(asked.now) if self._limits else None
        if wait is not None:
            return _throttled(str(wait))
        if method != "GET":
            return api_error(405, "MethodNotAllowed", "The method is not allowed here.")
        return None

    def _answer(self, asked: Asked) -> Response:
        for fault in asked.customer.afflicted(asked.now, Layer.INSTEAD):
            return self._instead(fault, asked)
        try:
            query = read_query(asked.query)
        except ODataError as error:
            return api_error(400, "BadRequest", str(error))
        return self._page(query, asked)

    def _instead(self, fault: Fault, asked: Asked) -> Response:
        """Answer with a fault that has nothing of a page."""
        self._book.served(fault)
        self._turn += 1
        until = asked.now if fault.until is None else max(asked.now, fault.until)
        match fault.kind:
            case "throttle429":
                answer, wait = self._throttle(fault)
                until = max(until, asked.now + wait)
                asked.customer.blocked_until = asked.now + wait
            case "http_5xx":
                status = int(fault.options["status"]) or (500, 503, 502, 504)[self._turn % 4]
                answer = _unwell(status)
            case "reset":
                answer = Response(200, b"", {}, Pace(reset=True))
            case "gzip_bomb":
                answer = self._bomb(int(fault.options["bytes"]))
            case _:
                answer = Response(
                    200,
                    b"<!DOCTYPE html><html><title>Our services aren't available</title></html>",
                    {"Content-Type": "text/html"},
                )
        asked.customer.outages.failed(asked.wall, self._timeline.wall(until))
        return answer

    def _throttle(self, fault: Fault) -> tuple[Response, float]:
        """Return a 429, and how long it asks to wait, as far as that can be understood."""
        wait = float(fault.options["retry_after"])
        match fault.options["form"]:
            case "http-date":
                # A date has whole seconds: the next one after the wait.
                return _throttled(http_date(int(self._timeline.now() + wait) + 1)), wait
            case "absurd":
                return _throttled(_ABSURD[self._turn % len(_ABSURD)]), 0.0
            case "years":
                return _throttled(str(_YEARS_SECONDS)), float(_YEARS_SECONDS)
            case _:
                return _throttled(str(max(1, round(wait)))), wait

    def _bomb(self, size: int) -> Response:
        if size not in self._bombs:
            self._bombs[size] = igzip.compress(b'{"value":[' + b" " * size + b"]}", 1)
        return Response(
            200,
            self._bombs[size],
            {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        )

    def _page(self, query: Query, asked: Asked) -> Response:
        """Answer a query that was understood."""
        customer, now = asked.customer, asked.now
        wire = list(customer.afflicted(now, Layer.WIRE))
        recorded = self._recorded(customer, now) if query.skip == 0 else None
        if recorded is not None:
            return self._sent(recorded, wire, asked, served=())
        customer.population.advance(now)
        page = select(customer.population, query)
        page = self._shaped(page, query, asked)
        if self._page_cap is not None and len(page.records) > self._page_cap:
            page = page.cut(self._page_cap)
        link = page.link
        if link is None and page.more and customer.links:
            link = _next_link(asked, query.skip + len(page.records))
        body = render_page(
            page.raws(expand=query.expand),
            link,
            link_first=customer.links_first,
            deep=next((int(f.options["depth"]) for f in wire if f.kind == "deep_nesting"), 0),
        )
        return self._sent(body, wire, asked, served=page.records)

    def _shaped(self, page: Page, query: Query, asked: Asked) -> Page:
        """Let faults of the page show; one is served only where it makes a difference."""
        customer, now = asked.customer, asked.now
        for fault in list(customer.afflicted(now, Layer.PAGE)):
            before = page
            match fault.kind:
                case "order_descending":
                    page = page.ordered(key=lambda item: -item.updated)
                case "order_random":
                    page = page.ordered(key=lambda _: self._rng.random())
                case "order_ignored":
                    page = page.ordered(key=lambda item: item.story.bits())
                case "shuffle":
                    self._turn += 1
                    page = page.shuffled(self._turn)
                case "endless_pages":
                    since = query.since if query.since is not None else 0
                    until = query.until if query.until is not None else int((now + 1) * TICKS)
                    if query.rest is None and since < now * TICKS:
                        count = min(int(fault.options["records"]), query.top)
                        page = page.joined(
                            [
                                customer.population.bear_within(now, since, until)
                                for _ in range(count)
                            ]
                        )
                case _:
                    cap = int(fault.options["cap"])
                    if len(page.records) > cap:
                        page = page.cut(cap)
                        page = replace(page, link=self._wrong_link(fault.kind, asked, query, cap))
            if page is not before:
                self._book.served(fault)
        return page

    def _wrong_link(self, kind: str, asked: Asked, query: Query, cap: int) -> str | None:
        match kind:
            case "looping_next_link":
                return f"https://{asked.host}{asked.path}?{asked.query}"
            case "foreign_next_link":
                return f"https://graph.evil.example/api/alerts?$skiptoken={uuid.uuid4()}"
            case "no_next_link":
                return ""
            case _:
                return _next_link(asked, query.skip + cap)

    def _sent(
        self,
        body: bytes,
        wire: Sequence[Fault],
        asked: Asked,
        served: Sequence[Stored],
    ) -> Response:
        """Put an answer on the wire, with what goes wrong there."""
        headers = {"Content-Type": "application/json; odata.metadata=minimal; charset=utf-8"}
        outages = asked.customer.outages
        kinds = {fault.kind for fault in wire}
        for fault in wire:
            self._book.served(fault)
        pace, took = _pace(wire, len(body))
        if wire:
            outages.failed(asked.wall, asked.wall + took)
        if not kinds & {"cut", "deep_nesting"}:
            outages.succeeded()
        if "cut" not in kinds:
            for item in served:
                self._book.met(item)
        if asked.gzip and len(body) >= _GZIP_FROM_BYTES and pace is None:
            body = igzip.compress(body, 1)
            headers["Content-Encoding"] = "gzip"
        return Response(200, body, headers, pace)


def _pace(wire: Sequence[Fault], size: int) -> tuple[Pace | None, float]:
    """Return how an answer of so many bytes is to be sent, and how long that takes."""
    pace: Pace | None = None
    took = 0.0
    for fault in wire:
        match fault.kind:
            case "slow":
                took = float(fault.options["delay"])
                pace = replace(pace or Pace(), delay=took)
            case "trickle":
                took = float(fault.options["over"])
                piece = max(1, size // _PIECES)
                pace = replace(pace or Pace(), piece=piece, pause=took / (_PIECES + 1))
            case "cut":
                pace = replace(pace or Pace(), cut_after=size // 2)
            case _:
                pass
    return pace, took


def _unauthorized(message: str) -> Response:
    answer = api_error(401, "Unauthorized", message)
    answer.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
    return answer


def _throttled(retry_after: str) -> Response:
    return api_error(
        429,
        "TooManyRequests",
        "The quota of calls for this tenant has been exceeded. Please try again later.",
        {"Retry-After": retry_after},
    )


def _unwell(status: int) -> Response:
    if status in (502, 504):
        return Response(
            status, b"<html><body><h1>Bad gateway</h1></body></html>", {"Content-Type": "text/html"}
        )
    return api_error(status, "InternalServerError", "Something went wrong. Please try again.")


def _next_link(asked: Asked, skip: int) -> str:
    options = [
        pair for pair in parse_qsl(asked.query, keep_blank_values=True) if pair[0] != "$skip"
    ]
    text = urlencode([*options, ("$skip", str(skip))], quote_via=quote, safe="$:")
    return f"https://{asked.host}{asked.path}?{text}"

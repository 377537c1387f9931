"""The pages of the fleet and of one tenant, in words for people."""

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ingest.model.report import Seen
from ingest.model.showing import SHOWN_STATES, age, tone
from ingest.model.status import State, instant_text
from ingest.portal.fleet_view import ACTORS, LATE, FleetView, Query, View
from ingest.portal.pages import page

_STYLE = "status.css"
_REASON = 180
"""Letters of a reason that the table shows; a tenant's own page has all of it."""

_ACTORS = {
    "us": "us",
    "customer": "the customer's administrator",
    "microsoft": "Microsoft",
    "nobody": "nobody",
}
_COLUMNS = (
    ("name", "Tenant"),
    ("state", "State"),
    ("since", "Since"),
    ("fresh", "Last read"),
    ("act", "Must act"),
)
_CONSENT_CODES = ("not_consented", "consent_revoked", "no_permission", "forbidden")


@dataclass(frozen=True, slots=True)
class _Row:
    """A tenant in words."""

    id: str
    name: str
    state: str
    tone: str
    code: str
    reason: str
    act: str
    since: str
    since_age: str
    fresh: str
    fresh_age: str
    is_late: bool


def fleet_page(view: View, query: Query, fleet: FleetView) -> web.Response:
    """Return the page of all tenants."""
    columns = [
        {
            "name": words,
            "link": query.link(sort=name, down=query.sort == name and not query.down),
            "sorted": ("descending" if query.down else "ascending") if query.sort == name else "",
        }
        for name, words in _COLUMNS
    ]
    shown = min(query.page, view.pages)
    return page(
        "fleet.html",
        more_style=_STYLE,
        view=view,
        is_told=fleet.is_told(),
        query=query,
        now=_minute(view.now),
        rows=[_row(one, view.now, fleet) for one in view.rows],
        columns=columns,
        glance=_glance(view),
        parked=[
            {"code": code or "?", "count": count, "link": Query(state="parked", code=code).link()}
            for code, count in view.parked.items()
        ],
        states=SHOWN_STATES,
        actors={actor: _ACTORS[actor] for actor in ACTORS},
        late=LATE,
        page=shown,
        before=query.link(page=shown - 1) if shown > 1 else "",
        after=query.link(page=shown + 1) if shown < view.pages else "",
        everything=Query().link(),
    )


def tenant_page(one: Seen, *, consent_url: str, view: FleetView, now: float) -> web.Response:
    """Return the page of one tenant."""
    report, registration = one.report, one.registration
    tenant = registration.tenant
    facts: list[tuple[str, str]] = [
        ("Tenant id", tenant.id),
        ("Region", tenant.region),
        ("Labels", ", ".join(f"{name}={value}" for name, value in tenant.labels)),
        ("Registered", f"{registration.standing} by {registration.by}, {_minute(registration.at)}"),
        ("Why", registration.why),
    ]
    if report is not None:
        left = report.calls_left
        facts += [
            ("Last read to the end", _with_age(report.fresh_at, now)),
            ("Last reconciled", _with_age(report.instant("reconciled_at"), now)),
            ("In Kafka up to", _with_age(report.watermark, now)),
            ("Nothing new since", _with_age(report.instant("silent_since"), now)),
            ("Next attempt", _minute(report.instant("next_attempt"))),
            ("Calls left at once", "" if left is None else str(left)),
            ("Alerts remembered", str(report.document.get("remembered", ""))),
            ("Read by", f"{report.replica}, which said so until {_minute(report.fresh_until)}"),
        ]
    transitions = () if report is None else report.transitions
    polls = () if report is None else report.polls
    return page(
        "tenant.html",
        more_style=_STYLE,
        row=_row(one, now, view, reason=None),
        now=_minute(now),
        facts=[fact for fact in facts if fact[1]],
        link=consent_url if one.code in _CONSENT_CODES else "",
        transitions=[
            {
                "at": _second(entered.at),
                "state": entered.state,
                "tone": tone(entered.state),
                "code": entered.code,
                "act": _ACTORS.get(entered.must_act, entered.must_act),
            }
            for entered in reversed(transitions)
        ],
        polls=[{"poll": poll, "at": _second(poll.at)} for poll in reversed(polls)],
    )


def _glance(view: View) -> list[dict[str, Any]]:
    """Return the counts at the top, each with who is behind it."""
    states = view.states
    healthy = states.get(State.HEALTHY, 0)
    cards = [
        {"name": "tenants", "count": view.total, "tone": "", "link": Query().link()},
        {"name": "healthy", "count": healthy, "tone": "good", "link": Query("", "healthy").link()},
        {
            "name": "late",
            "count": view.late,
            "tone": "bad" if view.late else "soft",
            "link": Query("", LATE).link(),
        },
        {
            "name": "parked",
            "count": states.get(State.PARKED, 0),
            "tone": "bad" if states.get(State.PARKED) else "soft",
            "link": Query("", "parked").link(),
        },
    ]
    others = [name for name in states if name not in (State.HEALTHY, State.PARKED)]
    return cards + [
        {
            "name": name,
            "count": states[name],
            "tone": tone(name),
            "link": Query("", name).link(),
        }
        for name in others
    ]


def _row(one: Seen, now: float, fleet: FleetView, reason: int | None = _REASON) -> _Row:
    words = one.reason
    if reason is not None and len(words) > reason:
        words = words[:reason] + "…"
    return _Row(
        id=one.registration.tenant.id,
        name=one.registration.tenant.name,
        state=one.state,
        tone=tone(one.state),
        code=one.code if one.code != one.state else "",
        reason=words,
        act=_ACTORS.get(one.must_act, one.must_act),
        since=_minute(one.since),
        since_age="" if one.since is None else age(now - one.since),
        fresh=_minute(one.fresh_at),
        fresh_age="never" if one.fresh_at is None else age(now - one.fresh_at),
        is_late=fleet.is_late(one, now),
    )


def _with_age(unix: float | None, now: float) -> str:
    return "" if unix is None else f"{_second(unix)} ({age(now - unix)} ago)"


def _minute(unix: float | None) -> str:
    text = instant_text(unix)
    return "" if text is None else f"{text[:10]} {text[11:16]}Z"


def _second(unix: float) -> str:
    text = instant_text(unix) or ""
    return f"{text[:10]} {text[11:19]}Z"

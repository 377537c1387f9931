"""Tenants as people and programs are shown them: in which order, how many of what, and as a document."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from ingest.model.report import (
    AWAITING_APPROVAL,
    PENDING,
    REMOVED,
    UNREAD,
    UNREADABLE,
    Seen,
)
from ingest.model.status import State, instant_text

_ORDER = (
    UNREADABLE,
    State.PARKED,
    UNREAD,
    State.FAILING,
    AWAITING_APPROVAL,
    State.THROTTLED,
    PENDING,
    State.STARTING,
    State.CATCHING_UP,
    State.QUIET,
    State.HEALTHY,
    State.PAUSED,
    REMOVED,
)
SHOWN_STATES = tuple(map(str, _ORDER))
"""Every state that a tenant can be shown in, the unwell first."""

_SAID = (
    *("reconciled_at", "next_attempt", "remembered", "silent_since", "looked_at"),
    *("calls_left", "transitions", "polls"),
)
"""Members of a status that only a whole document has."""

_RANK = {state: rank for rank, state in enumerate(SHOWN_STATES)}
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"))


_BY_TONE: dict[str, tuple[str, ...]] = {
    "bad": (UNREADABLE, State.PARKED, UNREAD, State.FAILING),
    "wait": (AWAITING_APPROVAL, State.THROTTLED, PENDING, State.STARTING, State.CATCHING_UP),
    "good": (State.HEALTHY, State.QUIET),
    "soft": (State.PAUSED, REMOVED),
}
_TONES = {str(state): tone for tone, states in _BY_TONE.items() for state in states}


def tone(state: str) -> str:
    """Return whether a state is good, bad, one to wait in, or soft: none of these."""
    return _TONES.get(state, "soft")


def rank(state: str) -> int:
    """Return how far behind the most unwell a state comes."""
    return _RANK.get(state, 0)


def by_rank(states: Iterable[str]) -> list[str]:
    """Return states, the unwell first."""
    return sorted(states, key=rank)


def age(seconds: float) -> str:
    """Return a span in its two largest digits of one unit, such as `95s` or `3h`."""
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{int(seconds / size)}{unit}"
    return f"{max(0, int(seconds))}s"


def counted(tenants: Iterable[Seen]) -> dict[str, int]:
    """Return how many tenants are in each state that anybody is in, the unwell first."""
    states = Counter(one.state for one in tenants)
    return {state: states[state] for state in by_rank(states)}


def document(one: Seen) -> dict[str, Any]:
    """Return a tenant in JSON's terms."""
    registration, report = one.registration, one.report
    return {
        "tenant": registration.tenant.id,
        "name": registration.tenant.name,
        "region": registration.tenant.region,
        "labels": dict(registration.tenant.labels),
        "standing": str(registration.standing),
        "origin": str(registration.origin),
        "by": registration.by,
        "at": instant_text(registration.at),
        "why": registration.why,
        "state": one.state,
        "code": one.code,
        "reason": one.reason,
        "must_act": one.must_act,
        "since": instant_text(one.since),
        "fresh_at": instant_text(one.fresh_at),
        "fresh_until": None if report is None else instant_text(report.fresh_until),
        "watermark": None if report is None else instant_text(report.watermark),
        "replica": None if report is None else report.replica,
    }


def whole_document(one: Seen) -> dict[str, Any]:
    """Return the same with all that its owner last said of it."""
    report = one.report
    said = {} if report is None else report.document
    return {**document(one), **{name: said.get(name) for name in _SAID}}

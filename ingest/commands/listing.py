"""`tenants list`: every tenant and how it is doing, as a table or as JSON lines, the unwell first."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ingest.commands.table import table
from ingest.model.report import (
    AWAITING_APPROVAL,
    PENDING,
    REMOVED,
    UNREAD,
    UNREADABLE,
    Seen,
    seen,
)
from ingest.model.roster import Registration
from ingest.model.status import State, instant_text
from ingest.sink.statuses import Status

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
_RANK = {str(state): rank for rank, state in enumerate(_ORDER)}
_HEADER = (
    "NAME",
    "TENANT",
    "REGION",
    "STANDING",
    "STATE",
    "SINCE",
    "FRESH",
    "MUST ACT",
    "REASON",
)
_SPARE = tuple(map(_HEADER.index, ("STANDING", "TENANT", "REGION", "SINCE")))
"""On a narrow terminal: state says as much as standing, and a name means a tenant as well as its GUID."""

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"))


class Listing:
    """All tenants at one moment; those whose registration cannot be read too.

    Args:
        roster: the registrations.
        unreadable: tenants whose registration cannot be read, with why.
        statuses: what was last said of each.
        now: Unix seconds.
        state: show only those in it; None shows all that are not removed.
    """

    def __init__(
        self,
        *,
        roster: Mapping[str, Registration],
        unreadable: Mapping[str, str],
        statuses: Mapping[str, Status],
        now: float,
        state: str | None,
    ) -> None:
        everybody = [seen(one, statuses.get(tenant), now) for tenant, one in roster.items()]
        self._now = now
        self._state = state
        self._hidden = 0 if state else sum(one.state == REMOVED for one in everybody)
        self._shown = sorted(
            (
                one
                for one in everybody
                if one.state == state or (not state and one.state != REMOVED)
            ),
            key=lambda one: (_RANK.get(one.state, 0), one.registration.tenant.name.casefold()),
        )
        self._damaged = sorted(unreadable.items()) if state in (None, UNREADABLE) else []

    def as_json(self) -> Iterator[str]:
        """Yield one JSON object for each tenant."""
        for tenant, why in self._damaged:
            document = {"tenant": tenant, "name": None, "state": UNREADABLE}
            document |= {"reason": why, "must_act": "us"}
            yield json.dumps(document, ensure_ascii=False)
        for one in self._shown:
            yield json.dumps(_document(one), ensure_ascii=False)

    def as_table(self, width: int | None) -> Iterator[str]:
        """Yield the lines of a table, and one that counts."""
        rows: list[tuple[str, ...]] = [
            ("?", tenant, "", UNREADABLE, UNREADABLE, "", "", "us", why)
            for tenant, why in self._damaged
        ]
        rows += [self._row(one) for one in self._shown]
        if rows:
            yield from table(_HEADER, rows, width, spare=_SPARE)
        yield self._count()

    def _row(self, one: Seen) -> tuple[str, ...]:
        tenant = one.registration.tenant
        return (
            tenant.name,
            tenant.id,
            tenant.region,
            str(one.registration.standing),
            one.state,
            _minute(one.since),
            "" if one.fresh_at is None else _age(self._now - one.fresh_at),
            one.must_act,
            one.reason,
        )

    def _count(self) -> str:
        states = Counter(one.state for one in self._shown)
        states[UNREADABLE] += len(self._damaged)
        parts = [f"{states[name]} {name}" for name in _by_rank(states) if states[name]]
        total = sum(states.values())
        words = f"{total} tenant{'' if total == 1 else 's'}"
        if self._state:
            return f"{words} {self._state}"
        words += f": {', '.join(parts)}" if parts else ""
        return words + (f"; {self._hidden} removed (--state removed)" if self._hidden else "")


def _by_rank(states: Iterable[str]) -> list[str]:
    return sorted(states, key=lambda state: _RANK.get(state, 0))


def _document(one: Seen) -> dict[str, Any]:
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


def _minute(unix: float | None) -> str:
    text = instant_text(unix)
    return "" if text is None else f"{text[:10]} {text[11:16]}Z"


def _age(seconds: float) -> str:
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{int(seconds / size)}{unit}"
    return f"{max(0, int(seconds))}s"

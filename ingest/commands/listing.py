"""`tenants list`: every tenant and how it is doing, as a table or as JSON lines, the unwell first."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping

from ingest.commands.paint import PLAIN, TONES, Paint
from ingest.commands.table import table
from ingest.model.report import REMOVED, UNREADABLE, Seen, seen
from ingest.model.roster import Registration
from ingest.model.showing import age, by_rank, document, rank, tone
from ingest.model.status import instant_text
from ingest.sink.statuses import Status

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
_STATE = _HEADER.index("STATE")
_SPARE = tuple(map(_HEADER.index, ("STANDING", "TENANT", "REGION", "SINCE")))
"""On a narrow terminal: state says as much as standing, and a name means a tenant as well as its GUID."""


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
            key=lambda one: (rank(one.state), one.registration.tenant.name.casefold()),
        )
        self._damaged = sorted(unreadable.items()) if state in (None, UNREADABLE) else []

    def as_json(self) -> Iterator[str]:
        """Yield one JSON object for each tenant."""
        for tenant, why in self._damaged:
            damaged = {"tenant": tenant, "name": None, "state": UNREADABLE}
            damaged |= {"reason": why, "must_act": "us"}
            yield json.dumps(damaged, ensure_ascii=False)
        for one in self._shown:
            yield json.dumps(document(one), ensure_ascii=False)

    def as_table(self, width: int | None, paint: Paint = PLAIN) -> Iterator[str]:
        """Yield the lines of a table, each in its state's colour, and one that counts."""
        rows: list[tuple[str, ...]] = [
            ("?", tenant, "", UNREADABLE, UNREADABLE, "", "", "us", why)
            for tenant, why in self._damaged
        ]
        rows += [self._row(one) for one in self._shown]
        if rows:
            header, *lines = table(_HEADER, rows, width, spare=_SPARE)
            yield paint.in_colour(header, "bold")
            for row, line in zip(rows, lines, strict=True):
                # A healthy one needs no colour: it is the others that are looked for.
                is_well = tone(row[_STATE]) == "good"
                yield line if is_well else paint.in_colour(line, TONES[tone(row[_STATE])])
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
            "" if one.fresh_at is None else age(self._now - one.fresh_at),
            one.must_act,
            one.reason,
        )

    def _count(self) -> str:
        states = Counter(one.state for one in self._shown)
        states[UNREADABLE] += len(self._damaged)
        parts = [f"{states[name]} {name}" for name in by_rank(states) if states[name]]
        total = sum(states.values())
        words = f"{total} tenant{'' if total == 1 else 's'}"
        if self._state:
            return f"{words} {self._state}"
        words += f": {', '.join(parts)}" if parts else ""
        return words + (f"; {self._hidden} removed (--state removed)" if self._hidden else "")


def _minute(unix: float | None) -> str:
    text = instant_text(unix)
    return "" if text is None else f"{text[:10]} {text[11:16]}Z"

"""Pages of `/api/alerts`: which records a query finds, in which order, and their bytes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ingest.simulator.odata import Query
from ingest.simulator.population import Population, Stored

_CONTEXT = b'"@odata.context":"https://api.securitycenter.microsoft.com/api/$metadata#Alerts"'


@dataclass(frozen=True, slots=True)
class Page:
    """The records of one page; `more` says that the query found more after them.

    `link` is the `nextLink` that a fault gives, "" for none at all, None for an honest one.
    `turn` is above 0 where evidence is shuffled.
    """

    records: tuple[Stored, ...]
    more: bool
    link: str | None = None
    turn: int = 0

    def cut(self, cap: int) -> "Page":
        """Return the page without what is beyond the cap."""
        return replace(self, records=self.records[:cap], more=True)

    def ordered(self, key: Callable[[Stored], Any]) -> "Page":
        """Return the page in another order; itself where there is nothing to order."""
        if len(self.records) < 2:  # noqa: PLR2004 - one record has one order
            return self
        return replace(self, records=tuple(sorted(self.records, key=key)))

    def shuffled(self, turn: int) -> "Page":
        """Return the page with evidence in other orders; itself where no record has any."""
        if not any(item.can_shuffle for item in self.records):
            return self
        return replace(self, turn=turn)

    def joined(self, more: Sequence[Stored]) -> "Page":
        """Return the page with records added."""
        return replace(self, records=(*self.records, *more))

    def raws(self, *, expand: bool) -> list[bytes]:
        """Return the records' bytes."""
        if self.turn and expand:
            return [item.shuffled(self.turn) for item in self.records]
        if expand:
            return [item.raw for item in self.records]
        return [item.bytes_for(expand=False) for item in self.records]


def select(population: Population, query: Query) -> Page:
    """Return the page that a query asks for; without an order, the newest change comes first."""
    low, high = population.between(query.since, query.until)
    name, descending = query.order or ("lastUpdateTime", True)
    if query.rest is None and name == "lastUpdateTime":
        found = high - low
        if descending:
            end = max(low, high - query.skip)
            records = population.slice(max(low, end - query.top), end)[::-1]
        else:
            start = min(high, low + query.skip)
            records = population.slice(start, min(high, start + query.top))
        return Page(tuple(records), more=query.skip + len(records) < found)
    matching = [
        item
        for item in reversed(population.slice(low, high))
        if query.rest is None or query.rest.holds(item.field)
    ]
    if query.order is not None:
        matching.sort(key=lambda item: _sortable(item.field(name)), reverse=descending)
    records = matching[query.skip : query.skip + query.top]
    return Page(tuple(records), more=query.skip + len(records) < len(matching))


def _sortable(value: Any) -> tuple[int, Any]:
    """Return a key that orders absent, numeric and textual values among each other."""
    return (0, 0) if value is None else (2, value) if isinstance(value, str) else (1, value)


def render_page(raws: Sequence[bytes], link: str | None, *, link_first: bool, deep: int) -> bytes:
    """Return the JSON of a page; every record is in it byte for byte.

    Args:
        raws: the records.
        link: the `@odata.nextLink`, where there is one.
        link_first: whether it comes before the records.
        deep: how many arrays deep an unknown property goes, 0 for no such property.
    """
    named_link = b'"@odata.nextLink":"' + link.encode() + b'"' if link else b""
    parts = [b"{", _CONTEXT]
    if deep:
        parts += [b',"nest":', b"[" * deep, b"]" * deep]
    if link and link_first:
        parts += [b",", named_link]
    # Space around records is legal, and no part of a record.
    parts += [b',"value": [\n', b" ,\r\n".join(raws) if link_first else b",".join(raws), b"\t]"]
    if link and not link_first:
        parts += [b",\n ", named_link]
    parts.append(b"}")
    return b"".join(parts)

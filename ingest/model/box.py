"""Boxes of a window, the questions asked about them, and where to cut one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ingest.model.instant import TICKS, parse_instant

GRAIN = TICKS
"""Cuts are made at whole seconds: a server may truncate a filter's literals."""

FINE_GRAINS = (TICKS // 1000, 1)
"""Finer cuts are the last resort, where `$skip` does not reach the rest of a second either."""

_LAST = parse_instant("9999-12-31T23:59:59Z")
"""No cut lies beyond the last second that can be written."""

Axis = Literal["updated", "created"]

Seen = tuple[int | None, int | None, int]
"""Of one record: `lastUpdateTime` and `alertCreationTime` in ticks where known, and its digest."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of `lastUpdateTime` and `alertCreationTime`, in ticks; ends are exclusive."""

    updated_from: int
    updated_to: int | None = None
    created_from: int | None = None
    created_to: int | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to the API: everything in `box`, or a probe beyond what it returned.

    `link` is a `nextLink` to follow instead of building a query; `alert` asks for one alert, by its id;
    `unfiltered` for any at all.
    """

    box: Box
    top: int
    skip: int = 0
    link: str | None = None
    alert: str | None = None
    unfiltered: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sweep needs to know of a page.

    `linked` says that it offered a `nextLink`, also one that must not be followed.
    """

    records: Sequence[Seen]
    next_link: str | None
    server_time: int
    linked: bool = False


def floor(ticks: int, grain: int = GRAIN) -> int:
    """Return the last edge at or before an instant."""
    return ticks // grain * grain


def ceiling(ticks: int, grain: int = GRAIN) -> int:
    """Return the first edge at or after an instant."""
    return -(-ticks // grain) * grain


def cut_around(box: Box, records: Sequence[Seen], grain: int) -> list[Box]:
    """Cut a box in two or three around the median of its records; empty if it is one grain wide."""
    updated = [record[0] for record in records if record[0] is not None]
    edges = _edges(updated, box.updated_from, box.updated_to, grain)
    if edges:
        return cut_at(box, edges, axis="updated")
    created = [record[1] for record in records if record[1] is not None]
    edges = _edges(created, box.created_from, box.created_to, grain)
    return cut_at(box, edges, axis="created") if edges else []


def cut_blindly(box: Box, now: int) -> list[Box]:
    """Cut a box whose records nobody has seen, at `now` or in the middle; empty if too narrow."""
    upper = box.updated_to
    if upper is None:
        edge = ceiling(now)
        return cut_at(box, [edge], axis="updated") if box.updated_from < edge <= _LAST else []
    middle = floor((box.updated_from + upper) // 2)
    return cut_at(box, [middle], axis="updated") if box.updated_from < middle < upper else []


def cut_at(box: Box, edges: Sequence[int], *, axis: Axis) -> list[Box]:
    """Cut a box at inner edges of one axis; the parts come oldest first."""
    lower, upper = f"{axis}_from", f"{axis}_to"
    starts = [getattr(box, lower), *edges]
    ends = [*edges, getattr(box, upper)]
    return [
        replace(box, **{lower: start, upper: end}) for start, end in zip(starts, ends, strict=True)
    ]


def _edges(times: list[int], lower: int | None, upper: int | None, grain: int) -> list[int]:
    """Return one or two inner edges on whole grains beside the median of the times inside."""
    within = sorted(
        t for t in times if (lower is None or t >= lower) and (upper is None or t < upper)
    )
    if not within:
        return []
    median = floor(within[len(within) // 2], grain)
    # On both sides of the median's grain: a tie becomes a box of its own.
    return [
        edge
        for edge in (median, median + grain)
        if (lower is None or lower < edge) and (upper is None or edge < upper) and edge <= _LAST
    ]

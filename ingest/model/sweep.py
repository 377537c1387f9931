"""One complete reading of a window: the cut algorithm, as a value that asks and is answered."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of `lastUpdateTime` and `alertCreationTime`, in ticks; upper edges are exclusive."""

    updated_from: int
    updated_to: int | None = None
    created_from: int | None = None
    created_to: int | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to the API: everything in `box`, or a probe beyond what it returned.

    `link` is a `nextLink` to follow instead of building a query.
    """

    box: Box
    top: int
    skip: int = 0
    link: str | None = None

"""What is remembered of published alerts, and the decision that follows from it.

The decision is pure: remembered entry, alert → reason. It never publishes a version twice, never an
older one after a newer, and never guesses about what lies below the horizon.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from ingest.model.alert import Alert, Malformed

PRINTS_PER_TIME = 8
"""Contents published for one alert at one `lastUpdateTime`; beyond it the alert is flapping."""

Canonical = Callable[[Alert], int]
"""A 64-bit hash of an alert's content: the same whatever the order of its lists."""


class Reason(StrEnum):
    """Why an alert is published, or not."""

    NEW = "new"
    CHANGED = "changed"
    SILENT = "changed-silently"
    DUPLICATE = "duplicate"
    FLAPPING = "flapping"
    STALE = "stale"
    BEYOND = "beyond"


class Kind(StrEnum):
    """What happened to an alert, as consumers read it."""

    CREATED = "created"
    UPDATED = "updated"
    RESOLVED = "resolved"
    REOPENED = "reopened"


class Entry(msgspec.Struct, frozen=True, gc=False):
    """The newest published version of one alert.

    `digest` is of its raw bytes, a cheap first comparison; `prints` are the canonical hashes of all
    contents published at `updated`. All hashes are unsigned numbers of 64 bits.
    """

    updated: int
    digest: int
    prints: tuple[int, ...]
    resolved: bool


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """An alert that is to be published, and what its consumers are told about it."""

    alert: Alert
    reason: Reason
    kind: Kind
    late: bool
    future: bool


@dataclass(frozen=True, slots=True)
class SetAside:
    """A record for the quarantine topic."""

    record: Alert | Malformed
    reason: str


@dataclass(slots=True)
class Judgement:
    """What was decided on some records; `entries` and `set_aside` are to be remembered.

    `received == published + duplicates + stale + quarantined` always (law 5).
    """

    received: int = 0
    published: list[Verdict] = field(default_factory=list)
    quarantined: list[SetAside] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    set_aside: dict[int, int] = field(default_factory=dict)
    reasons: dict[Reason, int] = field(default_factory=lambda: dict.fromkeys(Reason, 0))
    late: int = 0
    future: int = 0

    @property
    def duplicates(self) -> int:
        """Records that are in Kafka already, or flap between contents that are."""
        return self.reasons[Reason.DUPLICATE] + self.reasons[Reason.FLAPPING]

    @property
    def stale(self) -> int:
        """Records older than what was published, or than what memory reaches."""
        return self.reasons[Reason.STALE] + self.reasons[Reason.BEYOND]

    @property
    def changes(self) -> bool:
        """Whether anything has to be committed."""
        return bool(self.entries or self.set_aside)


def compare(entry: Entry, alert: Alert, canonical: Canonical) -> tuple[Reason, Entry | None]:
    """Decide on an alert that is remembered.

    Returns:
        The reason, and what to remember from now on where the alert is to be published.
    """
    if alert.updated < entry.updated:
        return Reason.STALE, None
    if alert.updated > entry.updated:
        return Reason.CHANGED, remember(alert, canonical)
    if alert.digest == entry.digest:
        return Reason.DUPLICATE, None
    content = canonical(alert)
    if content in entry.prints:
        return Reason.DUPLICATE, None
    if len(entry.prints) >= PRINTS_PER_TIME:
        return Reason.FLAPPING, None
    prints = (*entry.prints, content)
    return Reason.SILENT, Entry(alert.updated, alert.digest, prints, alert.resolved)


def remember(alert: Alert, canonical: Canonical) -> Entry:
    """Return the entry of an alert that is published for the first time at its time."""
    return Entry(alert.updated, alert.digest, (canonical(alert),), alert.resolved)


def kind_of(alert: Alert, entry: Entry | None, horizon: int) -> Kind:
    """Return what happened to the alert since `entry`, or since before memory reaches."""
    was_resolved = entry is not None and entry.resolved
    if entry is None and alert.created >= horizon:
        return Kind.CREATED
    if alert.resolved and not was_resolved:
        return Kind.RESOLVED
    if was_resolved and not alert.resolved:
        return Kind.REOPENED
    return Kind.UPDATED

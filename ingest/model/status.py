"""How a feed is doing: a state, its reason in plain words, since when, and who must act (law 7)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ingest.errors import Blame
from ingest.model.instant import format_instant, from_unix
from ingest.model.tenant import FeedKey


class State(StrEnum):
    """The states of a feed; every tenant is in exactly one."""

    STARTING = "starting"
    HEALTHY = "healthy"
    CATCHING_UP = "catching-up"
    THROTTLED = "throttled"
    FAILING = "failing"
    PARKED = "parked"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """What is known of one feed; all times are Unix seconds.

    `fresh_at` is the start of the last complete reading (None before the first): its age is the
    freshness. `watermark` is the time up to which everything is in Kafka; a quiet customer's is old
    and well.
    """

    feed: FeedKey
    name: str
    state: State
    code: str
    reason: str
    blame: Blame
    since: float
    next_attempt: float | None = None
    fresh_at: float | None = None
    reconciled_at: float | None = None
    watermark: float | None = None
    remembered: int = 0


def described(status: FeedStatus) -> dict[str, Any]:
    """Return a status as its readers get it, in JSON's terms."""
    return {
        "tenant": status.feed.tenant,
        "feed": str(status.feed.feed),
        "name": status.name,
        "state": str(status.state),
        "code": status.code,
        "reason": status.reason,
        "must_act": str(status.blame.value),
        "since": instant_text(status.since),
        "fresh_at": instant_text(status.fresh_at),
        "reconciled_at": instant_text(status.reconciled_at),
        "watermark": instant_text(status.watermark),
        "next_attempt": instant_text(status.next_attempt),
        "remembered": status.remembered,
    }


def instant_text(unix: float | None) -> str | None:
    """Return Unix seconds as a timestamp, None for None."""
    return None if unix is None else format_instant(from_unix(unix))

"""How a feed is doing: a state, its reason in plain words, since when, and who must act (law 7)."""

from dataclasses import dataclass
from enum import StrEnum

from ingest.errors import Blame
from ingest.model.tenant import FeedKey


class State(StrEnum):
    """The states of a feed; every tenant is in exactly one."""

    STARTING = "starting"
    HEALTHY = "healthy"
    CATCHING_UP = "catching-up"
    THROTTLED = "throttled"
    FAILING = "failing"
    PARKED = "parked"


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

"""How a feed is doing: a state, its reason in plain words, since when, and who must act (law 7)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import msgspec
from msgspec.structs import replace

from ingest.errors import Blame
from ingest.model.instant import format_instant, from_unix
from ingest.model.tenant import FeedKey

KEPT_TRANSITIONS, KEPT_POLLS = 20, 5
"""How many of each are told with a status, the newest last."""


class State(StrEnum):
    """The states of a feed; every tenant is in exactly one."""

    STARTING = "starting"
    HEALTHY = "healthy"
    QUIET = "quiet"
    CATCHING_UP = "catching-up"
    THROTTLED = "throttled"
    FAILING = "failing"
    PARKED = "parked"
    PAUSED = "paused"


WELL = (State.HEALTHY, State.QUIET)
"""States in which the last reading went to the end and nothing is to be done."""


@dataclass(frozen=True, slots=True)
class Transition:
    """A state that was entered, at Unix seconds."""

    at: float
    state: str
    code: str
    must_act: str


@dataclass(frozen=True, slots=True)
class Poll:
    """One reading that ended: `at` is its start in Unix seconds, `outcome` is `whole` or what went wrong."""

    at: float
    tier: str
    outcome: str
    seconds: float
    received: int
    published: int
    calls: int


class FeedStatus(msgspec.Struct, frozen=True):
    """What is known of one feed; all times are Unix seconds.

    `fresh_at` is the start of the last complete reading (None before the first): its age is the
    freshness. `watermark` is the time up to which everything is in Kafka; a quiet customer's is old
    and well. No reading has found anything new since `silent_since`; at `looked_at` any alert at all was
    asked for. `calls_left` can be made at once. `transitions` and `polls` are the last ones, oldest first.

    A reading changes it several times, and a fleet reads all day: of a struct a changed copy costs a
    fortieth of a frozen dataclass's.
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
    silent_since: float | None = None
    looked_at: float | None = None
    calls_left: int | None = None
    transitions: tuple[Transition, ...] = ()
    polls: tuple[Poll, ...] = ()

    def but(self, **changes: Any) -> Self:
        """Return it with some of its fields changed."""
        return replace(self, **changes)


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
        "silent_since": instant_text(status.silent_since),
        "looked_at": instant_text(status.looked_at),
        "calls_left": status.calls_left,
    }


def told(status: FeedStatus) -> dict[str, Any]:
    """Return a status with its last transitions and readings, in JSON's terms."""
    return {
        **described(status),
        "transitions": [
            {
                "at": instant_text(one.at),
                "state": one.state,
                "code": one.code,
                "must_act": one.must_act,
            }
            for one in status.transitions
        ],
        # Written out: `asdict` copies, and this is done for every tenant each minute.
        "polls": [
            {
                "at": instant_text(one.at),
                "tier": one.tier,
                "outcome": one.outcome,
                "seconds": one.seconds,
                "received": one.received,
                "published": one.published,
                "calls": one.calls,
            }
            for one in status.polls
        ],
    }


def instant_text(unix: float | None) -> str | None:
    """Return Unix seconds as a timestamp, None for None."""
    return None if unix is None else format_instant(from_unix(unix))

"""How far back a feed is read: two tiers of readings, and the reach of memory behind them."""

from dataclasses import dataclass
from enum import StrEnum

from ingest.model.instant import TICKS

SLACK = 60 * TICKS
"""Memory reaches this much further back than any reading may ask."""

SKEW = 300 * TICKS
"""A time this much beyond the API's own clock is from the future."""


class Tier(StrEnum):
    """The fast reading finds what is new; the slow one reconciles what became visible late."""

    FAST = "fast"
    SLOW = "slow"


@dataclass(frozen=True, slots=True)
class Reach:
    """The operator's look-backs in ticks, and the most alerts remembered for one feed."""

    overlap: int
    look_back: int
    first: int
    remembered: int = 500_000

    def start(self, tier: Tier, *, fast: int, slow: int) -> int:
        """Return where a reading of `tier` starts, were memory without end."""
        return fast - self.overlap if tier is Tier.FAST else slow - self.look_back

    def horizon(self, *, fast: int, slow: int) -> int:
        """Return the lowest instant that memory must still reach."""
        starts = (self.start(tier, fast=fast, slow=slow) for tier in Tier)
        return min(starts) - SLACK

"""A tenant's budget of API calls: two leaky buckets that start empty, or nearly so.

Law 6: calls per minute and per hour stay under the API's limits, over restarts too. A bucket of
capacity `c` that refills by `r` a second lets through at most `c + r * span` calls in any span; it
starts empty, so a restart can only lose calls, never win any.

Empty, the first call would come seconds late after each take-over. So a take-over may grant a few, out of
a bucket that is handed on from owner to owner: with those of long owners 248 in any hour at most and 13 in
any minute, both within the fifth of the API's limits that is never spent otherwise.
"""

from dataclasses import dataclass, field

_BURST_SHARE = 0.25
"""The part of each limit that may be spent at once; the rest is the refill over the span."""

_GRANTED_PER_MINUTE, _GRANTED_PER_HOUR = 1 / 25, 1 / 400
"""The share of each limit that a budget may start with, whatever was granted."""

_GRANTS, _GRANTS_PER_SECOND, _GRANT = 8.0, 3 / 60, 2.0
"""What all take-overs of a shard together may grant each tenant: a bucket of its own, and what one may."""


def grant(left: float, elapsed: float) -> tuple[float, float]:
    """Return the calls that a take-over may grant each tenant, and what is left for the next one.

    Args:
        left: what the one before left.
        elapsed: seconds since then, by two clocks that may differ.
    """
    level = min(_GRANTS, max(0.0, left) + max(0.0, elapsed) * _GRANTS_PER_SECOND)
    # Whole calls: a part of one would be lost with its owner.
    granted = float(min(_GRANT, level) // 1)
    return granted, level - granted


FIRST_GRANTS = _GRANTS
"""What is left for the first take-over ever."""

FULL_GRANT = _GRANT
"""The most that one take-over may grant."""

HELD_SECONDS = 120.0
"""An owner for so long may grant a tenant that is new to it what a take-over may: a call a minute more."""


@dataclass(slots=True)
class _Bucket:
    capacity: float
    refill: float
    level: float
    at: float

    def level_at(self, now: float) -> float:
        return min(self.capacity, self.level + max(0.0, now - self.at) * self.refill)


@dataclass(slots=True)
class Budget:
    """The calls that one tenant may make; `now` is monotonic seconds throughout."""

    per_minute: int
    per_hour: int
    started: float
    granted: float = 0.0
    _buckets: tuple[_Bucket, _Bucket] = field(init=False)
    _not_before: float = field(init=False)
    _grant: float = field(init=False)

    def __post_init__(self) -> None:
        self._not_before = self.started
        shares = (self.per_minute * _GRANTED_PER_MINUTE, self.per_hour * _GRANTED_PER_HOUR)
        self._grant = min(self.granted, *shares)
        self._buckets = (
            self._bucket(self.per_minute, 60.0),
            self._bucket(self.per_hour, 3600.0),
        )

    def _bucket(self, limit: int, span: float) -> _Bucket:
        capacity = max(1.0, limit * _BURST_SHARE)
        # A limit of one leaves no refill beside its burst: one call, and then one span of silence.
        return _Bucket(capacity, (limit - capacity or 1.0) / span, self._grant, self.started)

    def delay(self, now: float) -> float:
        """Return the seconds until one call may be made; 0 means at once."""
        waits = [self._not_before - now]
        for bucket in self._buckets:
            missing = 1.0 - bucket.level_at(now)
            waits.append(missing / bucket.refill if bucket.refill > 0 else missing * 3600.0)
        return max(0.0, *waits)

    def spend(self, now: float) -> None:
        """Take one call out of the budget; call it just before the request is sent."""
        for bucket in self._buckets:
            bucket.level = bucket.level_at(now) - 1.0
            bucket.at = now

    def pause(self, until: float) -> None:
        """Make no call before `until` (a `Retry-After`); never shortens an earlier pause."""
        self._not_before = max(self._not_before, until)

    def renewed(self, now: float, *, granted: float) -> "Budget":
        """Return a budget that knows nothing of what others spent meanwhile, but still keeps a pause."""
        anew = Budget(self.per_minute, self.per_hour, now, granted)
        anew.pause(self._not_before)
        return anew

    def left(self, now: float) -> int:
        """Return how many calls could be made at once."""
        if now < self._not_before:
            return 0
        return max(0, int(min(bucket.level_at(now) for bucket in self._buckets)))

"""A tenant's budget of API calls: two leaky buckets that start empty, or nearly so.

Law 6: calls per minute and per hour stay under the API's limits, over restarts too. A bucket of
capacity `c` that refills by `r` a second lets through at most `c + r * span` calls in any span; it
starts empty, so a restart can only lose calls, never win any.
"""

from dataclasses import dataclass, field

_BURST_SHARE = 0.25
"""The part of each limit that may be spent at once; the rest is the refill over the span."""

_GRANT = 3.0
_GRANT_PER_MINUTE, _GRANT_PER_HOUR = 1 / 25, 1 / 400
"""What a rested budget may start with: a few calls, and no more than a share of each limit. Granted once
in any minute at most, they stay within the fifth of the API's limits that is never spent otherwise."""


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
    rested: bool = False
    _buckets: tuple[_Bucket, _Bucket] = field(init=False)
    _not_before: float = field(init=False)
    _grant: float = field(init=False)

    def __post_init__(self) -> None:
        self._not_before = self.started
        self._grant = 0.0
        if self.rested:
            shares = (self.per_minute * _GRANT_PER_MINUTE, self.per_hour * _GRANT_PER_HOUR)
            self._grant = min(_GRANT, *shares)
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

    def renewed(self, now: float, *, rested: bool) -> "Budget":
        """Return a budget that knows nothing of what others spent meanwhile, but still keeps a pause."""
        anew = Budget(self.per_minute, self.per_hour, now, rested)
        anew.pause(self._not_before)
        return anew

    def left(self, now: float) -> int:
        """Return how many calls could be made at once."""
        if now < self._not_before:
            return 0
        return max(0, int(min(bucket.level_at(now) for bucket in self._buckets)))

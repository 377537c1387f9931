"""Calls counted over sliding windows: the API's limits, and what the record says of calls."""

import math
from collections import Counter, deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class Sliding:
    """How many things happened in any span of so many seconds."""

    seconds: float
    most: int = 0
    times: deque[float] = field(default_factory=deque)

    def add(self, now: float) -> None:
        """Count one thing."""
        self.times.append(now)
        self.most = max(self.most, self.count(now))

    def count(self, now: float) -> int:
        """Return how many happened in the span that ends now."""
        while self.times and self.times[0] <= now - self.seconds:
            self.times.popleft()
        return len(self.times)

    def wait(self, now: float, limit: int) -> float:
        """Return the seconds until one more fits under the limit, 0 where it fits now."""
        excess = self.count(now) - limit + 1
        return self.times[excess - 1] + self.seconds - now if excess > 0 else 0.0


@dataclass(slots=True)
class Quota:
    """The documented limits of one tenant: 100 calls a minute and 1,500 an hour."""

    per_minute: int = 100
    per_hour: int = 1500
    _minute: Sliding = field(default_factory=lambda: Sliding(60.0))
    _hour: Sliding = field(default_factory=lambda: Sliding(3600.0))

    def admit(self, now: float) -> int | None:
        """Let one call through, or return after how many whole seconds to come again."""
        wait = max(self._minute.wait(now, self.per_minute), self._hour.wait(now, self.per_hour))
        if wait > 0:
            return math.ceil(wait)
        self._minute.add(now)
        self._hour.add(now)
        return None


@dataclass(slots=True)
class CallMeter:
    """Every call of one tenant, answered or not, by the clock of the record."""

    total: int = 0
    early: int = 0
    tokens: int = 0
    status: Counter[int] = field(default_factory=Counter)
    _minute: Sliding = field(default_factory=lambda: Sliding(60.0))
    _hour: Sliding = field(default_factory=lambda: Sliding(3600.0))

    def add(self, now: float) -> None:
        """Count one call to the API."""
        self.total += 1
        self._minute.add(now)
        self._hour.add(now)

    def times(self) -> list[float]:
        """Return when the calls of the last hour were made."""
        return list(self._hour.times)

    def summary(self) -> dict[str, object]:
        """Return the counts; `early` are calls made before a `Retry-After` had passed."""
        return {
            "total": self.total,
            "max_60s": self._minute.most,
            "max_3600s": self._hour.most,
            "status": {str(code): count for code, count in sorted(self.status.items())},
            "early": self.early,
            "tokens": self.tokens,
        }

"""A tenant that answers and has nothing: is it quiet, or do our readings miss what is there?

Readings ask by time. Where they find nothing for a day, any alert at all is asked for, once a day, by no
time: one that a reading had to find, and did not, says that the readings fail.
"""

from dataclasses import dataclass
from enum import StrEnum

from ingest.model.instant import format_instant, from_unix

_LOOK_SECONDS = 86_400.0
_MISSES = 2
"""So many looks in a row must find what is missed: an alert may have become visible a moment ago."""


class Found(StrEnum):
    """What asking for any alert at all gave."""

    NOTHING = "the API has none"
    KNOWN = "one that is known, or older than memory reaches"
    MISSED = "one that readings should have found"


@dataclass(frozen=True, slots=True)
class Glance:
    """What was found, and the time of that alert in Unix seconds, where it has one."""

    found: Found
    updated: float | None = None


class Silence:
    """Since when no reading has found anything new; all times are Unix seconds.

    Args:
        since: from when on silence counts.
        after: seconds after which it is unusual.
    """

    def __init__(self, *, since: float, after: float) -> None:
        self.since = since
        self.looked_at: float | None = None
        self._after = after
        self._is_empty = False
        self._misses = 0
        self._missed: float | None = None

    def resume(self, since: float | None, looked_at: float | None) -> None:
        """Go on from what a former owner said."""
        if since is not None:
            self.since, self.looked_at = since, looked_at

    def broken(self, now: float) -> None:
        """Take note of a reading that found something new."""
        self.since, self.looked_at, self._is_empty, self._misses = now, None, False, 0

    def is_look_due(self, now: float) -> bool:
        """Tell whether it is time to ask for any alert; to be asked after a look-back that found none."""
        if self.looked_at is None or self._misses:
            return True
        return now - self.looked_at >= _LOOK_SECONDS

    def looked(self, glance: Glance, now: float) -> None:
        """Take note of what was found."""
        self.looked_at = now
        self._is_empty = glance.found is Found.NOTHING
        if glance.found is Found.MISSED:
            self._misses += 1
            self._missed = glance.updated
            return
        self._misses = 0
        if glance.updated is not None:
            self.since = min(glance.updated, now)

    def missed(self) -> str | None:
        """Return, in words, what readings miss; None where nothing is known to be missed."""
        if self._misses < _MISSES:
            return None
        when = "" if self._missed is None else f" of {_day(self._missed)}"
        return (
            f"the alert API has an alert{when} that it does not return when it is asked by time: "
            "open a case with Microsoft, and say that $filter on lastUpdateTime returns nothing"
        )

    def quiet(self, now: float) -> str | None:
        """Return, in words, that silence is unusual; None where it is not, or nobody has looked."""
        if self.looked_at is None or now - self.since <= self._after:
            return None
        if self._is_empty:
            return (
                f"the API answers, and has no alert at all of this tenant; nothing since {_day(self.since)}. "
                "If that is unexpected, its administrator should see that its devices are onboarded to "
                "Defender for Endpoint"
            )
        return (
            f"the API answers, and has had nothing new since {_day(self.since)}. If that is unexpected, the "
            "tenant's administrator should see that its devices still report to Defender for Endpoint"
        )


def _day(unix: float) -> str:
    return format_instant(from_unix(unix))[:10]

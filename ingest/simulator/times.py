"""The simulator's own time: ticks of 100 ns since 1970, and a clock that can be shifted."""

import calendar
import re
import time
from collections.abc import Callable
from email.utils import formatdate

TICKS = 10_000_000
"""Ticks in a second."""

FAR_FUTURE = "9999-12-31T23:59:59.9999999Z"
"""The time of alerts that are dated in the year 9999."""

_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,7}))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)


def read_instant(text: str) -> int:
    """Return the ticks of a timestamp with 0 to 7 digits of fraction and a zone.

    Raises:
        ValueError: it is not one.
    """
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise ValueError("not a timestamp")
    whole, fraction, sign, hours, minutes = match.groups()
    seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))
    if sign:
        shift = int(hours) * 3600 + int(minutes) * 60
        seconds += -shift if sign == "+" else shift
    return seconds * TICKS + int((fraction or "").ljust(7, "0"))


def write_instant(ticks: int, digits: int) -> str:
    """Return the timestamp of `ticks`, cut (not rounded) to `digits` of fraction."""
    seconds, rest = divmod(ticks, TICKS)
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{rest:07d}"[: len(whole) + 1 + digits] + "Z" if digits else whole + "Z"


def ticks_of(unix: float) -> int:
    """Return the ticks of Unix seconds."""
    return int(unix * TICKS)


def http_date(unix: float) -> str:
    """Return an RFC 9110 date."""
    return formatdate(unix, usegmt=True)


class Timeline:
    """Simulated time: the clock plus an offset, and the way back to the clock.

    What the simulated cloud says and decides is in simulated time. What its record says is the
    clock's own time, since the record is compared with what others saw by that clock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._offset = 0.0
        self._shifted = float("-inf")

    def now(self) -> float:
        """Return the simulated time in Unix seconds."""
        return self._clock() + self._offset

    def wall(self, simulated: float) -> float:
        """Return when, by the clock, the simulated instant came to be.

        An instant that a shift jumped over came to be at the shift.
        """
        return max(simulated - self._offset, self._shifted)

    def shift(self, offset: float) -> None:
        """Set the offset in seconds; everything due before it must have happened already."""
        self._shifted = self._clock()
        self._offset = offset

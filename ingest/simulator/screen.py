"""What the demo shows: alerts scrolling by, and a line every two seconds that sums up."""

import json
import statistics
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ingest.simulator.audit import Observed, Where

_LINES_AT_ONCE = 5
_TITLE_WIDTH = 60
_METRIC = "defender_ingest_"


@dataclass(frozen=True, slots=True)
class Gauges:
    """What the daemon says of itself."""

    healthy: int
    tenants: int
    duplicates: int
    oldest_reading: float

    @classmethod
    def ask(cls, url: str) -> "Gauges | None":
        """Read them from `/metrics`; None while it does not answer."""
        try:
            with urllib.request.urlopen(f"{url}/metrics", timeout=2) as answer:  # noqa: S310 - ours
                values = _samples(answer.read().decode())
        except (OSError, ValueError):
            return None
        states = {k: v for k, v in values.items() if k.startswith(f"{_METRIC}tenants{{")}
        return cls(
            healthy=int(states.get(f'{_METRIC}tenants{{state="healthy"}}', 0)),
            tenants=int(sum(states.values())),
            duplicates=int(values.get(f"{_METRIC}alerts_duplicates_total", 0)),
            oldest_reading=values.get(f"{_METRIC}freshness_max_seconds", 0.0),
        )


def _samples(text: str) -> dict[str, float]:
    pairs = (line.rpartition(" ") for line in text.splitlines() if line and line[0] != "#")
    return {name: float(value) for name, _, value in pairs}


class Screen:
    """Prints what a reader of the topics gets, a few lines of it where it is much.

    Args:
        names: the tenants' names by id.
        since: Unix seconds; how long older alerts took says nothing about this run.
        say: prints one line.
    """

    def __init__(
        self, *, names: Mapping[str, str], since: float, say: Callable[[str], None]
    ) -> None:
        self._names = names
        self._since = since
        self._say = say
        self._count = 0
        self._total = 0
        self._delays: list[float] = []
        self._summed_at = time.monotonic()

    def show(self, records: Sequence[Observed]) -> None:
        """Take what was read just now."""
        for shown, record in enumerate(records):
            headers = {name: value.decode(errors="replace") for name, value in record.headers}
            if record.where is Where.ALERTS:
                self._count += 1
                self._note_delay(record, headers)
            if shown < _LINES_AT_ONCE:
                self._say(self._line(record, headers))
        if len(records) > _LINES_AT_ONCE:
            self._say(f"          ... and {len(records) - _LINES_AT_ONCE} more")

    def summary(self, gauges: Gauges | None, *, behind: int) -> str:
        """Return the line that sums up what happened since the last one."""
        now = time.monotonic()
        rate = self._count / max(now - self._summed_at, 0.001)
        self._total += self._count
        self._count, self._summed_at = 0, now
        delays, self._delays = self._delays, []
        lag = f"{statistics.median(delays):.1f} s" if delays else "-"
        daemon = "the daemon does not answer"
        if gauges is not None:
            daemon = (
                f"{gauges.healthy}/{gauges.tenants} tenants healthy, "
                f"{gauges.duplicates:,} duplicates suppressed, "
                f"oldest reading {gauges.oldest_reading:.0f} s"
            )
        return (
            f"--------- {daemon}, {rate:.0f} alerts/s, {self._total:,} in Kafka, "
            f"lag {lag}, {behind} unread"
        )

    def _note_delay(self, record: Observed, headers: Mapping[str, str]) -> None:
        if "ce_late" in headers or "ce_future" in headers:
            return
        try:
            updated = datetime.fromisoformat(headers["ce_time"]).timestamp()
        except (KeyError, ValueError):
            return
        if updated > self._since:
            self._delays.append(record.timestamp - updated)

    def _line(self, record: Observed, headers: Mapping[str, str]) -> str:
        tenant = record.key.partition(b"/")[0].decode(errors="replace")
        clock = time.strftime("%H:%M:%S", time.localtime(record.timestamp))
        name = self._names.get(tenant, tenant)
        if record.where is Where.QUARANTINE:
            part = f"part {headers.get('ce_part', '?')} of {headers.get('ce_parts', '?')}"
            words = f"{len(record.value):,} bytes, {part}: {headers.get('ce_reason', '?')}"
            return _plain(f"{clock}  {name:<24} quarantine             {words}")
        severity, title = "?", "?"
        try:
            content = json.loads(record.value)
            severity, title = str(content.get("severity")), str(content.get("title"))
        except (ValueError, AttributeError):
            pass
        kind = headers.get("ce_type", "?").removeprefix("defender.alert.").removesuffix(".v1")
        return _plain(f"{clock}  {name:<24} {severity:<13} {kind:<8} {title[:_TITLE_WIDTH]}")


def _plain(text: str) -> str:
    # An alert's title is somebody else's text: nothing of it may steer the terminal.
    return "".join(letter if letter.isprintable() else "?" for letter in text)

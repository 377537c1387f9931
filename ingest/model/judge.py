"""The decision on a page of records: what is published, what is set aside, what is known already."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ingest.model.alert import Alert, Malformed
from ingest.model.ledger import Ledger
from ingest.model.memory import (
    Canonical,
    Judgement,
    Reason,
    SetAside,
    Verdict,
    compare,
    kind_of,
    remember,
)
from ingest.model.window import SKEW

_BEFORE_ALL_TIME = -(1 << 62)


@dataclass(slots=True, kw_only=True)
class Judge:
    """Decides on records one after another, oldest change first; changes only its judgement.

    `passed` is where the fast reading starts: a record published below it was found late.
    `refresh_before` is the time before which a quarantined record that is still shown is remembered
    anew. `room` and `future_room` are how many more alerts may be remembered, all and from the future.
    """

    ledger: Ledger
    horizon: int
    now: int
    passed: int
    refresh_before: int
    room: int
    future_room: int
    canonical: Canonical
    rejected: Mapping[int, str]
    judgement: Judgement

    def decide(self, records: Iterable[Alert | Malformed]) -> Judgement:
        """Decide on all of them; versions of one alert are published oldest first (law 3)."""
        asides = bool(self.rejected) or self.ledger.has_asides
        judgement = self.judgement
        for record in sorted(records, key=_time):
            judgement.received += 1
            if isinstance(record, Malformed):
                self._malformed(record)
            elif asides and self._is_aside(record, record.digest):
                pass
            elif record.digest in self.rejected:
                self._rejected(record)
            else:
                self._alert(record)
        return judgement

    def _alert(self, alert: Alert) -> None:
        judgement = self.judgement
        known = judgement.entries.get(alert.id)
        if known is None:
            if self.ledger.holds(alert.id, alert.updated, alert.digest):
                judgement.reasons[Reason.DUPLICATE] += 1
                return
            known = self.ledger.entry(alert.id)
        if known is not None:
            reason, entry = compare(known, alert, self.canonical)
        elif alert.updated < self.horizon or self.room <= 0:
            # It cannot be told from one that was published and forgotten, or will not be next time.
            reason, entry = Reason.BEYOND, None
        else:
            reason, entry = Reason.NEW, remember(alert, self.canonical)
        future = alert.updated > self.now + SKEW
        if entry is not None and future:
            self.future_room -= 1
            if self.future_room < 0:
                reason, entry = Reason.BEYOND, None
        judgement.reasons[reason] += 1
        if entry is None:
            return
        self.room -= known is None
        late = alert.updated < self.passed
        judgement.late += late
        judgement.future += future
        judgement.entries[alert.id] = entry
        kind = kind_of(alert, known, self.horizon)
        judgement.published.append(Verdict(alert, reason, kind, late, future))

    def _malformed(self, record: Malformed) -> None:
        if not self._is_aside(record, record.digest):
            self._set_aside(record, record.reason, (record.digest,))

    def _rejected(self, alert: Alert) -> None:
        """Set an alert aside once for its content: its lists may come in another order each time."""
        content = self.canonical(alert)
        if not self._is_aside(alert, content):
            self._set_aside(alert, self.rejected[alert.digest], (alert.digest, content))

    def _is_aside(self, record: Alert | Malformed, digest: int) -> bool:
        """Tell whether this was set aside before; it is remembered as long as it is shown."""
        seen = self.judgement.set_aside.get(digest)
        if seen is None:
            seen = self.ledger.aside(digest)
        if seen is None:
            return False
        self.judgement.reasons[Reason.DUPLICATE] += 1
        if seen < self.refresh_before and seen != record.updated:
            self.judgement.set_aside[digest] = self._time_aside(record)
        return True

    def _set_aside(self, record: Alert | Malformed, reason: str, digests: tuple[int, ...]) -> None:
        time = self._time_aside(record)
        if time < self.horizon or self.room <= 0:
            self.judgement.reasons[Reason.BEYOND] += 1
            return
        self.room -= 1
        self.judgement.quarantined.append(SetAside(record, reason))
        for digest in digests:
            self.judgement.set_aside[digest] = time

    def _time_aside(self, record: Alert | Malformed) -> int:
        """Return the time of a record in the ledger: its own, as long as that will ever pass."""
        own = record.updated
        return own if own is not None and own <= self.now + SKEW else self.now


def _time(record: Alert | Malformed) -> int:
    return _BEFORE_ALL_TIME if record.updated is None else record.updated

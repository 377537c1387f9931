"""One tenant's alerts: born and changed over simulated time, from a seed."""

import heapq
import json
import random
import re
from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import Any

from ingest.simulator.content import STEPS, Story, compose, malformed
from ingest.simulator.record import Entry, Record
from ingest.simulator.times import (
    FAR_FUTURE,
    TICKS,
    Timeline,
    read_instant,
    ticks_of,
    write_instant,
)

_BACKLOG_SECONDS = 6 * 3600
"""How far back the alerts go that are there at the start."""

_BACKLOG_CHANGES_WITHIN_SECONDS = 60.0

_SILENT_REACH_SECONDS = 150.0
"""Content changes without its time only so long after it: within any sane overlap."""

_BACKLOG_CHANGES = 0.2
_TIES = 0.06
_NATURALLY_LATE = 0.1
_STEPPED = 0.5
_SILENT = 0.15
_CHANGES = 0.6
"""Chances: that an old alert changes, several share a time, one appears late, a time is stepped, a
change leaves the time as it was, and there is a next change."""

_MOST_DIGITS = 7
_MOST_STEPS = 12
_HUGE_BYTES = 1_200_000
_TIME_VALUE = re.compile(rb'("lastUpdateTime"\s*:\s*")[^"]*(")')


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How a tenant's alerts come and go."""

    births_per_minute: float
    version_seconds: float
    backlog: int


@dataclass(slots=True, eq=False)
class Stored:
    """One alert, or one record that is none, as the API would return it now."""

    story: Story
    number: int
    updated: int
    text: str
    raw: bytes
    entry: Entry
    order: int
    fixed: bool = False
    fault: str | None = None
    _fields: dict[str, Any] | None = None

    def bytes_for(self, *, expand: bool) -> bytes:
        """Return the record as served, with its evidence or without."""
        if expand or self.fixed:
            return self.raw
        bare = compose(self.story, self.text, expand=False)
        self.entry.seen_as(bare)
        return bare

    def shuffled(self, turn: int) -> bytes:
        """Return the same content with its evidence in another order."""
        if not self.can_shuffle:
            return self.raw
        raw = compose(self.story, self.text, expand=True, evidence_order=turn)
        self.entry.seen_as(raw)
        return raw

    @property
    def can_shuffle(self) -> bool:
        """Whether there is evidence that could stand in another order."""
        return not (self.fixed or self.story.padding) and self.raw.count(b'"entityType"') > 1

    def field(self, name: str) -> Any:
        """Return a property for a filter: ticks for times, None where there is none."""
        if name == "lastUpdateTime":
            return self.updated
        if name == "alertCreationTime":
            return self.story.created
        if self._fields is None:
            content = json.loads(self.raw)
            self._fields = content if isinstance(content, dict) else {}
        value = self._fields.get(name)
        if name == "lastEventTime" and isinstance(value, str):
            return read_instant(value)
        return value


class Population:
    """The alerts of one tenant.

    Nothing happens by itself: `advance` lets everything happen that is due, each at its own instant,
    so what a query sees does not depend on how often others asked.
    """

    def __init__(
        self, *, tenant: str, seed: str, rhythm: Rhythm, timeline: Timeline, record: Record
    ) -> None:
        self._tenant = tenant
        self._rng = random.Random(seed)
        self._rhythm = rhythm
        self._timeline = timeline
        self._record = record
        self._keys: list[tuple[int, int]] = []
        self._stored: dict[tuple[int, int], Stored] = {}
        self._by_id: dict[str, Stored] = {}
        self._events: list[tuple[float, int, Stored | None]] = []
        self._serial = 0
        self._born = 0
        self._frozen = False
        self.revision = 0

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def oldest(self) -> int | None:
        """The lowest `lastUpdateTime` in ticks."""
        return self._keys[0][0] if self._keys else None

    def settle(self, now: float) -> None:
        """Make the alerts that are there at the start, and let time begin."""
        for at in sorted(
            now - 60 - self._rng.random() * _BACKLOG_SECONDS for _ in range(self._rhythm.backlog)
        ):
            stored = self._bear(at, visible=now)
            if self._chance(_BACKLOG_CHANGES):
                self._plan_change(
                    stored, now + self._rng.random() * _BACKLOG_CHANGES_WITHIN_SECONDS
                )
        self._plan_birth(now)

    def advance(self, now: float) -> None:
        """Let everything happen that is due."""
        while self._events and self._events[0][0] <= now:
            at, _, stored = heapq.heappop(self._events)
            if stored is None:
                self._births(at)
                self._plan_birth(at)
            else:
                self._change(stored, at)

    def freeze(self) -> None:
        """Let nothing happen any more."""
        self._events.clear()
        self._frozen = True

    def between(self, since: int | None, until: int | None) -> tuple[int, int]:
        """Return the positions, oldest first, of the records in a window of `lastUpdateTime`."""
        low = 0 if since is None else bisect_left(self._keys, (since, -1))
        high = len(self._keys) if until is None else bisect_left(self._keys, (until, -1))
        return low, max(low, high)

    def slice(self, low: int, high: int) -> list[Stored]:
        """Return the records at these positions, oldest first."""
        return [self._stored[key] for key in self._keys[low:high]]

    def find(self, alert: str) -> Stored | None:
        """Return an alert by its id."""
        return self._by_id.get(alert)

    def touch(self, alert: str, now: float) -> Stored:
        """Give an alert a later `lastUpdateTime`, change nothing else, and keep a copy.

        Raises:
            KeyError: there is no such alert.
        """
        stored = self._by_id[alert]
        stored.entry.copy = stored.raw
        updated = max(ticks_of(now), stored.updated + 1)
        self._replace(stored, updated, write_instant(updated, 7), now)
        return stored

    def keep(self, raw: bytes, now: float) -> None:
        """Take in an alert as it is; one that is known in these bytes stays as it is."""
        content = json.loads(raw)
        updated = read_instant(content["lastUpdateTime"])
        known = self._by_id.get(content["id"])
        if known is not None:
            if known.raw != raw and updated >= known.updated:
                known.raw = raw
                self._replace(known, updated, content["lastUpdateTime"], now)
            return
        created = read_instant(content["alertCreationTime"])
        story = Story(self._tenant, self._born, content["id"], created)
        self._insert(story, updated, content["lastUpdateTime"], raw, now, fixed=True)

    # The record that a fault brings stays as it is: it has to be found, however long that takes.

    def bear_late(self, now: float, by: float) -> None:
        """Let an alert become visible `by` seconds after its `lastUpdateTime`."""
        self._bear(now - by, visible=now, fault="late")

    def bear_future(self, now: float) -> None:
        """Let an alert of the year 9999 become visible."""
        self._bear(now, visible=now, text=FAR_FUTURE, kind="future", fault="year_9999")

    def bear_huge(self, now: float, size: int = _HUGE_BYTES) -> None:
        """Let an alert become visible that is larger than a broker takes."""
        self._bear(now, visible=now, padding=size, kind="huge", fault="huge")

    def bear_malformed(self, now: float, form: str) -> None:
        """Let a record become visible that is no alert, in one of its forms."""
        story = self._story(now)
        updated, text = self._instant(now)
        raw = malformed(form, story, text)
        story.id = f"{form} {story.id}"
        self._insert(
            story, updated, text, raw, now, kind="malformed", fixed=True, fault="malformed"
        )

    def burst(self, now: float, count: int, seconds: float) -> None:
        """Let many alerts of the last `seconds` become visible at once."""
        for at in sorted(now - self._rng.random() * seconds for _ in range(count)):
            self._bear(at, visible=now)

    def bear_within(self, now: float, since: int, until: int) -> Stored:
        """Let an alert become visible whose `lastUpdateTime` is in a window of ticks."""
        high = min(until, ticks_of(now) + 1)
        low = max(since, high - 60 * TICKS)
        updated = self._rng.randrange(low, max(high, low + 1))
        text = write_instant(updated, 7)
        story = self._story(updated / TICKS)
        return self._insert(story, updated, text, None, now)

    def _births(self, at: float) -> None:
        """Let one alert be born, or several that share their `lastUpdateTime`."""
        several = self._rng.randrange(2, 6) if self._chance(_TIES) else 1
        delay = self._rng.uniform(0.2, 20.0) if self._chance(_NATURALLY_LATE) else 0.0
        first = self._bear(at - delay, visible=at)
        others = [self._bear(at - delay, visible=at, text=first.text) for _ in range(several - 1)]
        for stored in (first, *others):
            self._plan_change(stored, at)

    def _bear(
        self,
        at: float,
        *,
        visible: float,
        text: str | None = None,
        padding: int = 0,
        kind: str = "alert",
        fault: str | None = None,
    ) -> Stored:
        story = self._story(at)
        story.padding = padding
        updated, text = (read_instant(text), text) if text else self._instant(at)
        # A shared or cut time may lie before this alert's own creation otherwise.
        story.created = min(story.created, updated)
        return self._insert(story, updated, text, None, visible, kind=kind, fault=fault)

    def _story(self, at: float) -> Story:
        created = ticks_of(at - self._rng.random() * 3.0)
        self._born += 1
        number = self._rng.getrandbits(31)
        sign = "-" if number & 1 else ""
        name = f"da{621355968000000000 + created}_{sign}{number}"
        return Story(self._tenant, self._born, name, created)

    def _instant(self, at: float) -> tuple[int, str]:
        """Return a time near `at` in one of the widths that the API has."""
        ticks = ticks_of(at)
        digits = self._rng.choice((0, 1, 2, 2, 3, 4, 5, 6, 7, 7, 7))
        if digits == _MOST_DIGITS and self._chance(_STEPPED):
            # The API's times step by a three-hundredth of a second.
            ticks = (ticks * 300 // TICKS) * TICKS // 300
        text = write_instant(ticks, digits)
        return read_instant(text), text

    def _insert(
        self,
        story: Story,
        updated: int,
        text: str,
        raw: bytes | None,
        now: float,
        *,
        kind: str = "alert",
        fixed: bool = False,
        fault: str | None = None,
    ) -> Stored:
        raw = compose(story, text, expand=True) if raw is None else raw
        entry = self._open(story, 0, updated, text, raw, now, kind=kind)
        self._serial += 1
        stored = Stored(story, 0, updated, text, raw, entry, self._serial, fixed, fault)
        self._place(stored)
        if kind != "malformed":
            self._by_id[story.id] = stored
        return stored

    def _open(
        self,
        story: Story,
        number: int,
        updated: int,
        text: str,
        raw: bytes,
        now: float,
        *,
        kind: str,
        silent: bool = False,
    ) -> Entry:
        return self._record.open(
            tenant=self._tenant,
            alert=story.id,
            version=number,
            updated=text,
            raw=raw,
            since=self._timeline.wall(now),
            kind=kind,
            late=max(0.0, now - updated / TICKS),
            silent=silent,
        )

    def _place(self, stored: Stored) -> None:
        key = (stored.updated, stored.order)
        insort(self._keys, key)
        self._stored[key] = stored
        self.revision += 1

    def _replace(
        self, stored: Stored, updated: int, text: str, now: float, *, silent: bool = False
    ) -> None:
        """Put the next version of an alert in the place of the one before."""
        key = (stored.updated, stored.order)
        del self._keys[bisect_left(self._keys, key)]
        del self._stored[key]
        former = stored.entry
        former.until = self._timeline.wall(now)
        stored.number += 1
        stored.updated, stored.text = updated, text
        stored._fields = None
        if stored.fixed:
            stored.raw = _TIME_VALUE.sub(rb"\g<1>" + text.encode() + rb"\g<2>", stored.raw, count=1)
        else:
            stored.raw = compose(stored.story, text, expand=True)
        stored.entry = self._open(
            stored.story,
            stored.number,
            updated,
            text,
            stored.raw,
            now,
            kind=former.kind,
            silent=silent,
        )
        self._place(stored)

    def _change(self, stored: Stored, at: float) -> None:
        """Let one alert change; at times without its `lastUpdateTime`."""
        # Two in a row could bring the same bytes back, which nobody could tell apart.
        silent = (
            not stored.entry.silent
            and at - stored.updated / TICKS < _SILENT_REACH_SECONDS
            and self._chance(_SILENT)
        )
        updated, text = (stored.updated, stored.text) if silent else self._instant(at)
        if updated <= stored.updated and not silent:
            updated = max(ticks_of(at), stored.updated + 1)
            text = write_instant(updated, 7)
        stored.story.steps.append((self._rng.choice(STEPS), ticks_of(at)))
        self._replace(stored, updated, text, at, silent=silent)
        self._plan_change(stored, at)

    def _chance(self, share: float) -> bool:
        return self._rng.random() < share

    def _plan_birth(self, now: float) -> None:
        if self._rhythm.births_per_minute > 0 and not self._frozen:
            wait = self._rng.expovariate(self._rhythm.births_per_minute / 60.0)
            self._plan(now + wait, None)

    def _plan_change(self, stored: Stored, now: float) -> None:
        quiet = self._rhythm.births_per_minute == 0 or self._frozen
        if not quiet and len(stored.story.steps) < _MOST_STEPS and self._chance(_CHANGES):
            wait = self._rhythm.version_seconds * (1.0 + self._rng.expovariate(1.0))
            self._plan(now + wait, stored)

    def _plan(self, at: float, stored: Stored | None) -> None:
        self._serial += 1
        heapq.heappush(self._events, (at, self._serial, stored))

"""A feed's state: watermarks, horizon and memory; how it changes, and how it is written down.

What a commit writes grows with what changed: a small header, and journal records that are written
once. A journal record is dropped when everything in it lies below the horizon. `decode` of what the
topic holds is always equal to the state that was applied.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Self

from ingest.errors import CheckpointUnreadable
from ingest.model.alert import Alert, Malformed
from ingest.model.memory import (
    PUBLISHED,
    Canonical,
    Entry,
    Judgement,
    Reason,
    SetAside,
    Verdict,
    compare,
    kind_of,
    remember,
)
from ingest.model.tenant import FeedKey
from ingest.model.window import SKEW, Reach, Tier

VERSION = 1
"""The version of the records; a reader that does not know one parks the tenant."""

_JOURNAL_ITEMS = 2_000
"""Items in one journal record: keeps it well below any broker's limit."""

_FUTURE_ENTRIES = 10_000
"""Alerts from the future that are remembered; they never age, so their number is bounded."""


@dataclass(frozen=True, slots=True)
class Journal:
    """What one journal record holds: the ids and digests, and the newest time among them."""

    newest: int
    ids: tuple[str, ...]
    digests: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """A change of state and the checkpoint records that say it; apply it after their commit."""

    records: Mapping[bytes, bytes | None]
    fast: int
    slow: int
    horizon: int
    sequence: int
    entries: Mapping[str, Entry] = field(default_factory=dict)
    set_aside: Mapping[int, int] = field(default_factory=dict)
    written: Mapping[int, Journal] = field(default_factory=dict)
    dropped: Sequence[int] = ()


@dataclass(slots=True)
class FeedState:
    """One feed as Kafka has it; all times are ticks. Changes only by `apply`."""

    feed: FeedKey
    fast: int
    slow: int
    horizon: int
    sequence: int = 0
    entries: dict[str, Entry] = field(default_factory=dict)
    set_aside: dict[int, int] = field(default_factory=dict)
    journals: dict[int, Journal] = field(default_factory=dict)

    @classmethod
    def first(cls, feed: FeedKey, *, now: int, reach: Reach) -> Self:
        """Return the state of a feed of which nothing is committed yet."""
        start = now - reach.first
        return cls(feed=feed, fast=start, slow=start, horizon=start)

    @property
    def remembered(self) -> int:
        """How many alerts are remembered."""
        return len(self.entries)

    def window(self, tier: Tier, reach: Reach) -> int:
        """Return where the next reading of `tier` starts; memory always reaches there (law 2)."""
        return max(self.horizon, reach.start(tier, fast=self.fast, slow=self.slow))

    def judge(
        self,
        records: Iterable[Alert | Malformed],
        *,
        now: int,
        canonical: Canonical,
        rejected: Mapping[int, str],
        reach: Reach,
    ) -> Judgement:
        """Decide on records in the order given; nothing is changed here.

        Args:
            records: what a page holds, oldest change first.
            now: the API's own time of that page, in ticks.
            canonical: hashes an alert's content.
            rejected: digests of records that Kafka cannot take, each with the reason.
            reach: the operator's look-backs.
        """
        judgement = Judgement()
        passed = self.fast - reach.overlap
        stale_mark = now - reach.look_back // 2
        future_from = now + SKEW
        future_room = _FUTURE_ENTRIES - sum(e.updated > future_from for e in self._future(now))
        entries, known, reasons = judgement.entries, self.entries, judgement.reasons
        for record in records:
            judgement.received += 1
            digest = record.digest
            seen = judgement.set_aside.get(digest, self.set_aside.get(digest))
            if seen is not None:
                reasons[Reason.DUPLICATE] += 1
                if seen < stale_mark:
                    # Still shown after so long: remembered anew, so that it is not forgotten.
                    judgement.set_aside[digest] = now
                continue
            if isinstance(record, Malformed) or digest in rejected:
                reason = record.reason if isinstance(record, Malformed) else rejected[digest]
                judgement.quarantined.append(SetAside(record, reason))
                judgement.set_aside[digest] = now
                continue
            entry = entries.get(record.id) or known.get(record.id)
            future = record.updated > future_from
            if entry is not None:
                reason, update = compare(entry, record, canonical)
            elif record.updated < self.horizon or (future and future_room <= 0):
                reasons[Reason.BEYOND] += 1
                continue
            else:
                reason, update = Reason.NEW, remember(record, canonical)
                future_room -= future
            reasons[reason] += 1
            if reason not in PUBLISHED:
                continue
            late = record.updated < passed
            judgement.late += late
            judgement.future += future
            kind = kind_of(record, entry, self.horizon)
            judgement.published.append(Verdict(record, reason, kind, late, future))
            entries[record.id] = update
        return judgement

    def _future(self, now: int) -> Iterator[Entry]:
        # Only journals that reach beyond now can hold such entries; there are hardly ever any.
        for journal in self.journals.values():
            if journal.newest > now + SKEW:
                for id_ in journal.ids:
                    if id_ in self.entries:
                        yield self.entries[id_]

    def advance(
        self,
        judgement: Judgement | None,
        *,
        reach: Reach,
        now: int,
        fast: int | None = None,
        slow: int | None = None,
    ) -> Step:
        """Return the step that remembers `judgement` and moves the watermarks; pure.

        A watermark never goes back, and never passes `now`, the API's own time (law 9). A step
        without records changes nothing.
        """
        new_fast = max(self.fast, min(fast if fast is not None else self.fast, now))
        new_slow = max(self.slow, min(slow if slow is not None else self.slow, now))
        entries = judgement.entries if judgement else {}
        set_aside = judgement.set_aside if judgement else {}
        horizon = max(self.horizon, reach.horizon(fast=new_fast, slow=new_slow))
        horizon = self._bounded(horizon, len(entries), reach, now)
        if not (entries or set_aside) and (new_fast, new_slow) == (self.fast, self.slow):
            return Step({}, self.fast, self.slow, self.horizon, self.sequence)

        prefix = str(self.feed)
        records: dict[bytes, bytes | None] = {}
        written: dict[int, Journal] = {}
        sequence = self.sequence
        for some_entries, some_digests in _chunks(entries, set_aside):
            sequence += 1
            records[_journal_key(prefix, sequence)] = _encode_journal(some_entries, some_digests)
            written[sequence] = _journal(some_entries, some_digests)
        dropped: tuple[int, ...] = ()
        if horizon > self.horizon:
            dropped = tuple(n for n, journal in self.journals.items() if journal.newest < horizon)
        for number in dropped:
            records[_journal_key(prefix, number)] = None
        live = sorted((self.journals.keys() - set(dropped)) | written.keys())
        records[prefix.encode()] = _dump(
            {
                "v": VERSION,
                "fast": new_fast,
                "slow": new_slow,
                "horizon": horizon,
                "seq": sequence,
                "live": _ranges(live),
            }
        )
        return Step(
            records, new_fast, new_slow, horizon, sequence, entries, set_aside, written, dropped
        )

    def _bounded(self, horizon: int, fresh: int, reach: Reach, now: int) -> int:
        """Raise the horizon where memory would grow over its bound (never into the future)."""
        if len(self.entries) + fresh <= reach.remembered:
            return horizon
        times = sorted(entry.updated for entry in self.entries.values())
        # A tenth more than needed goes, so that this is not done again for every alert.
        cut = times[min(len(times) - 1, len(times) + fresh - reach.remembered + len(times) // 10)]
        return max(horizon, min(cut, now))

    def apply(self, step: Step) -> None:
        """Take over a step whose records are committed."""
        self.fast, self.slow = step.fast, step.slow
        self.horizon, self.sequence = step.horizon, step.sequence
        self.entries.update(step.entries)
        self.set_aside.update(step.set_aside)
        self.journals.update(step.written)
        for number in step.dropped:
            journal = self.journals.pop(number)
            for id_ in journal.ids:
                entry = self.entries.get(id_)
                if entry is not None and entry.updated < self.horizon:
                    del self.entries[id_]
            for digest in journal.digests:
                if self.set_aside.get(digest, self.horizon) < self.horizon:
                    del self.set_aside[digest]

    @classmethod
    def decode(cls, feed: FeedKey, records: Mapping[bytes, bytes]) -> Self:
        """Read a feed's state from its checkpoint records.

        Raises:
            CheckpointUnreadable: naming the key; nothing is guessed.
        """
        prefix = str(feed)
        key = prefix.encode()
        try:
            header = _load(records[key])
            state = cls(
                feed=feed,
                fast=header["fast"],
                slow=header["slow"],
                horizon=header["horizon"],
                sequence=header["seq"],
            )
            for first, last in header["live"]:
                for number in range(first, last + 1):
                    key = _journal_key(prefix, number)
                    entries, set_aside = _decode_journal(_load(records[key]))
                    state.entries.update(entries)
                    state.set_aside.update(set_aside)
                    state.journals[number] = _journal(entries, set_aside)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            # The text of these errors may quote alert content; only the key is named.
            raise CheckpointUnreadable(
                f"tenant {feed.tenant}: checkpoint record {key.decode()} is missing, damaged or "
                "of a newer version; it was left as it is: run the version that wrote it, or "
                "delete the tenant's checkpoint records to read it anew"
            ) from error
        return state


def _chunks(
    entries: Mapping[str, Entry], set_aside: Mapping[int, int]
) -> Iterator[tuple[dict[str, Entry], dict[int, int]]]:
    rest_of_entries, rest_of_digests = iter(entries.items()), iter(set_aside.items())
    while True:
        some = dict(islice(rest_of_entries, _JOURNAL_ITEMS))
        digests = dict(islice(rest_of_digests, _JOURNAL_ITEMS - len(some)))
        if not some and not digests:
            return
        yield some, digests


def _journal(entries: Mapping[str, Entry], set_aside: Mapping[int, int]) -> Journal:
    newest = max(
        max((entry.updated for entry in entries.values()), default=-(2**63)),
        max(set_aside.values(), default=-(2**63)),
    )
    return Journal(newest, tuple(entries), tuple(set_aside))


def _journal_key(prefix: str, number: int) -> bytes:
    return f"{prefix}/j/{number}".encode()


def _encode_journal(entries: Mapping[str, Entry], set_aside: Mapping[int, int]) -> bytes:
    return _dump(
        {
            "v": VERSION,
            "e": [[i, e.updated, e.digest, e.prints, int(e.resolved)] for i, e in entries.items()],
            "q": list(set_aside.items()),
        }
    )


def _decode_journal(document: Mapping[str, Any]) -> tuple[dict[str, Entry], dict[int, int]]:
    entries = {
        id_: Entry(updated, digest, tuple(prints), bool(resolved))
        for id_, updated, digest, prints, resolved in document["e"]
    }
    return entries, dict(document["q"])


def _dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _load(raw: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(raw)
    if document["v"] != VERSION:
        raise ValueError("unknown version")
    return document


def _ranges(numbers: Sequence[int]) -> list[list[int]]:
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges

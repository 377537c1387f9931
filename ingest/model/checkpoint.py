"""A feed's state: watermarks, horizon and ledger; how it changes, and how it is written down.

What a commit writes grows with what changed: a small header, and journal records that are written
once. A journal record is dropped when all it said is forgotten or said anew. `decode` of what the
topic holds is always equal to the state that was applied.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from ingest.errors import CheckpointUnreadable
from ingest.model.alert import Alert, Malformed
from ingest.model.journal import (
    Header,
    Journal,
    decode_header,
    decode_journal,
    encode_header,
    encode_journals,
    header_key,
    journal_key,
    journal_number,
    order_key,
)
from ingest.model.judge import Judge
from ingest.model.ledger import Ledger
from ingest.model.memory import Canonical, Entry, Judgement
from ingest.model.tenant import FeedKey
from ingest.model.window import SKEW, Reach, Tier

_FUTURE_ALERTS = 10_000
"""Alerts from the future that are remembered; they never age, so their number is bounded."""

_ROOM = 250_000
"""How far memory may pass its bound while nothing below it may be forgotten yet: what a sweep is
offered before its oldest box is proven. What is unknown beyond that is not published."""

_HORIZON_STEPS = 32
"""The horizon rises in steps of this part of the look-back, so that memory is searched rarely."""

_KEPT_WHEN_FULL = 0.9

_DAMAGED = (LookupError, ValueError, TypeError, ArithmeticError, struct.error, RecursionError)
"""What reading raises on records that this version did not write."""


@dataclass(frozen=True, slots=True)
class Step:
    """A change of state and the checkpoint records that say it; apply it after their commit.

    `squeezed` is how much was forgotten for want of room, not for its age.
    """

    records: Mapping[bytes, bytes | None]
    fast: int
    slow: int
    horizon: int
    sequence: int
    written: Mapping[int, Journal] = field(default_factory=dict)
    dropped: Sequence[int] = ()
    forgotten: tuple[Sequence[str], Sequence[int]] = ((), ())
    squeezed: int = 0


@dataclass(slots=True)
class FeedState:
    """One feed as Kafka has it; all times are ticks. Changes only by `apply`."""

    feed: FeedKey
    fast: int
    slow: int
    horizon: int
    sequence: int = 0
    ledger: Ledger = field(default_factory=Ledger)
    _ahead: set[str] = field(default_factory=set, compare=False)
    """Alerts that were from the future when they were published, perhaps no more."""
    _left_over: frozenset[int] = field(default_factory=frozenset, compare=False)
    """Journal records that say nothing any more and that nobody has dropped; the next step does."""

    @classmethod
    def first(cls, feed: FeedKey, *, now: int, reach: Reach) -> Self:
        """Return the state of a feed of which nothing is committed yet."""
        start = now - reach.first
        return cls(feed=feed, fast=start, slow=start, horizon=start)

    @property
    def remembered(self) -> int:
        """How many alerts are remembered."""
        return self.ledger.alerts

    def keys(self) -> list[bytes]:
        """Return the keys of all checkpoint records that say this state, the last order's too."""
        prefix = str(self.feed)
        journals = (journal_key(prefix, number) for number in self.ledger.journals)
        return [header_key(prefix), order_key(prefix), *journals]

    def rewound(self, since: int) -> tuple["FeedState", dict[bytes, bytes | None]]:
        """Return the state that reads everything from `since` on anew, and the records that say it.

        What was published from then on is forgotten, and so are the watermarks; what is older stays known,
        so that nothing that is yet to become visible is taken for it.
        """
        prefix = str(self.feed)
        state = FeedState(
            self.feed,
            min(self.fast, since),
            min(self.slow, since),
            min(self.horizon, since),
            self.sequence,
        )
        # The header last: where a commit can be torn, it must not speak for what is yet to be forgotten.
        records: dict[bytes, bytes | None] = {
            journal_key(prefix, number): None for number in self.ledger.journals
        }
        for journal, raw in encode_journals(*self.ledger.before(since)):
            state.sequence += 1
            state.ledger.write(state.sequence, journal.entries, journal.asides)
            records[journal_key(prefix, state.sequence)] = raw
        return state, records | state.header()

    def header(self) -> dict[bytes, bytes]:
        """Return the header that says this state, by its key."""
        live, checksum = len(self.ledger.journals), self.ledger.checksum
        header = Header(self.fast, self.slow, self.horizon, self.sequence, live, checksum)
        return {header_key(str(self.feed)): encode_header(header)}

    def leave_nothing_over(self) -> dict[bytes, bytes | None]:
        """Drop the journal records that say nothing any more; return the records that do so."""
        gone, self._left_over = self._left_over, frozenset()
        self.ledger.drop(gone)
        return {journal_key(str(self.feed), number): None for number in gone}

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
        """Decide on records; nothing is changed here.

        Args:
            records: what a page holds, in any order.
            now: the API's own time of that page, in ticks.
            canonical: hashes an alert's content.
            rejected: digests of records that Kafka cannot take, each with the reason.
            reach: the operator's look-backs.
        """
        return Judge(
            ledger=self.ledger,
            horizon=self.horizon,
            now=now,
            passed=reach.start(Tier.FAST, fast=self.fast, slow=self.slow),
            refresh_before=now - reach.look_back // 2,
            room=reach.remembered + _ROOM - len(self.ledger),
            future_room=self._future_room(now),
            canonical=canonical,
            rejected=rejected,
            judgement=Judgement(),
        ).decide(records)

    def _future_room(self, now: int) -> int:
        if len(self._ahead) < _FUTURE_ALERTS:
            return _FUTURE_ALERTS - len(self._ahead)
        entries = map(self.ledger.entry, self._ahead)
        return _FUTURE_ALERTS - sum(e is not None and e.updated > now + SKEW for e in entries)

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
        judgement = judgement or Judgement()
        new_fast = max(self.fast, min(fast if fast is not None else self.fast, now))
        new_slow = max(self.slow, min(slow if slow is not None else self.slow, now))
        if not judgement.changes and (new_fast, new_slow) == (self.fast, self.slow):
            return Step({}, self.fast, self.slow, self.horizon, self.sequence)

        aged = self._aged(new_fast, new_slow, reach)
        fresh = len(judgement.entries) + len(judgement.set_aside)
        horizon = self._squeezed(aged, fresh, new_fast, reach)
        gone = self.ledger.below(horizon) if horizon > self.horizon else ([], [])
        # What was published just now below the new horizon need not be remembered at all.
        entries = {i: e for i, e in judgement.entries.items() if e.updated >= horizon}
        asides = {d: t for d, t in judgement.set_aside.items() if t >= horizon}
        prefix = str(self.feed)
        records: dict[bytes, bytes | None] = {}
        written: dict[int, Journal] = {}
        sequence = self.sequence
        for journal, raw in encode_journals(entries, asides):
            sequence += 1
            records[journal_key(prefix, sequence)] = raw
            written[sequence] = journal
        dropped = self.ledger.emptied(entries, asides, gone)
        if self._left_over:
            dropped += self._left_over
        records |= {journal_key(prefix, number): None for number in dropped}
        records[header_key(prefix)] = encode_header(
            Header(
                new_fast,
                new_slow,
                horizon,
                sequence,
                len(self.ledger.journals) + len(written) - len(dropped),
                self.ledger.checksum + sum(written) - sum(dropped),
            )
        )
        squeezed = len(gone[0]) if horizon > aged else 0
        return Step(
            records, new_fast, new_slow, horizon, sequence, written, dropped, gone, squeezed
        )

    def _aged(self, fast: int, slow: int, reach: Reach) -> int:
        """Return the horizon that age allows: nothing may ask below it ever again."""
        horizon = reach.horizon(fast=fast, slow=slow)
        return (
            horizon if horizon - self.horizon > reach.look_back // _HORIZON_STEPS else self.horizon
        )

    def _squeezed(self, horizon: int, fresh: int, fast: int, reach: Reach) -> int:
        """Raise the horizon where memory would pass its bound; never over what is yet to be read."""
        total = len(self.ledger) + fresh
        if total <= reach.remembered:
            return horizon
        kept = int(reach.remembered * _KEPT_WHEN_FULL)
        cut = self.ledger.quantile((total - kept) / total)
        return horizon if cut is None else max(horizon, min(cut + 1, fast))

    def apply(self, step: Step) -> None:
        """Take over a step whose records are committed."""
        self.fast, self.slow = step.fast, step.slow
        self.horizon, self.sequence = step.horizon, step.sequence
        self.ledger.forget(*step.forgotten)
        self._ahead.difference_update(step.forgotten[0])
        for number, journal in step.written.items():
            self.ledger.write(number, journal.entries, journal.asides)
            self._look_ahead(journal.entries)
        self.ledger.drop(step.dropped)
        if self._left_over:
            self._left_over -= set(step.dropped)

    def _look_ahead(self, entries: Mapping[str, Entry]) -> None:
        present = max(self.fast, self.slow) + SKEW
        self._ahead.update(id_ for id_, entry in entries.items() if entry.updated > present)

    @classmethod
    def decode(cls, feed: FeedKey, records: Mapping[bytes, bytes], *, torn: bool = False) -> Self:
        """Read a feed's state from its checkpoint records.

        Args:
            feed: whose.
            records: by key.
            torn: whether they may be pieces of several commits, or of owners that did not know of each
                other: a journal record that is missing or left over is then no damage. What is missing is
                published once more; what is there is true, whoever wrote it.

        Raises:
            CheckpointUnreadable: naming the key; nothing is guessed.
        """
        prefix = str(feed)
        key = header_key(prefix)
        try:
            header = decode_header(records[key])
            state = cls(feed, header.fast, header.slow, header.horizon, header.sequence)
            numbers = sorted(
                number for k in records if (number := journal_number(prefix, k)) is not None
            )
            for number in numbers:
                key = journal_key(prefix, number)
                journal = decode_journal(records[key])
                state.ledger.write(number, journal.entries, journal.asides)
                state._look_ahead(journal.entries)
            key = header_key(prefix)
            state._settle(header, torn=torn)
        except _DAMAGED as error:
            # The text of these errors may quote alert content; only the key is named.
            raise CheckpointUnreadable(
                f"tenant {feed.tenant}: checkpoint record {key.decode()} is missing, damaged or "
                "of a newer version; it was left as it is: run the version that wrote it, or "
                "delete the tenant's checkpoint records to read it anew"
            ) from error
        return state

    def _settle(self, header: Header, *, torn: bool) -> None:
        """Forget what older journal records still say of what was forgotten since; check the rest."""
        gone = self.ledger.below(self.horizon)
        self.ledger.forget(*gone)
        self._ahead.difference_update(gone[0])
        live = self.ledger.journals
        if torn:
            # No number is given twice while its record is there.
            self.sequence = max(self.sequence, *live, 0)
            self._left_over = frozenset(number for number, says in live.items() if not says)
            return
        if (len(live), self.ledger.checksum) != (header.journals, header.checksum):
            raise ValueError("journal records are missing, or some are there that should not be")
        if any(not 0 < number <= self.sequence for number in live):
            raise ValueError("a journal record is newer than the header")


def mend(feed: FeedKey, records: Mapping[bytes, bytes]) -> dict[bytes, bytes | None]:
    """Return what makes pieces of several commits whole; without a header nothing is remembered.

    Raises:
        CheckpointUnreadable: naming the key; nothing is guessed.
    """
    prefix = str(feed)
    if header_key(prefix) not in records:
        return {key: None for key in records if journal_number(prefix, key) is not None}
    state = FeedState.decode(feed, records, torn=True)
    return state.leave_nothing_over() | state.header()

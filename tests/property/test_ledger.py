"""The packed ledger against plain dictionaries."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ingest.model.ledger import Ledger
from ingest.model.memory import PRINTS_PER_TIME, Entry

IDS = st.sampled_from("abcdefgh") | st.text(max_size=3)
TIMES = st.integers(-50, 50) | st.integers(-(10**17), 3 * 10**18)
HASHES = st.integers(0, 5) | st.integers(0, 2**64 - 1)
ENTRIES = st.builds(
    Entry,
    TIMES,
    HASHES,
    st.lists(HASHES, max_size=PRINTS_PER_TIME).map(tuple),
    st.booleans(),
)


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.entries: dict[str, tuple[Entry, int]] = {}
        self.asides: dict[int, tuple[int, int]] = {}
        self.live: set[int] = set()
        self.number = 0

    @rule(
        entries=st.dictionaries(IDS, ENTRIES, max_size=4),
        asides=st.dictionaries(HASHES, TIMES, max_size=3),
    )
    def write(self, entries, asides):
        foretold = self.ledger.emptied(entries, asides, ([], []))
        self.number += 1
        self.ledger.write(self.number, entries, asides)
        self.live.add(self.number)
        self.entries |= {id_: (entry, self.number) for id_, entry in entries.items()}
        self.asides |= {digest: (time, self.number) for digest, time in asides.items()}
        assert all(self.standing(number) == 0 for number in foretold)

    @precondition(lambda self: self.entries or self.asides)
    @rule(data=st.data())
    def forget_some(self, data):
        entries = data.draw(st.sets(st.sampled_from(sorted(self.entries)))) if self.entries else ()
        asides = data.draw(st.sets(st.sampled_from(sorted(self.asides)))) if self.asides else ()
        self.forget(list(entries), list(asides))

    @rule(horizon=TIMES)
    def forget_what_lies_below(self, horizon):
        entries, asides = self.ledger.below(horizon)
        assert sorted(entries) == sorted(
            id_ for id_, (entry, _) in self.entries.items() if entry.updated < horizon
        )
        assert sorted(asides) == sorted(
            digest for digest, (time, _) in self.asides.items() if time < horizon
        )
        self.forget(entries, asides)

    def forget(self, entries, asides):
        foretold = self.ledger.emptied((), (), (entries, asides))
        standing = {number for number in self.live if self.standing(number)}
        self.ledger.forget(entries, asides)
        for id_ in entries:
            del self.entries[id_]
        for digest in asides:
            del self.asides[digest]
        assert foretold == sorted(n for n in standing if not self.standing(n))

    @rule()
    def drop_what_is_empty(self):
        empty = [number for number in self.live if not self.standing(number)]
        self.ledger.drop(empty)
        self.live.difference_update(empty)

    @precondition(lambda self: any(self.standing(number) for number in self.live))
    @rule()
    def drop_what_still_says_something(self):
        number = next(number for number in self.live if self.standing(number))
        with pytest.raises(RuntimeError, match="still says"):
            self.ledger.drop([number])
        self.ledger.journals[number] = self.standing(number)

    def standing(self, number: int) -> int:
        rows = [*self.entries.values(), *self.asides.values()]
        return sum(where == number for _, where in rows)

    @invariant()
    def it_remembers_the_same(self):
        assert len(self.ledger) == len(self.entries) + len(self.asides)
        assert self.ledger.alerts == len(self.entries)
        assert set(self.ledger.ids()) == set(self.entries)
        assert self.ledger.has_asides == bool(self.asides)
        for id_, (entry, _) in self.entries.items():
            assert self.ledger.entry(id_) == entry
            assert self.ledger.holds(id_, entry.updated, entry.digest)
            assert not self.ledger.holds(id_, entry.updated + 1, entry.digest)
            assert not self.ledger.holds(id_, entry.updated, entry.digest ^ 1)
        for digest, (time, _) in self.asides.items():
            assert self.ledger.aside(digest) == time
        assert self.ledger.entry("never written") is None
        assert self.ledger.aside(2**64) is None

    @invariant()
    def it_knows_where_each_piece_stands(self):
        assert self.ledger.journals == {number: self.standing(number) for number in self.live}
        assert self.ledger.checksum == sum(self.live)

    @invariant()
    def a_quantile_lies_among_the_times(self):
        times = sorted(
            [entry.updated for entry, _ in self.entries.values()]
            + [time for time, _ in self.asides.values()]
        )
        for share in (0.0, 0.3, 1.0):
            where = min(len(times) - 1, int(len(times) * share))
            assert self.ledger.quantile(share) == (times[where] if times else None)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(deadline=None, max_examples=30, stateful_step_count=20)


def test_ledgers_that_remember_the_same_are_equal():
    one, other = Ledger(), Ledger()
    for ledger in (one, other):
        ledger.write(1, {"a": Entry(5, 6, (7,), True)}, {8: 9})
    assert one == other
    other.write(2, {}, {8: 9})
    assert one != other
    assert one != "a ledger"

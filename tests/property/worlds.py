"""Worlds to read: alerts that come, change, tie, hide and appear late, and an API with quirks."""

import random
from dataclasses import dataclass

from hypothesis import strategies as st

from ingest.model.instant import TICKS, parse_instant
from ingest.model.window import Reach
from tests.fakes.vendor import Quirks, Version

SECOND = TICKS
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

BEGIN = parse_instant("2024-03-01T12:00:00Z")
END_OF_TIME = parse_instant("9999-12-31T23:59:59.9999999Z")
SPAN = HOUR
"""Alerts come and change from one span before the first reading to one span after."""

REACH = Reach(overlap=5 * MINUTE, look_back=45 * MINUTE, first=6 * HOUR)
LATEST = 30 * MINUTE
"""The longest that a version hides; with any skew of `SKEWS` less than a look-back."""

CALM = Quirks()

SKEWS = (0, 0, 4 * MINUTE, -4 * MINUTE)


@dataclass(frozen=True)
class World:
    """The seed decides what happens; the traits decide which kinds of things do."""

    seed: int
    alerts: int = 60
    late: bool = False
    tied: bool = False
    bulk: int = 0
    twins: bool = False
    busy: bool = False
    future: bool = False
    broken: bool = False
    crashes: float = 0.0
    local_skew: int = 0
    quirks: Quirks = CALM

    def rng(self, purpose: str) -> random.Random:
        return random.Random(f"{self.seed} {purpose}")

    def versions(self) -> list[Version]:
        rng = self.rng("alerts")
        found: list[Version] = []
        for n in range(self.alerts):
            created = BEGIN + rng.randrange(-SPAN, SPAN)
            if self.tied:
                created = created // MINUTE * MINUTE
            found += self._life(rng, f"a{n}", created, rng.choice((1, 1, 1, 2, 3)))
        if self.busy:
            for n in range(5):
                found += self._life(rng, f"busy{n}", BEGIN + rng.randrange(SPAN // 2), 60)
        if self.bulk:
            found += self._bulk(rng)
        if self.future:
            found += [
                Version(f"future{n}", 0, END_OF_TIME - n % 2, BEGIN, BEGIN + n * MINUTE)
                for n in range(6)
            ]
        return found

    def _life(self, rng: random.Random, id_: str, created: int, changes: int) -> list[Version]:
        updated, visible = created, 0
        pause, tie = (20 * SECOND, 10 * SECOND) if changes > 10 else (20 * MINUTE, MINUTE)
        life = []
        for number in range(changes):
            # Some changes keep their time: only the content tells them apart.
            if number and rng.random() > 0.1:
                updated += rng.randrange(1, pause)
            if self.tied:
                updated = max(created, updated // tie * tie)
            visible = max(visible, updated + self._lag(rng))
            broken = self.broken and rng.random() < 0.1
            resolved = rng.random() < 0.3
            life.append(Version(id_, number, updated, created, visible, resolved, broken))
        return life

    def _lag(self, rng: random.Random) -> int:
        if self.late and rng.random() < 0.2:
            return rng.randrange(LATEST)
        return rng.randrange(5 * SECOND)

    def _bulk(self, rng: random.Random) -> list[Version]:
        """Many alerts resolved at one instant; twins were created at one instant as well."""
        at = BEGIN + rng.randrange(-SPAN // 2, SPAN // 2)
        return [
            Version(
                f"bulk{n}",
                0,
                at,
                at - MINUTE if self.twins else at - rng.randrange(SPAN),
                at + SECOND,
            )
            for n in range(self.bulk)
        ]


def hostile(caps: tuple[int | None, ...]) -> st.SearchStrategy[Quirks]:
    """Draw quirks against which nothing may be lost without a doubt being counted."""
    return st.builds(
        Quirks,
        order=st.sampled_from(["ascending", "ignored", "descending", "random", "mixed"]),
        cap=st.sampled_from(caps),
        hides=st.sampled_from(["last", "newest", "oldest", "random"]),
        links=st.sampled_from(["absent", "honest", "looping", "empty", "foreign"]),
        skip=st.sampled_from(["honoured", "ignored", "refused"]),
        ceiling=st.sampled_from([None, 0, 15]),
        creation_filter=st.booleans(),
        literals=st.sampled_from([1, SECOND]),
        skew=st.sampled_from(SKEWS),
    )


def worlds(
    *,
    caps: tuple[int | None, ...],
    alerts: tuple[int, int],
    quirks: st.SearchStrategy[Quirks] | None = None,
) -> st.SearchStrategy[World]:
    return st.builds(
        World,
        seed=st.integers(0, 1_000_000),
        alerts=st.integers(*alerts),
        late=st.booleans(),
        tied=st.booleans(),
        bulk=st.sampled_from([0, 0, 12, 30]),
        twins=st.booleans(),
        busy=st.booleans(),
        future=st.booleans(),
        broken=st.booleans(),
        crashes=st.sampled_from([0.0, 0.0, 0.02, 0.1]),
        local_skew=st.sampled_from([0, 0, HOUR, -10 * MINUTE, 24 * HOUR]),
        quirks=hostile(caps) if quirks is None else quirks,
    )

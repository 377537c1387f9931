"""What goes wrong, when, and to whom: a list of steps from a seed, and nothing else.

Kinds are dealt from a shuffled deck, so that a run of a few dozen faults has each of them. About half of
the steps are pairs: the second begins while the first lasts. What would prove nothing is not dealt: two
of three brokers down at once (Kafka's own promise ends there), or two faults of one replica.
"""

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum


class On(Enum):
    """What a kind of fault hits."""

    REPLICA = "replica"
    BROKER = "broker"
    FLEET = "all replicas"
    TENANT = "tenant"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault: what it hits, and between which bounds it lasts, in seconds.

    `over_session` says that the time is on top of the group's session timeout.
    """

    on: On
    shortest: float
    longest: float
    over_session: bool = False


KINDS: Mapping[str, Kind] = {
    "kill": Kind(On.REPLICA, 0, 4),
    "term": Kind(On.REPLICA, 0, 4),
    # To whoever looks from outside, a process that is stopped is one whose loop is blocked.
    "loop_blocked": Kind(On.REPLICA, 1, 4),
    "zombie": Kind(On.REPLICA, 1, 8, over_session=True),
    "zombie_in_transaction": Kind(On.REPLICA, 1, 8, over_session=True),
    "clock_jump": Kind(On.REPLICA, 4, 10),
    "cut_from_brokers": Kind(On.REPLICA, 2, 14),
    "cut_from_one_broker": Kind(On.REPLICA, 2, 14),
    "cut_from_apis": Kind(On.REPLICA, 2, 12),
    "broker_killed": Kind(On.BROKER, 1, 10),
    "broker_frozen": Kind(On.BROKER, 2, 14),
    "disk_full": Kind(On.BROKER, 2, 8),
    "replica_added": Kind(On.REPLICA, 0, 0),
    "replica_removed": Kind(On.REPLICA, 0, 0),
    "rolling_restart": Kind(On.FLEET, 0, 0),
    "tenant_added": Kind(On.TENANT, 0, 0),
    "tenant_removed": Kind(On.TENANT, 0, 0),
    "tenant_paused": Kind(On.TENANT, 2, 8),
}
"""Every kind of fault that the harness knows."""

CUTS = ("silent", "reset", "answers")
"""How a network is cut: nothing passes and nothing is said; connections are refused and reset; what is
asked arrives, and the answers do not. What was held is delivered late, as TCP would."""

JUMPS = (-7200, -600, -60, -5, 5, 60, 600, 3000, 7200)
"""How far a clock jumps, in seconds, and back again at the end of the fault. Beyond an hour ahead, a
broker refuses the timestamps."""

PAIRS = 0.5
MOST_EXTRA = 2
"""The share of steps that are pairs, and how many replicas may be added to those at the start."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: what, to whom, after how long in its step, for how long, and how.

    `target` is the number of a replica's slot, of a broker, or of a tenant among those that are kept
    back at the start; 0 where all are hit.
    """

    kind: str
    target: int
    after: float
    seconds: float
    options: Mapping[str, int | str] = field(default_factory=dict)

    def words(self) -> str:
        """Return it in words, for the log."""
        on = KINDS[self.kind].on.value
        some = [self.kind, on if on == On.FLEET.value else f"{on} {self.target}"]
        some += [f"{name}={value}" for name, value in self.options.items()]
        some += [f"for {self.seconds:.1f} s"] if self.seconds else []
        return " ".join(some) + (f" (after {self.after:.1f} s)" if self.after else "")


@dataclass(frozen=True, slots=True)
class Step:
    """One fault or a pair, and the quiet before it."""

    faults: tuple[Fault, ...]
    quiet: float


@dataclass(frozen=True, slots=True)
class Stage:
    """What the faults are for: how many there are of each, and the group's session timeout."""

    replicas: int = 3
    brokers: int = 3
    session: float = 6.0

    @property
    def slots(self) -> int:
        """How many replicas there may be at once; a lone one stays alone."""
        return self.replicas + (MOST_EXTRA if self.replicas > 1 else 0)


def plan(*, seed: int, faults: int, stage: Stage, without: Iterable[str] = ()) -> list[Step]:
    """Return the steps that a seed stands for; `without` names kinds that cannot be had here."""
    return list(_Dealer(seed, stage, frozenset(without)).steps(faults))


class _Dealer:
    """Deals faults, and knows which replicas and tenants there are when each one comes."""

    def __init__(self, seed: int, stage: Stage, without: frozenset[str]) -> None:
        self._rng = random.Random(seed)
        self._stage = stage
        self._kinds = [kind for kind in KINDS if kind not in without]
        self._deck: list[str] = []
        self._up = set(range(1, stage.replicas + 1))
        self._tenants: list[int] = []
        self._added = 0

    def steps(self, faults: int) -> Iterator[Step]:
        """Deal until there are so many faults."""
        while faults > 0:
            first = self._deal([])
            pair = [first]
            if faults > 1 and self._rng.random() < PAIRS:
                second = self._deal(pair)
                pair += [second] if second else []
            faults -= len(pair)
            yield Step(tuple(pair), quiet=round(self._rng.uniform(0.5, 2.5), 1))

    def _deal(self, others: list[Fault]) -> Fault | None:
        """Return the next fault of the deck that is possible now, beside those of the same step."""
        for again in range(2):
            for kind in self._deck:
                targets = self._targets(kind, others)
                if targets:
                    self._deck.remove(kind)
                    return self._fault(kind, self._rng.choice(targets), others)
            if again or others:
                return None
            self._deck += self._rng.sample(self._kinds, len(self._kinds))
        return None

    def _targets(self, kind: str, others: list[Fault]) -> list[int]:
        """Return whom a kind may hit now, beside the faults of the same step."""
        busy = {KINDS[other.kind].on for other in others}
        match KINDS[kind].on:
            case On.BROKER:
                return [] if On.BROKER in busy else list(range(1, self._stage.brokers + 1))
            case On.TENANT:
                return [] if On.TENANT in busy else self._tenants_for(kind)
            case On.FLEET:
                return [] if busy & {On.FLEET, On.REPLICA} else [0]
            case On.REPLICA:
                hit = {other.target for other in others if KINDS[other.kind].on is On.REPLICA}
                return [] if On.FLEET in busy else sorted(self._replicas_for(kind) - hit)

    def _replicas_for(self, kind: str) -> set[int]:
        if kind == "replica_added":
            return set(range(1, self._stage.slots + 1)) - self._up
        if kind == "replica_removed" and len(self._up) <= max(1, self._stage.replicas - 1):
            return set()
        return self._up

    def _tenants_for(self, kind: str) -> list[int]:
        # Whoever was removed and comes back would be read anew: each is added once at most.
        return [self._added + 1] if kind == "tenant_added" else list(self._tenants)

    def _fault(self, kind: str, target: int, others: list[Fault]) -> Fault:
        rng, dealt = self._rng, KINDS[kind]
        seconds = rng.uniform(dealt.shortest, dealt.longest)
        seconds += self._stage.session if dealt.over_session else 0.0
        options: dict[str, int | str] = {}
        if kind.startswith("cut"):
            options["manner"] = rng.choice(CUTS)
        if kind == "cut_from_one_broker":
            options["broker"] = rng.randint(1, self._stage.brokers)
        if kind == "clock_jump":
            options["jump"] = rng.choice(JUMPS)
        after = rng.uniform(0, max(1.0, others[0].seconds)) if others else 0.0
        match kind:
            case "replica_added":
                self._up.add(target)
            case "replica_removed":
                self._up.remove(target)
            case "tenant_added":
                self._added += 1
                self._tenants.append(target)
            case "tenant_removed":
                self._tenants.remove(target)
        return Fault(kind, target, round(after, 1), round(seconds, 1), options)

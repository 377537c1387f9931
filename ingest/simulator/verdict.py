"""What an audit comes to: counts, the line that says them, and the faults in words."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

FAULTS = ("lost", "twice", "disordered", "altered", "misquarantined")
"""What the last line counts; each must be zero."""

_EXCUSED_SHARE = 0.02
_DETAILS = 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the audit found.

    `faults` counts what must be zero: those of `FAULTS`, and `misplaced` (key, partition or source
    of a record are not those of its alert). `repeated` counts what is there again, as it may be after a kill
    without transactions. `details` has the first twenty of each, in words.
    """

    expected: int
    published: int
    quarantined: int
    excused: int
    faults: Mapping[str, int]
    details: Mapping[str, Sequence[str]]
    repeated: int = 0

    @property
    def clean(self) -> bool:
        """Whether the run passes."""
        return self.expected > 0 and not any(self.faults.values()) and not self.excused_too_many

    @property
    def exit_code(self) -> int:
        """0 for a clean run, else 1."""
        return 0 if self.clean else 1

    @property
    def line(self) -> str:
        """The last line of every audited run."""
        counted = {
            "expected": self.expected,
            "published": self.published,
            "quarantined": self.quarantined,
            "excused": self.excused,
        } | {name: self.faults[name] for name in FAULTS}
        return "audit: " + " ".join(f"{name}={count}" for name, count in counted.items())

    @property
    def excused_too_many(self) -> bool:
        """Whether too much was not visible long enough for the run to prove anything."""
        return self.excused > _EXCUSED_SHARE * self.expected

    def report(self) -> list[str]:
        """Return what is wrong, one line each; nothing for a clean run."""
        lines = [
            f"{name}: {words}"
            for name, some in self.details.items()
            if name != "repeated" and (name != "excused" or self.excused_too_many)
            for words in some
        ]
        if not self.expected:
            lines.append("nothing was expected: an audit of nothing proves nothing")
        if self.excused_too_many:
            lines.append(f"excused: more than {_EXCUSED_SHARE:.0%} of what was expected")
        return lines


@dataclass(slots=True)
class Findings:
    """Counts by name, with the first of each in words."""

    counts: Counter[str] = field(default_factory=Counter)
    details: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, words: str, count: int = 1) -> None:
        """Count one more of a kind."""
        self.counts[name] += count
        some = self.details.setdefault(name, [])
        if len(some) < _DETAILS:
            some.append(words)

    def absorb(self, other: "Findings") -> None:
        """Add what another counted."""
        for name, some in other.details.items():
            self.add(name, some[0], other.counts[name])
            self.details[name].extend(some[1 : _DETAILS - len(self.details[name]) + 1])

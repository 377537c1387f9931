"""What an examination finds, step by step, and how it is told."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum

from ingest.commands.paint import Paint
from ingest.commands.table import plain

ACTORS = {
    "us": "we must act",
    "customer": "the customer's administrator must act",
    "microsoft": "Microsoft must act",
    "nobody": "nobody has to act",
}
"""Who must act, in words."""


class Result(StrEnum):
    """How a step ended."""

    PASSED = "ok"
    FAILED = "FAILED"
    SKIPPED = "skipped"


_COLOURS = {Result.PASSED: "green", Result.FAILED: "red", Result.SKIPPED: "dim"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One step: what was found, and who must act where it failed."""

    step: str
    result: Result
    words: str
    must_act: str = "nobody"

    def as_json(self) -> str:
        """Return it as one JSON object."""
        return json.dumps(asdict(self) | {"result": self.result.lower()}, ensure_ascii=False)

    def as_line(self, paint: Paint) -> str:
        """Return it as one line."""
        mark = paint.in_colour(f"{self.result:<8}", _COLOURS[self.result])
        who = f" ({ACTORS[self.must_act]})" if self.result is Result.FAILED else ""
        # Claims and names come from elsewhere, and must not move the cursor.
        return f"{mark}{self.step:<18}{plain(self.words)}{who}"


def passed(step: str, words: str) -> Finding:
    """Return a step that is well."""
    return Finding(step, Result.PASSED, words)


def failed(step: str, words: str, must_act: str = "us") -> Finding:
    """Return a step that is not."""
    return Finding(step, Result.FAILED, words, must_act)


def skipped(step: str, words: str) -> Finding:
    """Return a step that was not taken, with why."""
    return Finding(step, Result.SKIPPED, words)

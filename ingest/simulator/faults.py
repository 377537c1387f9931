"""What can go wrong, on demand: kinds of faults, single faults, and scripts of them."""

import heapq
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import yaml

from ingest.simulator.content import MALFORMED_FORMS


class Layer(Enum):
    """Where a fault shows."""

    TOKEN = "the token endpoint"  # noqa: S105 - a place, not a password
    INSTEAD = "instead of an answer"
    PAGE = "what a page holds"
    WIRE = "how an answer is sent"
    DATA = "a record of its own"


KINDS: Mapping[str, tuple[Layer, Mapping[str, Any]]] = {
    "consent_revoked": (Layer.TOKEN, {"code": 700016}),
    "secret_expired": (Layer.TOKEN, {"code": 7000222}),
    "entra_error": (Layer.TOKEN, {"code": 90033}),
    "roles_missing": (Layer.TOKEN, {}),
    "token_not_json": (Layer.TOKEN, {}),
    "token_429": (Layer.TOKEN, {"retry_after": 2}),
    "throttle429": (Layer.INSTEAD, {"retry_after": 3, "form": "seconds"}),
    "http_5xx": (Layer.INSTEAD, {"status": 0}),
    "non_json": (Layer.INSTEAD, {}),
    "gzip_bomb": (Layer.INSTEAD, {"bytes": 96 * 1024 * 1024}),
    "reset": (Layer.INSTEAD, {}),
    "order_descending": (Layer.PAGE, {}),
    "order_random": (Layer.PAGE, {}),
    "order_ignored": (Layer.PAGE, {}),
    "page_cap": (Layer.PAGE, {"cap": 25}),
    "no_next_link": (Layer.PAGE, {"cap": 25}),
    "looping_next_link": (Layer.PAGE, {"cap": 25}),
    "foreign_next_link": (Layer.PAGE, {"cap": 25}),
    "endless_pages": (Layer.PAGE, {"records": 5}),
    "shuffle": (Layer.PAGE, {}),
    "slow": (Layer.WIRE, {"delay": 2.0}),
    "trickle": (Layer.WIRE, {"over": 2.0}),
    "cut": (Layer.WIRE, {}),
    "deep_nesting": (Layer.WIRE, {"depth": 100_000}),
    "late": (Layer.DATA, {"by": 600.0}),
    "malformed": (Layer.DATA, {"record": ""}),
    "huge": (Layer.DATA, {"bytes": 1_200_000}),
    "year_9999": (Layer.DATA, {}),
}
"""Every kind of fault: where it shows, and its options with their defaults."""

RETRY_AFTER_FORMS = ("seconds", "http-date", "absurd", "years")
"""How a 429 says when to come again: `absurd` is no number, `years` is one."""


class FaultError(ValueError):
    """A fault or a script is not understood; the message says where and why."""


@dataclass(slots=True, eq=False)
class Fault:
    """One fault of one tenant: for a number of answers, or until an instant."""

    kind: str
    options: dict[str, Any]
    left: int | None
    until: float | None

    @property
    def layer(self) -> Layer:
        """Where it shows."""
        return KINDS[self.kind][0]

    def over(self, now: float) -> bool:
        """Tell whether nothing of it is left."""
        return (self.left is not None and self.left <= 0) or (
            self.until is not None and now >= self.until
        )


def read_fault(spec: Mapping[str, Any], now: float) -> Fault:
    """Make a fault of what was asked for; with neither `count` nor `seconds` it is for one answer.

    Raises:
        FaultError: an unknown kind or option, or a value that does not fit.
    """
    kind = spec.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise FaultError(f"unknown kind {kind!r}: one of {', '.join(KINDS)}")
    defaults = KINDS[kind][1]
    options = dict(defaults)
    for name, value in spec.items():
        if name in ("kind", "count", "seconds"):
            continue
        if name not in defaults:
            known = ", ".join(["count", "seconds", *defaults])
            raise FaultError(f"{kind}: unknown option {name!r}: one of {known}")
        options[name] = _fitting(kind, name, value, defaults[name])
    _check_choice(kind, options)
    seconds = spec.get("seconds")
    count = spec.get("count", 1 if seconds is None else None)
    for name, number in (("count", count), ("seconds", seconds)):
        if number is not None and (
            not isinstance(number, int | float) or isinstance(number, bool) or number <= 0
        ):
            raise FaultError(f"{kind}: {name} must be a number above 0")
    return Fault(
        kind,
        options,
        left=None if count is None else int(count),
        until=None if seconds is None else now + seconds,
    )


def _fitting(kind: str, name: str, value: Any, default: Any) -> Any:
    wanted = (int, float) if isinstance(default, int | float) else (type(default),)
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise FaultError(f"{kind}: {name} must be a {type(default).__name__}, not {value!r}")
    return value


def _check_choice(kind: str, options: Mapping[str, Any]) -> None:
    for name, choices in (("form", RETRY_AFTER_FORMS), ("record", ("", *MALFORMED_FORMS))):
        if name in options and options[name] not in choices:
            raise FaultError(f"{kind}: {name} must be one of {', '.join(filter(None, choices))}")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a script: which fault, when, how often, and for whom."""

    fault: Mapping[str, Any]
    at: float
    every: float | None
    times: int | None
    tenants: int | None
    share: float | None
    only: tuple[int, ...]

    def choose(self, fleet: Sequence[str], rng: random.Random) -> list[str]:
        """Return the tenants that it is for, this time; `only` counts from the fleet's start."""
        if self.only:
            return [fleet[index % len(fleet)] for index in self.only]
        if self.share is not None:
            return rng.sample(fleet, max(1, round(self.share * len(fleet))))
        return rng.sample(fleet, min(len(fleet), self.tenants or 1))


def read_script(text: str, name: str) -> list[Line]:
    """Read a script of faults.

    Raises:
        FaultError: the script is not understood.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise FaultError(f"{name}: not YAML: {error}") from None
    if not isinstance(content, dict) or set(content) != {"faults"}:
        raise FaultError(f"{name}: one key is expected, 'faults'")
    if not isinstance(content["faults"], list):
        raise FaultError(f"{name}: faults: a list is expected")
    return [_line(entry, f"{name}: faults[{at}]") for at, entry in enumerate(content["faults"])]


def _line(entry: Any, where: str) -> Line:
    if not isinstance(entry, dict):
        raise FaultError(f"{where}: a mapping is expected")
    fault = dict(entry)
    numbers: dict[str, Any] = {}
    for name in ("at", "every", "times", "tenants", "share"):
        numbers[name] = fault.pop(name, None)
        value = numbers[name]
        if value is not None and (not isinstance(value, int | float) or value < 0):
            raise FaultError(f"{where}: {name} must be a number")
    if numbers["every"] == 0:
        raise FaultError(f"{where}: every must be above 0")
    only = fault.pop("only", [])
    if not isinstance(only, list) or not all(isinstance(index, int) for index in only):
        raise FaultError(f"{where}: only must be a list of whole numbers")
    try:
        read_fault(fault, 0.0)
    except FaultError as error:
        raise FaultError(f"{where}: {error}") from None
    return Line(
        fault=fault,
        at=float(numbers["at"] or 0.0),
        every=numbers["every"],
        times=numbers["times"],
        tenants=numbers["tenants"],
        share=numbers["share"],
        only=tuple(only),
    )


def load_script(choice: str) -> list[Line]:
    """Return the script that `--faults` names: `none`, `default`, or a file.

    Raises:
        FaultError: the file cannot be read or is not understood.
    """
    if choice == "none":
        return []
    if choice == "default":
        text = (files("ingest.simulator") / "faults.yaml").read_text(encoding="utf-8")
        return read_script(text, "default")
    try:
        text = Path(choice).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FaultError(f"{choice}: cannot be read: {error}") from None
    return read_script(text, choice)


@dataclass(slots=True)
class Script:
    """A script under way."""

    lines: Sequence[Line]
    started: float
    rng: random.Random
    _due: list[tuple[float, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._due = [(self.started + line.at, at, 0) for at, line in enumerate(self.lines)]
        heapq.heapify(self._due)

    def due(self, now: float, fleet: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the tenants and faults whose time has come."""
        while self._due and self._due[0][0] <= now:
            at, index, turn = heapq.heappop(self._due)
            line = self.lines[index]
            if line.times is not None and turn >= line.times:
                continue
            if line.every is not None:
                heapq.heappush(self._due, (at + line.every, index, turn + 1))
            for tenant in line.choose(fleet, self.rng):
                yield tenant, line.fault

    def stop(self) -> None:
        """Let nothing of it happen any more."""
        self._due.clear()


class Faulty(Protocol):
    """A record that may be a fault by itself: `fault` is its kind until it was counted."""

    fault: str | None


@dataclass(slots=True)
class FaultBook:
    """How many faults of each kind were served."""

    counts: Counter[str] = field(default_factory=Counter)

    def served(self, fault: Fault) -> None:
        """Count one, and use it up."""
        self.counts[fault.kind] += 1
        if fault.left is not None:
            fault.left -= 1

    def met(self, record: Faulty) -> None:
        """Count a record that is a fault itself, the first time that it is served."""
        if record.fault is not None:
            self.counts[record.fault] += 1
            record.fault = None

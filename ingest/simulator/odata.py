"""The part of OData that `/api/alerts` documents: `$filter`, `$top`, `$skip`, `$orderby`, `$expand`."""

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from ingest.simulator.times import read_instant

TOP_MAXIMUM = 10_000
"""The documented maximum page size."""

_TIME, _TEXT, _NUMBER = "timestamp", "string", "number"

_PROPERTIES = {
    "alertCreationTime": ("alertCreationTime", _TIME),
    "lastUpdateTime": ("lastUpdateTime", _TIME),
    "lastEventTime": ("lastEventTime", _TIME),
    "incidentId": ("incidentId", _NUMBER),
    "InvestigationId": ("investigationId", _NUMBER),
    "investigationId": ("investigationId", _NUMBER),
    "id": ("id", _TEXT),
    # The documentation spells it so; both are taken.
    "asssignedTo": ("assignedTo", _TEXT),
    "assignedTo": ("assignedTo", _TEXT),
    "detectionSource": ("detectionSource", _TEXT),
    "status": ("status", _TEXT),
    "severity": ("severity", _TEXT),
    "category": ("category", _TEXT),
}

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "ge": operator.ge,
    "gt": operator.gt,
    "le": operator.le,
    "lt": operator.lt,
}

_TOKEN = re.compile(
    r"\s*(?:(?P<paren>[()])"
    r"|(?P<text>'(?:[^']|'')*')"
    r"|(?P<time>\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d))"
    r"|(?P<number>-?\d+(?:\.\d+)?)(?![\w.:-])"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*))",
    re.ASCII,
)

_DEEPEST = 32
_LONGEST_COUNT = 18

Fields = Callable[[str], Any]
"""Looks a property of one alert up: ticks for a time, None where it is absent or null."""


class ODataError(Exception):
    """The query is not one that the API answers; the message says why."""


@dataclass(frozen=True, slots=True)
class Compare:
    """One comparison of a property with a literal; times are ticks."""

    name: str
    word: str
    literal: Any

    def holds(self, fields: Fields) -> bool:
        """Tell whether an alert fits."""
        value = fields(self.name)
        if value is None or self.literal is None:
            same = value is None and self.literal is None
            return same if self.word == "eq" else self.word == "ne" and not same
        if isinstance(value, str) != isinstance(self.literal, str):
            # A record that is no alert may have any type in any place.
            return self.word == "ne"
        return _OPERATORS[self.word](value, self.literal)


@dataclass(frozen=True, slots=True)
class Every:
    """A conjunction."""

    parts: tuple["Node", ...]

    def holds(self, fields: Fields) -> bool:
        """Tell whether an alert fits."""
        return all(part.holds(fields) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Either:
    """A disjunction."""

    parts: tuple["Node", ...]

    def holds(self, fields: Fields) -> bool:
        """Tell whether an alert fits."""
        return any(part.holds(fields) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Negation:
    """A negation."""

    part: "Node"

    def holds(self, fields: Fields) -> bool:
        """Tell whether an alert fits."""
        return not self.part.holds(fields)


Node = Compare | Every | Either | Negation


@dataclass(frozen=True, slots=True)
class Query:
    """A query that was understood.

    `since` (inclusive) and `until` (exclusive) bound `lastUpdateTime` in ticks; `rest` is what else
    has to hold, None where the bounds say it all.
    """

    since: int | None = None
    until: int | None = None
    rest: Node | None = None
    top: int = TOP_MAXIMUM
    skip: int = 0
    order: tuple[str, bool] | None = None
    expand: bool = False


def read_query(query: str) -> Query:
    """Understand a raw query string.

    Raises:
        ODataError: it asks for what the API does not answer.
    """
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in options:
            raise ODataError(f"Query option '{name}' was specified more than once")
        options[name] = value
    unknown = {name for name in options if name.startswith("$")} - {
        "$filter",
        "$top",
        "$skip",
        "$orderby",
        "$expand",
    }
    if unknown:
        raise ODataError(f"The query parameter '{min(unknown)}' is not supported")
    node = read_filter(options["$filter"]) if "$filter" in options else None
    since, until, rest = _bounds(node)
    return Query(
        since=since,
        until=until,
        rest=rest,
        top=_count(options, "$top", TOP_MAXIMUM, TOP_MAXIMUM),
        skip=_count(options, "$skip", 0, None),
        order=_order(options.get("$orderby")),
        expand=_expand(options.get("$expand")),
    )


def read_filter(text: str) -> Node:
    """Parse a `$filter` expression.

    Raises:
        ODataError: a syntax error, an unknown property, or a literal of the wrong type.
    """
    tokens = list(_tokens(text))
    node, at = _either(tokens, 0, 0)
    if at != len(tokens):
        raise ODataError(f"Syntax error at '{tokens[at][1]}' in '$filter'")
    return node


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise ODataError(f"Syntax error at position {at} in '$filter'")
        yield match.lastgroup, match[match.lastgroup]
        at = match.end()


Tokens = list[tuple[str, str]]


def _either(tokens: Tokens, at: int, depth: int) -> tuple[Node, int]:
    return _chain(tokens, at, depth, "or", _every, Either)


def _every(tokens: Tokens, at: int, depth: int) -> tuple[Node, int]:
    return _chain(tokens, at, depth, "and", _single, Every)


def _chain(
    tokens: Tokens,
    at: int,
    depth: int,
    word: str,
    inner: Callable[[Tokens, int, int], tuple[Node, int]],
    join: type[Every] | type[Either],
) -> tuple[Node, int]:
    node, at = inner(tokens, at, depth)
    parts = [node]
    while at < len(tokens) and tokens[at] == ("word", word):
        node, at = inner(tokens, at + 1, depth)
        parts.append(node)
    return (parts[0] if len(parts) == 1 else join(tuple(parts))), at


def _single(tokens: Tokens, at: int, depth: int) -> tuple[Node, int]:
    if depth > _DEEPEST:
        raise ODataError("The '$filter' expression is too deep")
    if at >= len(tokens):
        raise ODataError("The '$filter' expression ends too early")
    if tokens[at] == ("word", "not"):
        node, at = _single(tokens, at + 1, depth + 1)
        return Negation(node), at
    if tokens[at] == ("paren", "("):
        node, at = _either(tokens, at + 1, depth + 1)
        if at >= len(tokens) or tokens[at] != ("paren", ")"):
            raise ODataError("A parenthesis in '$filter' is not closed")
        return node, at + 1
    return _comparison(tokens, at)


def _comparison(tokens: Tokens, at: int) -> tuple[Node, int]:
    if len(tokens) < at + 3:
        raise ODataError("The '$filter' expression ends too early")
    (kind, name), (_, word), literal = tokens[at : at + 3]
    if kind != "word" or name not in _PROPERTIES:
        raise ODataError(f"Could not find a property named '{name}' on type 'Alert'")
    if word not in _OPERATORS:
        raise ODataError(f"'{word}' is not a comparison operator")
    field, wanted = _PROPERTIES[name]
    return Compare(field, word, _literal(name, wanted, *literal)), at + 3


def _literal(name: str, wanted: str, kind: str, text: str) -> Any:
    if (kind, text) == ("word", "null"):
        return None
    if kind == "time" and wanted == _TIME:
        try:
            return read_instant(text)
        except ValueError:
            raise ODataError(f"'{text}' is not a valid DateTimeOffset") from None
    if kind == "text" and wanted == _TEXT:
        return text[1:-1].replace("''", "'")
    if kind == "number" and wanted == _NUMBER:
        return float(text) if "." in text else int(text)
    raise ODataError(f"Property '{name}' cannot be compared with '{text}': a {wanted} is needed")


def _bounds(node: Node | None) -> tuple[int | None, int | None, Node | None]:
    """Draw the bounds of `lastUpdateTime` out of a conjunction; an index answers them."""
    parts: tuple[Node, ...] = (
        () if node is None else node.parts if isinstance(node, Every) else (node,)
    )
    since: int | None = None
    until: int | None = None
    rest = []
    for part in parts:
        if (
            isinstance(part, Compare)
            and part.name == "lastUpdateTime"
            and part.literal is not None
            and part.word != "ne"
        ):
            # On whole ticks, "greater than t" is "from t + 1 on".
            ticks = part.literal
            if part.word in ("ge", "gt", "eq"):
                low = ticks + (part.word == "gt")
                since = low if since is None else max(since, low)
            if part.word in ("le", "lt", "eq"):
                high = ticks + (part.word != "lt")
                until = high if until is None else min(until, high)
        else:
            rest.append(part)
    return since, until, (Every(tuple(rest)) if rest else None)


def _count(options: Mapping[str, str], name: str, default: int, maximum: int | None) -> int:
    text = options.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= _LONGEST_COUNT):
        raise ODataError(f"Invalid value '{text}' for {name} query option found")
    if maximum is not None and int(text) > maximum:
        raise ODataError(
            f"The limit of '{maximum}' for {name[1:].capitalize()} query has been exceeded. "
            f"The value from the incoming request is '{text}'"
        )
    return int(text)


def _order(text: str | None) -> tuple[str, bool] | None:
    if text is None:
        return None
    name, _, direction = text.strip().partition(" ")
    if name not in _PROPERTIES or direction.strip() not in ("", "asc", "desc"):
        raise ODataError(f"'$orderby={text}' is not supported")
    return _PROPERTIES[name][0], direction.strip() == "desc"


def _expand(text: str | None) -> bool:
    if text not in (None, "evidence"):
        raise ODataError(f"'$expand={text}' is not supported: only evidence can be expanded")
    return text is not None

"""How a feed's state is written down: a header, and journal records of what was remembered.

The keys of one feed are `{tenant}/{feed}` and `{tenant}/{feed}/j/{number}`; the values are JSON. The last
order that was obeyed stands beside them, as `{tenant}/{feed}/o`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ingest.model.memory import Entry, Reason, Verdict

VERSION = 1
"""The version of the records; a reader that does not know one parks the tenant."""

_JOURNAL_BYTES = 200_000
"""The size at which a journal record is full: well below any broker's limit, whatever the ids are."""

_JOURNAL_PIECES = 2_000
"""Entries tried in one record: as many as fit with ids of the usual length."""


@dataclass(frozen=True, slots=True)
class Header:
    """The small record that every commit writes.

    `journals` and `checksum` (the sum of their numbers) tell whether all live journal records, and no
    others, are there, without naming each.
    """

    fast: int
    slow: int
    horizon: int
    sequence: int
    journals: int
    checksum: int


@dataclass(frozen=True, slots=True)
class Journal:
    """What one journal record says."""

    entries: Mapping[str, Entry]
    asides: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Obeyed:
    """The last order that was obeyed; versions up to `until` (ticks) may have been published before it."""

    id: str
    until: int | None = None

    def replays(self, verdict: Verdict) -> str | None:
        """Return the order for which a version may be published a second time, None where it cannot."""
        if self.until is None or verdict.reason is not Reason.NEW:
            return None
        return self.id if verdict.alert.updated <= self.until else None


def order_key(prefix: str) -> bytes:
    """Return the key of the last order that was obeyed for a feed."""
    return f"{prefix}/o".encode()


def encode_obeyed(obeyed: Obeyed) -> bytes:
    """Write which order was obeyed last."""
    document = {"v": VERSION, "id": obeyed.id, "until": obeyed.until}
    return json.dumps(document, separators=(",", ":")).encode()


def decode_obeyed(raw: bytes) -> Obeyed:
    """Read which order was obeyed last.

    Raises:
        ValueError, KeyError, TypeError: if it is not one that this version wrote.
    """
    document = _load(raw)
    until = document["until"]
    return Obeyed(_text(document["id"]), None if until is None else _whole(until))


def header_key(prefix: str) -> bytes:
    """Return the key of a feed's header."""
    return prefix.encode()


def journal_key(prefix: str, number: int) -> bytes:
    """Return the key of one journal record of a feed."""
    return f"{prefix}/j/{number}".encode()


def journal_number(prefix: str, key: bytes) -> int | None:
    """Return the number of a feed's journal record, None for any other key."""
    start = f"{prefix}/j/".encode()
    digits = key.removeprefix(start)
    return int(digits) if key.startswith(start) and digits.isdigit() else None


def encode_header(header: Header) -> bytes:
    """Write a header."""
    return json.dumps(
        {
            "v": VERSION,
            "fast": header.fast,
            "slow": header.slow,
            "horizon": header.horizon,
            "seq": header.sequence,
            "n": header.journals,
            "sum": header.checksum,
        },
        separators=(",", ":"),
    ).encode()


def decode_header(raw: bytes) -> Header:
    """Read a header.

    Raises:
        ValueError, KeyError, TypeError: if it is not one that this version wrote.
    """
    document = _load(raw)
    names = ("fast", "slow", "horizon", "seq", "n", "sum")
    return Header(*(_whole(document[name]) for name in names))


def encode_journals(
    entries: Mapping[str, Entry], asides: Mapping[int, int]
) -> Iterator[tuple[Journal, bytes]]:
    """Write what is to be remembered, as one record or as several that are not too large."""
    left, rest = list(entries.items()), list(asides.items())
    while left or rest:
        some, left = left[:_JOURNAL_PIECES], left[_JOURNAL_PIECES:]
        digests: list[tuple[int, int]] = []
        if len(some) < _JOURNAL_PIECES:
            digests, rest = rest[:_JOURNAL_PIECES], rest[_JOURNAL_PIECES:]
        yield from _written(some, digests)


def _written(
    entries: list[tuple[str, Entry]], asides: list[tuple[int, int]]
) -> Iterator[tuple[Journal, bytes]]:
    lines = [(id_, e.updated, e.digest, e.prints, int(e.resolved)) for id_, e in entries]
    raw = msgspec.json.encode({"v": VERSION, "e": lines, "q": asides})
    many = len(entries) + len(asides)
    if len(raw) <= _JOURNAL_BYTES or many == 1:
        yield Journal(dict(entries), dict(asides)), raw
        return
    # Ids may be long: halves of it fit, or halves of those.
    for part in (slice(0, many // 2), slice(many // 2, many)):
        edge = len(entries)
        yield from _written(
            entries[part], asides[max(0, part.start - edge) : max(0, part.stop - edge)]
        )


def decode_journal(raw: bytes) -> Journal:
    """Read a journal record.

    Raises:
        ValueError, KeyError, TypeError: if it is not one that this version wrote.
    """
    document = _load(raw)
    entries = {
        _text(id_): Entry(
            _whole(updated), _whole(digest), tuple(map(_whole, prints)), bool(_whole(resolved))
        )
        for id_, updated, digest, prints, resolved in document["e"]
    }
    return Journal(entries, {_whole(digest): _whole(time) for digest, time in document["q"]})


def _load(raw: bytes) -> dict[str, Any]:
    document = json.loads(raw)
    if not isinstance(document, dict) or document["v"] != VERSION:
        raise ValueError("unknown version")
    return document


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError("not a whole number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value

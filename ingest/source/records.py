"""The answer's bytes, split into records; and the content of a record as one number.

The bytes of a record are the API's own, untouched (law 5): JSON is scanned, never written anew.
"""

import json
import re
from collections.abc import Generator
from typing import Any

import msgspec
from msgspec.structs import astuple
from xxhash import xxh3_64_intdigest as fingerprint

from ingest.model.alert import Alert, Malformed
from ingest.model.instant import parse_instant
from ingest.source.salvage import salvage

_ID_BYTES = 1024
_BROKEN = (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError)
"""What decoding raises on bytes that are not the JSON that is hoped for."""

_BOM = b"\xef\xbb\xbf"


class _Body(msgspec.Struct):
    value: list[msgspec.Raw]
    next_link: Any = msgspec.field(name="@odata.nextLink", default=None)


class _Envelope(msgspec.Struct):
    next_link: Any = msgspec.field(name="@odata.nextLink", default=None)


_Elements = tuple[msgspec.Raw, ...]
"""Tuples, since the garbage collector drops those of plain values at once: it would walk the lists of all
pages that are held again and again."""


class _Lists(msgspec.Struct, gc=False):
    """The lists of an alert that the API documents or was seen to return."""

    evidence: _Elements | None = None
    techniques: _Elements | None = msgspec.field(name="mitreTechniques", default=None)
    comments: _Elements | None = None
    users: _Elements | None = msgspec.field(name="loggedOnUsers", default=None)
    files: _Elements | None = msgspec.field(name="alertFiles", default=None)
    addresses: _Elements | None = msgspec.field(name="alertIps", default=None)
    domains: _Elements | None = msgspec.field(name="alertDomains", default=None)

    def __repr__(self) -> str:
        # Its content must not come into a log (law 8).
        return type(self).__name__


class _Record(_Lists, kw_only=True, gc=False):
    """What is needed of an alert, in one pass over its bytes: its lists too, in case it is new."""

    id: str
    updated: str = msgspec.field(name="lastUpdateTime")
    created: str | None = msgspec.field(name="alertCreationTime", default=None)
    status: str | None = None


_KEYS = tuple(f'"{field.encode_name}"'.encode() for field in msgspec.structs.fields(_Lists))
_OPENING = re.compile(rb"\s*:\s*\[\s*")
_PLAIN_OPENINGS = (b":[{", b':["')
_COMMA = re.compile(rb"\s*,\s*")

_decode_body = msgspec.json.Decoder(_Body).decode
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_record = msgspec.json.Decoder(_Record).decode
_decode_lists = msgspec.json.Decoder(_Lists).decode


def split(body: bytes) -> Generator[None, None, tuple[list[msgspec.Raw], object]]:
    """Split an answer into its records, still views of it, and its `nextLink`, whatever that is.

    Yields now and then, since the slow way is long: whoever drives it can let others have their turn.

    Raises:
        ValueError: if it is not JSON of the expected form; the message holds nothing of it.
    """
    body = body.removeprefix(_BOM).strip()
    try:
        answer = _decode_body(body)
    except _BROKEN:
        pass
    else:
        return answer.value, answer.next_link
    try:
        records, envelope = yield from salvage(body)
    except ValueError:
        raise ValueError("not an object with an array of records as its value") from None
    return [msgspec.Raw(record) for record in records], _link_of(envelope)


def _link_of(envelope: bytes) -> object:
    """Return the link of an answer without its records; b"" for one that cannot be read."""
    try:
        return _decode_envelope(envelope).next_link
    except _BROKEN:
        # Whatever it is: a page that is not the last must not look as if it were.
        return b"" if b"@odata.nextLink" in envelope else None


def read(record: msgspec.Raw) -> Alert | Malformed:
    """Read one record; what cannot be understood as an alert is kept whole, with the reason."""
    digest = fingerprint(record)
    try:
        parsed = _decode_record(record)
        identity = parsed.id
        updated = parse_instant(parsed.updated)
        created = updated if parsed.created is None else parse_instant(parsed.created)
    except _BROKEN:
        return _malformed(bytes(record), digest)
    # Printable ASCII of moderate length is all that was ever seen.
    if not (identity.isascii() and identity.isprintable() and 0 < len(identity) <= _ID_BYTES):
        reason = _complaint(identity)
        if reason is not None:
            return Malformed(bytes(record), reason, digest, updated, created)
    # A view: to copy each out of its page would cost more than to read it.
    raw = memoryview(record)
    return Alert(identity, updated, created, parsed.status == "Resolved", raw, digest, parsed)


def _complaint(identity: object) -> str | None:
    """Return why an id cannot be one, None if it can."""
    if identity is None or identity == "":
        return "no_id"
    if not isinstance(identity, str):
        return "bad_id"
    try:
        size = len(identity.encode())
    except UnicodeError:
        return "bad_id"
    if size > _ID_BYTES or any(ord(c) < 32 or 127 <= ord(c) < 160 for c in identity):  # noqa: PLR2004 - C0, C1
        return "bad_id"
    return None


def _malformed(raw: bytes, digest: int) -> Alert | Malformed:
    """Find out, slowly, what is wrong with a record, and which times of it can be read."""
    try:
        # Takes halves of surrogate pairs, which Windows has in file names and the API may show.
        found = json.loads(raw)
    except _BROKEN:
        return Malformed(raw, "undecodable", digest)
    if not isinstance(found, dict):
        return Malformed(raw, "not_an_object", digest)
    updated, created = _time(found.get("lastUpdateTime")), _time(found.get("alertCreationTime"))
    reason = _complaint(found.get("id"))
    if reason is None and updated is None:
        reason = "no_time" if found.get("lastUpdateTime") in (None, "") else "bad_time"
    if reason is not None or updated is None:
        return Malformed(raw, reason or "bad_time", digest, updated, created)
    status = found.get("status")
    return Alert(found["id"], updated, created or updated, status == "Resolved", raw, digest)


def _time(value: object) -> int | None:
    try:
        return parse_instant(value) if isinstance(value, str) else None
    except ValueError:
        return None


def canonical(alert: Alert) -> int:
    """Return a 64-bit hash of an alert's content: its bytes, the order of its lists aside.

    The API returns the evidence of an alert in another order each time; the order of its keys and the
    way it writes its values are its program's, and change with its releases only. A record whose lists
    cannot be told is compared as bytes.
    """
    raw, parsed = bytes(alert.raw), alert.parsed
    try:
        return _content(raw, alert.digest, _decode_lists(raw) if parsed is None else parsed)
    except _BROKEN:
        return alert.digest


def _content(raw: bytes, digest: int, lists: _Lists) -> int:
    """Hash what stands outside the lists, and of each list its key and the sum of its elements' hashes.

    A sum has no order and counts what is there twice; nothing is copied or sorted for it.
    """
    spans: list[tuple[int, int]] = []
    sums: list[bytes] = []
    for key, elements in zip(_KEYS, astuple(lists), strict=False):
        if elements and len(elements) > 1:
            spans.append(_span(raw, key, elements))
            sums.append(b"%b%x" % (key, sum(map(fingerprint, elements))))
    if not spans:
        return digest
    spans.sort()
    pieces: list[bytes] = []
    at = 0
    for start, end in spans:
        pieces.append(raw[at:start])
        at = end
    pieces.append(raw[at:])
    return fingerprint(b"".join(pieces + sums))


def _span(raw: bytes, key: bytes, elements: tuple[msgspec.Raw, ...]) -> tuple[int, int]:
    """Return where the first element of a list begins and the last one ends.

    Raises:
        ValueError: if they do not stand one after another behind the key.
    """
    start = _behind(raw, key)
    whole = b",".join(elements)
    if raw.startswith(whole, start):
        return start, start + len(whole)
    # Whatever is written between the first two is, where a program wrote it, between all.
    between = _COMMA.match(raw, start + len(elements[0]))
    if between and raw.startswith(whole := between.group().join(elements), start):
        return start, start + len(whole)
    return start, _end(raw, elements, start)


def _behind(raw: bytes, key: bytes) -> int:
    """Return where the first element of the list behind a key begins."""
    at = -1
    while True:
        at = raw.index(key, at + 1)
        if raw.startswith(_PLAIN_OPENINGS, at + len(key)):
            return at + len(key) + 2
        opening = _OPENING.match(raw, at + len(key))
        # Otherwise it is a value that reads like the key.
        if opening is not None:
            return opening.end()


def _end(raw: bytes, items: tuple[msgspec.Raw, ...], at: int) -> int:
    """Return where a list's last element ends, with white space between them."""
    for number, item in enumerate(items):
        comma = _COMMA.match(raw, at) if number else None
        at = comma.end() if comma else at
        if not raw.startswith(item, at):
            raise ValueError("something stands between them")
        at += len(item)
    return at

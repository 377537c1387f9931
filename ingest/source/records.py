"""The answer's bytes, split into records; and the content of a record as one number.

The bytes of a record are the API's own, untouched (law 5): JSON is scanned, never written anew.
"""

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec
from xxhash import xxh3_64_intdigest as fingerprint

from ingest.model.alert import Alert, Malformed
from ingest.model.instant import parse_instant
from ingest.source.salvage import salvage

_ID_BYTES = 1024
_BROKEN = (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError)
"""What decoding raises on bytes that are not the JSON that is hoped for."""

_BOM = b"\xef\xbb\xbf"
_WITHOUT_FRACTION = 19
_MIN_DIGITS, _MAX_DIGITS = 1, 7
_SCALE: tuple[int, ...] = tuple(10 ** (_MAX_DIGITS - digits) for digits in range(_MAX_DIGITS + 1))


class _Body(msgspec.Struct):
    value: list[msgspec.Raw]
    next_link: Any = msgspec.field(name="@odata.nextLink", default=None)


class _Head(msgspec.Struct):
    id: str
    updated: str = msgspec.field(name="lastUpdateTime")
    created: str | None = msgspec.field(name="alertCreationTime", default=None)
    status: str | None = None


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_head = msgspec.json.Decoder(_Head).decode
_decode = msgspec.json.Decoder().decode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


def split(body: bytes) -> tuple[list[msgspec.Raw], object]:
    """Split an answer into its records, still views of it, and its `nextLink`, whatever that is.

    Raises:
        ValueError: if it is not JSON of the expected form; the message holds nothing of it.
    """
    body = body.removeprefix(_BOM).strip()
    try:
        answer = _decode_body(body)
    except _BROKEN:
        try:
            return [msgspec.Raw(record) for record in salvage(body)], None
        except ValueError:
            raise ValueError("not an object with an array of records as its value") from None
    return answer.value, answer.next_link


def read(record: msgspec.Raw) -> Alert | Malformed:
    """Read one record; what cannot be understood as an alert is kept whole, with the reason."""
    raw = bytes(record)
    digest = fingerprint(raw)
    try:
        head = _decode_head(raw)
        updated = _ticks(head.updated)
        created = updated if head.created is None else _ticks(head.created)
    except _BROKEN:
        return _malformed(raw, digest)
    # Printable ASCII of moderate length is all that was ever seen.
    if not (head.id.isascii() and head.id.isprintable() and 0 < len(head.id) <= _ID_BYTES):
        reason = _complaint(head.id)
        if reason is not None:
            return Malformed(raw, reason, digest, updated, created)
    return Alert(head.id, updated, created, head.status == "Resolved", raw, digest)


def _ticks(text: str) -> int:
    """Read a timestamp; most of them share their seconds with others."""
    fraction = len(text) - _WITHOUT_FRACTION - 2
    if (
        _MIN_DIGITS <= fraction <= _MAX_DIGITS
        and text[_WITHOUT_FRACTION] == "."
        and text[-1] == "Z"
        and text.isascii()
        and (digits := text[_WITHOUT_FRACTION + 1 : -1]).isdigit()
    ):
        return _whole(text[:_WITHOUT_FRACTION]) + int(digits) * _SCALE[fraction]
    return parse_instant(text)


@lru_cache(maxsize=4096)
def _whole(text: str) -> int:
    return parse_instant(text + "Z")


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


def canonical(raw: bytes) -> int:
    """Return a 64-bit hash of a record's content; the order of keys and of lists is no content.

    Records that cannot be decoded are compared as bytes.
    """
    try:
        found = _decode(raw)
        if type(found) is dict and raw.count(b"[") == sum(type(v) is list for v in found.values()):
            # No list lies deeper than the first level, as in all alerts that were ever seen.
            for key, value in found.items():
                if type(value) is list:
                    found[key] = _multiset(map(_encode_sorted, value))
            return fingerprint(_encode_sorted(found))
        return fingerprint(_encode_sorted(_settle(found)))
    except _BROKEN:
        return fingerprint(raw)


def _multiset(encoded: Iterator[bytes]) -> list[msgspec.Raw]:
    return [msgspec.Raw(one) for one in sorted(encoded)]


def _settle(value: Any) -> Any:
    if type(value) is list:
        return _multiset(_encode_sorted(_settle(one)) for one in value)
    if type(value) is dict:
        return {key: _settle(one) for key, one in value.items()}
    return value

"""A tenant's status as it stands in the tenant-status topic: how it is written, and how it is to be read.

Whoever owns a tenant renews its status; one that nobody renews is the word of somebody who is gone. So
a reader takes it through `seen`, which shows it as unread after a while, and never as the last good word.
"""

from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from ingest.errors import StatusUnreadable
from ingest.model.instant import format_instant, from_unix, parse_instant, to_unix
from ingest.model.roster import Registration, Standing
from ingest.model.status import FeedStatus, Poll, State, Transition, instant_text, told

VERSION = 1
"""The version of the records; any other is shown as unreadable."""

RENEW_SECONDS = 60.0
"""How often a status is written though nothing happened."""

FRESH_SECONDS = 3 * RENEW_SECONDS
"""After so long without a renewal a status is the word of somebody who is gone."""

PENDING, UNREAD, UNREADABLE, REMOVED = "pending", "unread", "unreadable", "removed"
"""What a reader shows beside the states that a feed itself can be in."""

_Kind = TypeVar("_Kind", Transition, Poll)

AWAITING_APPROVAL = "awaiting-approval"
"""Somebody consented whom nobody invited: a standing of its own, and shown as a state like the others."""


@dataclass(frozen=True, slots=True)
class Report:
    """One status as it was written; times are Unix seconds.

    `replica` is who wrote it, and `fresh_until` when it is to be believed no more. `value` is the record, of
    which the rest is read when it is asked for: a page of ten thousand tenants asks for none of it.
    """

    tenant: str
    state: str
    code: str
    reason: str
    must_act: str
    since: float
    fresh_at: float | None
    watermark: float | None
    replica: str
    fresh_until: float
    value: bytes = field(default=b"{}", repr=False, compare=False)

    @property
    def document(self) -> dict[str, Any]:
        """The whole record, read anew each time; nothing where what is beside the above is damaged."""
        try:
            found = msgspec.json.decode(self.value)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def instant(self, name: str) -> float | None:
        """Return one of the record's other times; None where it has none that can be read."""
        said = self.document.get(name)
        try:
            return None if said is None else _unix(said)
        except (ValueError, TypeError):
            return None

    @property
    def transitions(self) -> tuple[Transition, ...]:
        """The states that were entered last, oldest first; records of older versions have none."""
        return _several(self.document.get("transitions"), Transition)

    @property
    def polls(self) -> tuple[Poll, ...]:
        """The readings that ended last, oldest first."""
        return _several(self.document.get("polls"), Poll)

    @property
    def calls_left(self) -> int | None:
        """How many calls the owner could make at once; None where it does not say."""
        left = self.document.get("calls_left")
        return left if isinstance(left, int) else None


@dataclass(frozen=True, slots=True)
class Seen:
    """How a registered tenant is doing, as a reader is to show it; times are Unix seconds."""

    registration: Registration
    state: str
    reason: str
    must_act: str
    since: float | None = None
    code: str = ""
    fresh_at: float | None = None
    report: Report | None = None


class _Head(msgspec.Struct):
    """What is read of every record; to read the rest too takes five times as long."""

    v: int
    state: str
    code: str
    reason: str
    must_act: str
    since: str
    replica: str
    fresh_until: str
    fresh_at: str | None = None
    watermark: str | None = None


_HEAD = msgspec.json.Decoder(_Head)


def encode_report(status: FeedStatus, *, replica: str, now: float) -> bytes:
    """Write a record's value; its key is the tenant's GUID."""
    document = {
        "v": VERSION,
        **told(status),
        "replica": replica,
        "fresh_until": instant_text(now + FRESH_SECONDS),
    }
    return msgspec.json.encode(document)


def decode_report(key: bytes, value: bytes) -> Report:
    """Read a record.

    Raises:
        StatusUnreadable: it is damaged, or of another version; nothing is guessed.
    """
    try:
        head = _head(value)
        return Report(
            tenant=key.decode(),
            state=head.state,
            code=head.code,
            reason=head.reason,
            must_act=head.must_act,
            since=_unix(head.since),
            fresh_at=None if head.fresh_at is None else _unix(head.fresh_at),
            watermark=None if head.watermark is None else _unix(head.watermark),
            replica=head.replica,
            fresh_until=_unix(head.fresh_until),
            value=value,
        )
    except (ValueError, RecursionError) as error:
        raise StatusUnreadable(
            f"the status of tenant {key[:64].decode(errors='replace')} is damaged or of another version: "
            "list with the version that runs; its next renewal mends it"
        ) from error


def seen(registration: Registration, status: Report | StatusUnreadable | None, now: float) -> Seen:
    """Return what to show of a registered tenant at `now`, given what its status says, if anything.

    Who is not to be read is so by its registration, whatever was said before.
    """
    if registration.standing is not Standing.ACTIVE:
        why = f": {registration.why}" if registration.why else ""
        return Seen(
            registration=registration,
            state=str(registration.standing),
            reason=f"{registration.standing} by {registration.by}{why}",
            must_act="us",
            since=registration.at,
        )
    if isinstance(status, StatusUnreadable):
        return Seen(registration, UNREADABLE, str(status), "us")
    if status is None or (status.state == State.PAUSED and status.fresh_until >= now):
        # A word of its pause that stands for moments more says nothing of its being read.
        words = "not read yet: no replica has reported on it since it was registered so"
        return Seen(registration, PENDING, words, "nobody", since=registration.at)
    if status.fresh_until < now:
        return _unread(registration, status)
    return Seen(
        registration=registration,
        state=status.state,
        reason=status.reason,
        must_act=status.must_act,
        since=status.since,
        code=status.code,
        fresh_at=status.fresh_at,
        report=status,
    )


def _unread(registration: Registration, status: Report) -> Seen:
    """Show a status that nobody renewed: what it said last is not known to hold (law 7)."""
    renewed = format_instant(from_unix(status.fresh_until - FRESH_SECONDS))[:19]
    if status.fresh_at is None:
        words = "never read to the end"
    else:
        words = f"unread since {format_instant(from_unix(status.fresh_at))[:19]}Z"
    return Seen(
        registration=registration,
        state=UNREAD,
        reason=f"{words}: no replica has reported on it since {renewed}Z; see that the daemon runs",
        must_act="us",
        since=status.fresh_at,
        fresh_at=status.fresh_at,
        report=status,
    )


def _head(value: bytes) -> _Head:
    head = _HEAD.decode(value)
    if head.v != VERSION:
        raise ValueError("of another version")
    return head


def _several(items: object, kind: type[_Kind]) -> tuple[_Kind, ...]:
    """Return what a list of the record holds, without what cannot be read: it is only shown."""
    found = []
    for item in items if isinstance(items, list) else ():
        try:
            found.append(kind(**{**item, "at": _unix(item["at"])}))
        except (LookupError, ValueError, TypeError):
            continue
    return tuple(found)


def _unix(text: object) -> float:
    if not isinstance(text, str):
        raise TypeError("not a text")
    return to_unix(parse_instant(text))

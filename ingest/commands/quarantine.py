"""`defender-ingest quarantine`: what was set aside and why, its bytes, and a second try.

A second try asks the API anew, through whoever reads the tenant: stored bytes are never published.
"""

import argparse
import asyncio
import base64
import json
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from ingest.commands.acts import Acts
from ingest.commands.desk import open_desk
from ingest.commands.table import table, terminal_width
from ingest.errors import CommandRefused
from ingest.model.enrolment import Signature, to_order
from ingest.model.instant import format_instant, from_unix
from ingest.model.roster import Order, OrderKind
from ingest.runtime.whoami import whoami
from ingest.settings.models import Settings
from ingest.sink.connection import Connection
from ingest.sink.layout import TopicNames
from ingest.sink.quarantine import SetAside, read_quarantine

_HEADER = ("ID", "SET ASIDE", "TENANT", "REASON", "BYTES", "PARTS", "ALERT")
_SPARE = tuple(map(_HEADER.index, ("PARTS", "BYTES")))
_LONGEST_ID = 1024


def perform(
    arguments: argparse.Namespace, settings: Settings, *, say: Callable[[str], None]
) -> int:
    """Do what was asked for; return the exit code.

    Raises:
        IngestError: it cannot be done; the message says why.
    """
    return asyncio.run(_Acts(settings, arguments, say).perform())


class _Acts(Acts):
    async def perform(self) -> int:
        """Do the act; return the exit code."""
        match self._words.act:
            case "list":
                return await self._list()
            case "show":
                self._show(await self._wanted())
                return 0
            case _:
                return await self._retry(await self._wanted())

    async def _list(self) -> int:
        words = self._words
        found = [
            one
            for one in await self._read(lambda _: False)
            if self._is_of_tenant(one) and (not words.reason or one.reason == words.reason)
        ]
        if words.json:
            for one in found:
                self._say(json.dumps(_document(one), ensure_ascii=False))
            return 0
        if found:
            rows = [_row(one) for one in found]
            for line in table(_HEADER, rows, terminal_width(), spare=_SPARE):
                self._say(line)
        self._say(_count(found))
        return 0

    def _show(self, one: SetAside) -> None:
        raw = one.raw or b""
        if self._words.json:
            document = _document(one) | _content(raw)
            self._say(json.dumps(document, ensure_ascii=False))
            return
        if not one.is_whole:
            print(f"defender-ingest: {_lacks(one)}", file=sys.stderr)  # noqa: T201 - a warning
        if sys.stdout.isatty():
            # What somebody else wrote must not move the cursor.
            self._say("".join(_harmless(raw.decode(errors="replace"))))
            return
        sys.stdout.flush()
        sys.stdout.buffer.write(raw)

    async def _retry(self, one: SetAside) -> int:
        words = self._words
        alert = one.alert or _id_in(one.raw or b"")
        if alert is None:
            since = (one.time or format_instant(from_unix(one.at)))[:19]
            raise CommandRefused(
                f"{one.id}: has no id that the API could be asked for ({one.reason}); once Microsoft has "
                "mended it, it is read by itself. To read all of the tenant again from its time on: "
                f"`defender-ingest tenants rewind {one.tenant} --since {since}Z`"
            )
        order = Order(uuid.uuid4().hex, OrderKind.REFETCH, alert=alert)
        why = words.why or f"second try of {one.id} in quarantine"
        signature = Signature(by=words.by or whoami(), at=self._clock.unix(), why=why)
        kafka = self._settings.kafka
        async with open_desk(kafka, make_topics=False, clock=self._clock, log=self._log) as desk:
            known = desk.roster.get(one.tenant)
            if known is None:
                raise CommandRefused(f"tenant {one.name} ({one.tenant}) is not registered any more")
            await desk.write([to_order(known, order, signature)])
        self._say(
            f"{one.name} ({one.tenant}): alert {alert} is asked for anew, once, by whoever reads it"
        )
        self._say(
            f"published, it has the header ce_replay={order.id}; the log says `refetched`, or "
            "`order_given_up` and why. Until then another order for this tenant would replace this one"
        )
        return 0

    async def _wanted(self) -> SetAside:
        """Return the record that is meant, with its bytes; of the same bytes, the newest."""
        wanted = self._words.id

        def is_it(one: SetAside) -> bool:
            return one.id == wanted and self._is_of_tenant(one)

        found = [one for one in await self._read(is_it) if is_it(one)]
        tenants = {one.tenant for one in found}
        if len(tenants) > 1:
            those = ", ".join(sorted(tenants))
            raise CommandRefused(
                f"{wanted}: is there of more than one tenant: say --tenant, one of {those}"
            )
        if not found:
            raise CommandRefused(
                f"{wanted}: is not in quarantine; `defender-ingest quarantine list` shows what is"
            )
        return found[-1]

    def _is_of_tenant(self, one: SetAside) -> bool:
        meant = self._words.tenant
        return meant is None or meant.casefold() in (one.tenant, one.name.casefold())

    async def _read(self, keep: Callable[[SetAside], bool]) -> list[SetAside]:
        kafka = self._settings.kafka
        connection = Connection(settings=kafka, client_id="defender-ingest-quarantine")
        return await read_quarantine(connection, TopicNames.of(kafka).quarantine, keep=keep)


def _row(one: SetAside) -> tuple[str, ...]:
    at = format_instant(from_unix(one.at))
    parts = str(one.parts) if one.is_whole else f"{one.parts} of {one.expected_parts}"
    when = f"{at[:10]} {at[11:19]}Z"
    return (one.id, when, one.name, one.reason, str(one.size), parts, one.alert or "")


def _count(found: list[SetAside]) -> str:
    words = f"{len(found)} record{'' if len(found) == 1 else 's'}"
    if not found:
        return words
    reasons = Counter(one.reason for one in found).most_common()
    tenants = len({one.tenant for one in found})
    told = ", ".join(f"{count} {reason}" for reason, count in reasons)
    return f"{words} of {tenants} tenant{'' if tenants == 1 else 's'}: {told}"


def _document(one: SetAside) -> dict[str, Any]:
    return {
        "id": one.id,
        "tenant": one.tenant,
        "name": one.name,
        "feed": one.feed,
        "reason": one.reason,
        "alert": one.alert,
        "time": one.time,
        "at": format_instant(from_unix(one.at)),
        "bytes": one.size,
        "parts": one.parts,
        "expected_parts": one.expected_parts,
        "partition": one.partition,
        "offset": one.offset,
    }


def _content(raw: bytes) -> dict[str, str]:
    try:
        return {"text": raw.decode()}
    except UnicodeError:
        return {"base64": base64.b64encode(raw).decode()}


def _lacks(one: SetAside) -> str:
    return (
        f"{one.id}: {one.parts} of {one.expected_parts} parts are there; the others are deleted already "
        "(kafka.retention_hours)"
    )


def _harmless(text: str) -> Iterator[str]:
    return (
        letter if letter.isprintable() or letter in "\n\t" else "\N{REPLACEMENT CHARACTER}"
        for letter in text
    )


def _id_in(raw: bytes) -> str | None:
    """Return the id in bytes that are no alert otherwise."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    identity = found.get("id") if isinstance(found, dict) else None
    if isinstance(identity, str) and identity.isprintable() and 0 < len(identity) <= _LONGEST_ID:
        return identity
    return None

"""An alert API in memory that can be as hostile as the real one might be; its time is ticks.

An alert is a row of versions; the API shows the newest that is visible, and nothing else. A quirk is a
way in which an answer may mislead; quirks compose, and the default ones are those of a calm API.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import blake2b

from ingest.errors import AnswerTooLarge, QueryRefused
from ingest.model.alert import Alert, Malformed
from ingest.model.box import Ask
from ingest.model.instant import TICKS
from ingest.model.tenant import Tenant
from ingest.pipeline.ports import Page


@dataclass(frozen=True)
class Quirks:
    """How the API misleads.

    `order`: ascending, ignored (by id), descending, random (anew for each answer), mixed.
    `cap`: records in an answer, whatever was asked for; `hides` says which ones are left out: those
    that come last, the newest, the oldest, or random ones.
    `links`: absent, honest, looping (to the same page), empty (to nothing), foreign (never given).
    `skip`: honoured, ignored, refused; `ceiling` is a `$skip` beyond which it is refused.
    `literals`: the API truncates the times of a filter to this many ticks.
    `skew`: how far its `Date` runs ahead of true time.
    `shuffles`: the lists in a record come in another order in each answer.
    """

    order: str = "ascending"
    cap: int | None = None
    hides: str = "last"
    links: str = "absent"
    skip: str = "honoured"
    ceiling: int | None = None
    creation_filter: bool = True
    literals: int = 1
    skew: int = 0
    shuffles: bool = False


@dataclass(frozen=True)
class Version:
    """One state of an alert, and the true time from which the API shows it."""

    id: str
    number: int
    updated: int
    created: int
    visible: int
    resolved: bool = False
    broken: bool = False

    @property
    def content(self) -> tuple[str, int]:
        return self.id, self.number


class Refused(Exception):
    """The API does not answer this question (HTTP 400)."""


class Vendor:
    """Answers at `now`, a true time that only the one who calls moves on."""

    def __init__(
        self, versions: Iterable[Version], quirks: Quirks, *, now: int, rng: random.Random
    ) -> None:
        self.now = now
        self.quirks = quirks
        self.dates: list[int] = []
        self._rng = rng
        self._coming = sorted(versions, key=lambda v: (v.visible, v.number), reverse=True)
        self._shown: dict[str, Version] = {}

    def pass_time(self, ticks: int) -> None:
        self.now += ticks

    def show(self, version: Version) -> None:
        """Show a version from now on, whatever it says, in place of its alert's former one."""
        self._shown[version.id] = version

    def visible(self) -> Sequence[Version]:
        while self._coming and self._coming[-1].visible <= self.now:
            version = self._coming.pop()
            self._shown[version.id] = version
        return list(self._shown.values())

    def answer(self, ask: Ask) -> Page:
        """Answer a question.

        Raises:
            Refused: where a quirk says so.
        """
        quirks = self.quirks
        box = ask.box
        by_creation = box.created_from is not None or box.created_to is not None
        if by_creation and not quirks.creation_filter:
            raise Refused("alertCreationTime")
        skip = ask.skip if ask.link is None else int(ask.link)
        if skip and (
            quirks.skip == "refused" or (quirks.ceiling is not None and skip > quirks.ceiling)
        ):
            raise Refused("$skip")
        if quirks.skip == "ignored" and ask.link is None:
            skip = 0
        rows = self._ordered([v for v in self.visible() if self._inside(v, ask)])
        shown = self._capped(rows[skip : skip + ask.top])
        date = self._date()
        self.dates.append(date)
        return Page(
            records=tuple(map(self._record, shown)),
            server_time=date,
            next_link=self._link(skip, len(shown), len(rows)),
            body_bytes=0,
            linked=quirks.links != "absent" and bool(shown),
        )

    def _inside(self, version: Version, ask: Ask) -> bool:
        if ask.unfiltered:
            return True
        if ask.alert is not None:
            return version.id == ask.alert
        box = ask.box
        return (
            version.updated >= self._literal(box.updated_from)
            and (box.updated_to is None or version.updated < self._literal(box.updated_to))
            and (box.created_from is None or version.created >= self._literal(box.created_from))
            and (box.created_to is None or version.created < self._literal(box.created_to))
        )

    def _literal(self, ticks: int) -> int:
        return ticks // self.quirks.literals * self.quirks.literals

    def _date(self) -> int:
        """Return what the header `Date` says: whole seconds, by a clock of its own."""
        return (self.now + self.quirks.skew) // TICKS * TICKS

    def _ordered(self, rows: list[Version]) -> list[Version]:
        order = self.quirks.order
        if order == "mixed":
            order = self._rng.choice(["ascending", "ignored", "descending", "random"])
        if order == "random":
            self._rng.shuffle(rows)
            return rows
        if order == "ignored":
            return sorted(rows, key=lambda v: v.id[::-1])
        return sorted(rows, key=lambda v: (v.updated, v.id), reverse=order == "descending")

    def _capped(self, rows: list[Version]) -> list[Version]:
        cap = self.quirks.cap
        if cap is None or len(rows) <= cap:
            return rows
        if self.quirks.hides == "random":
            return self._rng.sample(rows, cap)
        if self.quirks.hides == "last":
            return rows[:cap]
        by_age = sorted(rows, key=lambda v: v.updated, reverse=self.quirks.hides == "oldest")
        return by_age[:cap]

    def _link(self, skip: int, shown: int, rows: int) -> str | None:
        match self.quirks.links:
            case "honest" if skip + shown < rows:
                return str(skip + shown)
            case "looping" if shown:
                return str(skip)
            case "empty" if shown:
                return str(10**9)
            case _:
                return None

    def _record(self, version: Version) -> Alert | Malformed:
        evidence = list(range(version.number % 4))
        if self.quirks.shuffles:
            self._rng.shuffle(evidence)
        raw = json.dumps([version.id, version.number, version.updated, evidence]).encode()
        if version.broken:
            return Malformed(raw, "bad_id", digest(raw), version.updated, version.created)
        return Alert(
            version.id, version.updated, version.created, version.resolved, raw, digest(raw)
        )


class VendorSource:
    """The vendor behind the pipeline's port; `trouble` may raise before a question is answered.

    Args:
        pace: moves the vendor's time on before each answer.
        largest: records in an answer beyond which it is too large, if there is a bound.
    """

    def __init__(
        self,
        vendor: Vendor,
        *,
        pace: Callable[[], None] = lambda: None,
        trouble: Callable[[Ask], None] = lambda _: None,
        largest: int | None = None,
    ) -> None:
        self.vendor = vendor
        self.trouble = trouble
        self.asks: list[Ask] = []
        self.begun: list[tuple[int, float]] = []
        self.overlapping = 0
        self._pace = pace
        self._largest = largest
        self._open = 0

    def begin(self, tenant: Tenant, *, tenure: int, granted: float) -> None:
        self.begun.append((tenure, granted))

    async def prepare(self, tenant: Tenant, *, due: float) -> None:
        await asyncio.sleep(0)

    def calls_left(self, tenant: Tenant) -> int | None:
        return None

    @asynccontextmanager
    async def fetch(self, tenant: Tenant, ask: Ask) -> AsyncIterator[Page]:
        self._open += 1
        self.overlapping += self._open > 1
        try:
            await asyncio.sleep(0)
            self._pace()
            self.asks.append(ask)
            self.trouble(ask)
            yield self._page(ask)
        finally:
            self._open -= 1

    def _page(self, ask: Ask) -> Page:
        try:
            page = self.vendor.answer(ask)
        except Refused:
            raise QueryRefused("refused", reason="http_400") from None
        if self._largest is not None and len(page.records) > self._largest:
            raise AnswerTooLarge("too large", reason="too_large")
        return page

    def canonical(self, alert: Alert) -> int:
        return canonical(alert)


def digest(raw: bytes) -> int:
    return int.from_bytes(blake2b(raw, digest_size=8).digest(), "big")


def content_of(raw: bytes) -> tuple[str, int]:
    id_, number, _, _ = json.loads(raw)
    return id_, number


def canonical(alert: Alert) -> int:
    return digest(repr(content_of(alert.raw)).encode())

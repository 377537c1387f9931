"""Reads a world with the real state and the real sweep, crashes on the way, and holds it to the laws.

It is the poller without its I/O: judge, commit, apply, advance. Each part can be exchanged, so that
tests can see what the laws say of a broken one.
"""

from collections.abc import Iterable, Mapping

from ingest.model.box import Answer, Ask, Box, ceiling, floor
from ingest.model.checkpoint import FeedState, Step
from ingest.model.memory import Judgement
from ingest.model.sweep import Sweep, Yardstick
from ingest.model.tenant import FeedKey
from ingest.model.window import Reach, Tier
from ingest.pipeline.ports import Page
from tests.fakes.vendor import Refused, Vendor, Version, canonical, content_of
from tests.property.worlds import BEGIN, MINUTE, REACH, SECOND, SPAN, World

FEED = FeedKey("11111111-1111-1111-1111-111111111111")
TOP = 12
HANDFUL = 4
QUIET = 90 * MINUTE

_FIRST = Ask(Box(BEGIN), top=1)


class Crash(Exception):
    """The process is gone, with all that it knew."""


class Findings:
    """What a consumer of the topics sees, and what the laws say of it."""

    def __init__(self, versions: Iterable[Version]) -> None:
        self.seen: set[tuple[str, int]] = set()
        self.set_aside: list[bytes] = []
        self.doubled: list[tuple[str, int]] = []
        self.disordered: list[str] = []
        self.lost: list[Version] = []
        self.ahead: list[int] = []
        self.doubts: list[Box] = []
        self.calls: list[int] = []
        self._newest: dict[str, int] = {}
        self._until: dict[tuple[str, int], int] = {}
        self._versions = list(versions)
        following: dict[str, int] = {}
        for version in sorted(self._versions, key=lambda v: -v.number):
            self._until[version.content] = following.get(version.id, 1 << 62)
            following[version.id] = version.visible

    def publish(self, judgement: Judgement) -> None:
        for verdict in judgement.published:
            content = content_of(verdict.alert.raw)
            if content in self.seen:
                self.doubled.append(content)
            self.seen.add(content)
            alert = verdict.alert
            if alert.updated < self._newest.get(alert.id, alert.updated):
                self.disordered.append(alert.id)
            self._newest[alert.id] = alert.updated
        for item in judgement.quarantined:
            content = content_of(item.record.raw)
            if content in self.seen:
                self.doubled.append(content)
            self.seen.add(content)

    def shown(self, began: int, ended: int) -> list[Version]:
        """Return the versions that the API showed from `began` to `ended`."""
        return [v for v in self._versions if v.visible <= began and self._until[v.content] > ended]

    def expect(self, versions: Iterable[Version]) -> None:
        """Note as lost what is not published, nor in a box that was passed in doubt."""
        self.lost += [
            v
            for v in versions
            if v.content not in self.seen and not any(holds(box, v) for box in self.doubts)
        ]

    @property
    def broken_laws(self) -> Mapping[str, list]:
        laws = {
            "lost": self.lost,
            "doubled": self.doubled,
            "disordered": self.disordered,
            "ahead": self.ahead,
        }
        return {name: what for name, what in laws.items() if what}


class Reader:
    """One daemon after another, reading one world."""

    state_class = FeedState
    sweep_class = Sweep

    def __init__(self, world: World, *, reach: Reach = REACH) -> None:
        versions = world.versions()
        self.world = world
        self.vendor = Vendor(versions, world.quirks, now=BEGIN, rng=world.rng("vendor"))
        self.findings = Findings(versions)
        self.committed: dict[bytes, bytes] = {}
        self.reach = reach
        self.received = self.decided = self.crashes = 0
        self._rng = world.rng("reader")
        self._crash_rate = world.crashes
        self._state: FeedState | None = None
        self._yardstick = Yardstick()

    def run(self) -> Findings:
        """Read until nothing moves any more, then once more with nothing in the way."""
        while self.vendor.now < BEGIN + SPAN + QUIET:
            self.turn(Tier.FAST)
            if self._rng.random() < 0.4:
                self.turn(Tier.SLOW)
            self.vendor.pass_time(self._rng.randrange(MINUTE, 12 * MINUTE))
        self._crash_rate = 0.0
        for tier in (Tier.FAST, Tier.SLOW):
            self.turn(tier)
        now = self.vendor.now
        self.findings.expect(v for v in self.findings.shown(now, now) if v.updated <= now)
        return self.findings

    @property
    def state(self) -> FeedState:
        """What the last daemon knew."""
        return self._state

    def turn(self, tier: Tier) -> None:
        try:
            self._read(tier)
        except Crash:
            self.crashes += 1
            self._state = None
            self._yardstick = Yardstick()
            self.vendor.pass_time(self._rng.randrange(5 * MINUTE))

    def local(self) -> int:
        return self.vendor.now + self.world.local_skew

    def server_time(self, page: Page) -> int:
        return page.server_time

    def _read(self, tier: Tier) -> None:
        if self._state is None:
            self._restore()
        start = self._state.window(tier, self.reach)
        sweep = type("Watched", (Watched, self.sweep_class), {})(
            start=start,
            now=self.local(),
            top=TOP,
            slow=tier is Tier.SLOW,
            yardstick=self._yardstick,
            handful=HANDFUL,
        )
        began = self.vendor.now
        while (ask := sweep.next()) is not None:
            self._may_crash()
            self.vendor.pass_time(self._rng.randrange(SECOND // 5, 2 * SECOND))
            try:
                page = self.vendor.answer(ask)
            except Refused:
                assert sweep.refused(), "a question was refused that was never asked differently"
                continue
            self._offer(page, sweep, tier)
            records = [(r.updated, r.created, r.digest) for r in page.records]
            sweep.answered(
                Answer(records, page.next_link, self.server_time(page), linked=page.linked)
            )
        self.findings.doubts += sweep.passed
        self.findings.calls.append(sweep.calls)
        self._yardstick = sweep.yardstick
        self._commit(None, self._step(None, sweep, tier, sweep.now))
        self.findings.expect(
            v
            for v in self.findings.shown(began, self.vendor.now)
            if start <= v.updated < sweep.watermark
        )
        assert self.state_class.decode(FEED, self.committed) == self._state

    def _offer(self, page: Page, sweep: Sweep, tier: Tier) -> None:
        now = self.server_time(page)
        judgement = self._state.judge(
            page.records, now=now, canonical=canonical, rejected={}, reach=self.reach
        )
        self.received += len(page.records)
        self.decided += len(judgement.published) + len(judgement.quarantined)
        self.decided += judgement.duplicates + judgement.stale
        if judgement.changes:
            self._commit(judgement, self._step(judgement, sweep, tier, now))

    def _step(self, judgement: Judgement | None, sweep: Sweep, tier: Tier, now: int) -> Step:
        reached = {str(tier): sweep.watermark}
        return self._state.advance(judgement, reach=self.reach, now=now, **reached)

    def _commit(self, judgement: Judgement | None, step: Step) -> None:
        self._may_crash()
        self.write(judgement, step)
        self._may_crash()
        self._state.apply(step)
        newest = max(self.vendor.dates)
        if max(self._state.fast, self._state.slow) > newest:
            self.findings.ahead.append(newest)

    def write(self, judgement: Judgement | None, step: Step) -> None:
        """Commit: all of it or nothing."""
        if judgement is not None:
            self.findings.publish(judgement)
        self.write_checkpoint(step)

    def write_checkpoint(self, step: Step) -> None:
        for key, value in step.records.items():
            if value is None:
                del self.committed[key]
            else:
                self.committed[key] = value

    def _restore(self) -> None:
        if self.committed:
            self._state = self.state_class.decode(FEED, self.committed)
        else:
            page = self.vendor.answer(_FIRST)
            now = min(self.local(), self.server_time(page))
            self._state = self.state_class.first(FEED, now=now, reach=self.reach)

    def _may_crash(self) -> None:
        if self._rng.random() < self._crash_rate:
            raise Crash


class Watched:
    """A sweep that tells which boxes it passed in doubt."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.passed: list[Box] = []

    def _doubt(self) -> None:
        self.passed.append(self._stack[-1].box)
        super()._doubt()


def holds(box: Box, version: Version) -> bool:
    """Tell whether a doubt about a box is one about a version: doubts count by whole seconds.

    Where a box is cut within a second, an API that truncates filters shows its records in one part only.
    """
    spans = (
        (box.updated_from, version.updated, box.updated_to),
        (box.created_from, version.created, box.created_to),
    )
    return all(
        (lower is None or floor(lower) <= time) and (upper is None or time < ceiling(upper))
        for lower, time, upper in spans
    )

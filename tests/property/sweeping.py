"""A machine of sweeps, one after another, over alerts that come and change between any two questions."""

import random
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ingest.model.box import Answer, Box
from ingest.model.sweep import Sweep, Yardstick
from ingest.model.window import Tier
from tests.fakes.vendor import Quirks, Refused, Vendor, Version, content_of
from tests.property.reader import Watched, holds
from tests.property.worlds import BEGIN, HOUR, MINUTE, REACH, SECOND, hostile

HANDFUL = 4
TOP = 12
CAPS = (None, 5, 6, 9)

AGES = st.sampled_from([0, SECOND, MINUTE]) | st.integers(0, HOUR)
COUNTS = st.integers(1, 3) | st.integers(4, 30)
ORDERS = st.sampled_from(["ascending", "ignored", "descending", "random"])
QUIRKS = hostile(CAPS) | st.builds(Quirks, order=ORDERS, cap=st.sampled_from(CAPS))
"""Where little is amiss, more of it shows."""


class Sweeping(RuleBasedStateMachine):
    """The real sweep. What a tier may rely on is what it was offered, in this sweep or before."""

    sweep_class = Sweep

    @initialize(
        quirks=QUIRKS,
        seed=st.integers(0, 1 << 32),
        groups=st.lists(st.tuples(COUNTS, AGES, st.booleans()), max_size=4),
    )
    def start(self, quirks: Quirks, seed, groups):
        self.rng = random.Random(seed)
        self.vendor = Vendor([], quirks, now=BEGIN, rng=self.rng)
        self.since: dict[Version, int] = {}
        self.offered: set[tuple[str, int]] = set()
        self.doubts: list[Box] = []
        self.marks = dict.fromkeys(Tier, BEGIN - HOUR)
        self.yardstick = Yardstick()
        self.questions = 0
        for group in groups:
            self.appear(*group)
        self.begin(Tier.FAST, 0)

    @rule(tier=st.sampled_from(Tier), local_skew=st.sampled_from([0, HOUR, -MINUTE]))
    def begin(self, tier, local_skew):
        """Begin a sweep; one that is under way is given up, and what it reached stays reached."""
        self.tier = tier
        self.first = REACH.start(tier, fast=self.marks[Tier.FAST], slow=self.marks[Tier.SLOW])
        self.sweep = type("Seen", (Watched, self.sweep_class), {})(
            start=self.first,
            now=self.vendor.now + local_skew,
            top=TOP,
            slow=tier is Tier.SLOW,
            yardstick=self.yardstick,
            handful=HANDFUL,
        )
        self.began = self.questions
        self.reached = self.sweep.watermark

    @precondition(lambda self: not self.sweep.done)
    @rule(questions=st.integers(1, 3) | st.integers(1, 100))
    def ask(self, questions):
        for _ in range(questions):
            ask = self.sweep.next()
            if ask is None:
                break
            self.questions += 1
            try:
                page = self.vendor.answer(ask)
            except Refused:
                assert self.sweep.refused()
                self._conclude()
                continue
            seen = [(record.updated, record.created, record.digest) for record in page.records]
            self.offered |= {content_of(record.raw) for record in page.records}
            self.sweep.answered(Answer(seen, page.next_link, page.server_time, linked=page.linked))
            self._conclude()

    @precondition(lambda self: not self.sweep.done)
    @rule(hopeless=st.booleans())
    def get_no_answer(self, hopeless):
        """The answer is too large, or never comes."""
        ask, doubts = self.sweep.next(), self.sweep.doubts
        if ask.skip and hopeless:
            self.sweep.hopeless()
        else:
            self.sweep.too_large()
        if self.sweep.doubts > doubts:
            # One record that cannot be read is passed without its box.
            self.doubts.append(ask.box)
        self._conclude()

    @rule(count=COUNTS, age=AGES, tied=st.booleans())
    def appear(self, count, age, tied):
        """Alerts appear, new or late; `tied` ones were changed at one instant."""
        newest = self.vendor.now - age
        for _ in range(count):
            updated = newest - (0 if tied else self.rng.randrange(MINUTE))
            created = updated - self.rng.choice([0, SECOND, self.rng.randrange(HOUR)])
            self._show(Version(f"a{len(self.since)}", 0, updated, created, 0))

    @rule(count=st.integers(1, 5))
    def change(self, count):
        """Alerts change, and so leave the boxes in which they were."""
        visible = self.vendor.visible()
        for version in self.rng.sample(visible, min(count, len(visible))):
            self._show(replace(version, number=version.number + 1, updated=self.vendor.now))

    @rule(
        order=ORDERS,
        hides=st.sampled_from(["last", "newest", "oldest", "random"]),
        links=st.sampled_from(["absent", "honest", "looping", "empty", "foreign"]),
    )
    def answer_otherwise(self, order, hides, links):
        self.vendor.quirks = replace(self.vendor.quirks, order=order, hides=hides, links=links)

    @rule(ticks=st.sampled_from([SECOND // 3, SECOND, MINUTE, 20 * MINUTE]))
    def pass_time(self, ticks):
        self.vendor.pass_time(ticks)

    @invariant()
    def no_watermark_passes_what_was_not_offered(self):
        passed = self.sweep.watermark
        for version in self.vendor.visible():
            if self.first <= version.updated < passed and self.since[version] <= self.began:
                known = (version.id, version.number) in self.offered
                assert known or any(holds(box, version) for box in self.doubts), version

    @invariant()
    def no_watermark_goes_back_nor_beyond_the_apis_time(self):
        passed = self.sweep.watermark
        assert passed >= self.reached
        assert passed <= max([self.first, *self.vendor.dates])
        self.reached = passed
        self.marks[self.tier] = max(self.marks[self.tier], passed)

    def _conclude(self) -> None:
        self.doubts += self.sweep.passed[:]
        self.sweep.passed.clear()
        if self.sweep.done:
            self.yardstick = self.sweep.yardstick

    def _show(self, version: Version) -> None:
        self.since[version] = self.questions
        self.vendor.show(version)

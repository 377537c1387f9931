"""One complete reading of a window: the *cut* algorithm, as a value that asks and is answered.

It trusts nothing: not the order, not that `nextLink` exists or advances, not that a short page is the
last. A window is a stack of boxes, oldest first. A box is asked for whole; where the answer cannot be
proven whole the box is cut where its records are, and no page ever follows a page. The lower edge of
the first box that is not proven is the watermark.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from ingest.model.box import (
    FINE_GRAINS,
    GRAIN,
    Answer,
    Ask,
    Box,
    Seen,
    cut_around,
    cut_blindly,
    floor,
)

__all__ = ["HANDFUL", "Answer", "Ask", "Box", "Seen", "Sweep", "Yardstick"]

HANDFUL = 20
"""Fewer records than any server's page cap would be: believed in fast sweeps."""

_CALLS = 2_000
_CALLS_WITHOUT_PROGRESS = 150
_CALLS_BEYOND_NOW = 30
"""Bounds on one sweep, on one box, and on what no watermark can pass anyway."""

_PASSES = 4
"""Passes of `$skip` over a box that cannot be cut, until two see the same."""


@dataclass(frozen=True, slots=True)
class Yardstick:
    """The longest answer of late: an answer about as long was likely cut by the server.

    Carried from one sweep of a feed to its next; it wears off slowly.
    """

    longest: int = 0

    def worn(self) -> "Yardstick":
        """Return the yardstick for the next sweep."""
        return Yardstick(self.longest * 19 // 20)

    def met_by(self, count: int) -> bool:
        """Tell whether an answer is about as long as the longest."""
        return count >= self.longest - self.longest // 8

    def dwarfs(self, count: int) -> bool:
        """Tell whether an answer is so short beside the longest that nothing cut it."""
        return count * 2 < self.longest

    def and_of(self, count: int) -> "Yardstick":
        """Return the yardstick after one more answer."""
        return self if count <= self.longest else Yardstick(count)


class _Phase(Enum):
    WHOLE = auto()
    SKIP = auto()
    LINK = auto()
    DRAIN = auto()


@dataclass(slots=True)
class _Drain:
    """Passes of `$skip` over a box, from its first record to an empty answer."""

    seen: set[int]
    skip: int = 0
    shown: int = 0
    in_pass: set[int] = field(default_factory=set)
    passes: int = 0
    pages: int = 0
    fresh: bool = True
    gave_up: bool = False

    def take(self, digests: Sequence[int]) -> bool:
        """Take a page; False says that it is one that was shown in this pass: `$skip` is ignored."""
        if self.in_pass.issuperset(digests):
            return False
        self.fresh = self.fresh or not self.seen.issuperset(digests)
        self.seen.update(digests)
        self.in_pass.update(digests)
        self.shown += len(digests)
        self.skip += len(digests)
        self.pages += 1
        return True

    @property
    def is_proof(self) -> bool:
        """Whether this pass, now at its end, showed each record once and nothing that was not known.

        One page and an empty one after it need no second pass: nothing can have slipped between.
        """
        steady = len(self.in_pass) == self.shown
        return self.gave_up or (steady and (self.pages <= 1 or not self.fresh))

    def again(self) -> None:
        """Start another pass."""
        self.skip = self.shown = self.pages = 0
        self.in_pass = set()
        self.passes += 1
        self.fresh = False


@dataclass(slots=True)
class _Frame:
    """A box on the stack, and how far its proof has come; `fine` ones may be cut within a second."""

    box: Box
    top: int
    phase: _Phase = _Phase.WHOLE
    records: Sequence[Seen] = ()
    link: str | None = None
    fine: bool = False
    drain: _Drain | None = None


class Sweep:
    """Ask `next()`, then tell what became of it: `answered`, `refused` or `too_large`.

    Args:
        start: the window's lower edge in ticks.
        now: the local clock in ticks; the watermark passes neither it nor the API's own time.
        top: records to ask for at once.
        slow: a reconciling sweep, which believes less.
        yardstick: what the sweep before learned.
        handful: fewer records than any page cap would be.
    """

    def __init__(
        self,
        *,
        start: int,
        now: int,
        top: int,
        slow: bool,
        yardstick: Yardstick,
        handful: int = HANDFUL,
    ) -> None:
        self.now = now
        self.calls = 0
        self.doubts = 0
        self.cut_short = False
        self.yardstick = yardstick.worn()
        self._start = start
        self._top = top
        self._slow = slow
        self._handful = handful
        self._stack = [_Frame(Box(floor(start)), top)]
        self._answered = False
        self._by_creation = True
        self._since_progress = 0
        self._beyond_now = 0

    @property
    def done(self) -> bool:
        """Whether every box is proven, or passed in doubt, or the calls are spent."""
        return not self._stack

    @property
    def watermark(self) -> int:
        """Everything before this instant was offered; not before the first answer came.

        Boxes that were cut by creation stand side by side, so the lowest edge need not be the next one's.
        Within a second an API that truncates filters may show a part's records in another part.
        """
        if not self._answered:
            return self._start
        edge = min((floor(frame.box.updated_from) for frame in self._stack), default=self.now)
        return max(self._start, min(edge, self.now))

    def next(self) -> Ask | None:
        """Return the next question, None when the window is read."""
        if not self._stack:
            return None
        self.calls += 1
        self._since_progress += 1
        frame = self._stack[-1]
        box = frame.box
        self._beyond_now += box.updated_from >= self.now
        if frame.phase is _Phase.LINK:
            return Ask(box, frame.top, link=frame.link)
        if frame.phase is _Phase.SKIP:
            return Ask(box, frame.top, skip=len(frame.records))
        return Ask(box, frame.top, skip=frame.drain.skip if frame.drain else 0)

    def answered(self, answer: Answer) -> None:
        """Take the answer to the last question."""
        self.now = min(self.now, answer.server_time)
        self._answered = True
        frame = self._stack[-1]
        match frame.phase:
            case _Phase.WHOLE:
                self._judge_whole(frame, answer)
            case _Phase.SKIP:
                self._judge_skip(frame, answer)
            case _Phase.LINK:
                self._judge_link(frame, answer)
            case _Phase.DRAIN:
                self._judge_drain(frame, answer)
        self._bound()

    def refused(self) -> bool:
        """Take that the API does not answer the last question (HTTP 400).

        Returns:
            False where the reading cannot go on without an answer: it has failed as a whole.
        """
        frame = self._stack[-1]
        match frame.phase:
            case _Phase.SKIP:
                self._without_skip(frame)
            case _Phase.LINK:
                self._prove()
            case _Phase.DRAIN if frame.drain and frame.drain.skip:
                self._cut_fine(frame)
            case _ if frame.box.created_from is None and frame.box.created_to is None:
                return False
            case _:
                self._without_creation(frame)
        self._bound()
        return True

    def too_large(self) -> None:
        """Take that the answer to the last question is too large, or never comes."""
        frame = self._stack[-1]
        if frame.phase in (_Phase.SKIP, _Phase.LINK):
            # Something is there: the answer was not whole.
            self._cut(frame)
        elif frame.phase is _Phase.WHOLE and (boxes := cut_blindly(frame.box, self.now)):
            self._replace(frame, boxes)
        elif frame.top > 1:
            frame.top = max(1, frame.top // 4)
            self._drain(frame)
        else:
            # A single record is too large to be read, ever: the one after it need not be.
            drain = self._drain(frame)
            drain.skip += 1
            drain.gave_up = True
            self.doubts += 1
        self._bound()

    def hopeless(self) -> None:
        """Take that the last question is never answered, though the API answers others."""
        if self._stack[-1].phase is _Phase.DRAIN:
            self._doubt()
            self._bound()
        else:
            self.too_large()

    def _judge_whole(self, frame: _Frame, answer: Answer) -> None:
        count = len(answer.records)
        # A first answer has nothing to be measured by: a fast sweep asks on, a slow one cuts.
        likely_cut = self.yardstick.met_by(count) if self.yardstick.longest else self._slow
        self.yardstick = self.yardstick.and_of(count)
        frame.records = answer.records
        frame.link = answer.next_link
        if count >= frame.top:
            self._cut(frame)
        elif count == 0 or (count <= self._handful and not self._slow and not answer.linked):
            self._follow_link_or_prove(frame)
        elif count > self._handful and likely_cut:
            self._cut(frame)
        else:
            frame.phase = _Phase.SKIP

    def _judge_skip(self, frame: _Frame, answer: Answer) -> None:
        if not answer.records:
            self._follow_link_or_prove(frame)
        elif _digests(frame.records).issuperset(_digests(answer.records)):
            self._without_skip(frame)
        else:
            self._cut(frame)

    def _without_skip(self, frame: _Frame) -> None:
        """`$skip` proves nothing here: believe only an answer well below the longest one."""
        count = len(frame.records)
        believable = self._handful // 4 if self._slow else self._handful
        if count <= believable or self.yardstick.dwarfs(count):
            self._follow_link_or_prove(frame)
        else:
            self._cut(frame)

    def _follow_link_or_prove(self, frame: _Frame) -> None:
        if frame.link is None:
            self._prove()
        else:
            frame.phase = _Phase.LINK

    def _judge_link(self, frame: _Frame, answer: Answer) -> None:
        """A `nextLink` can speak against an answer, never for it."""
        if _digests(frame.records).issuperset(_digests(answer.records)):
            self._prove()
        else:
            self._cut(frame)

    def _judge_drain(self, frame: _Frame, answer: Answer) -> None:
        drain = self._drain(frame)
        frame.top = min(self._top, frame.top * 2)
        if answer.records:
            frame.records = answer.records
            if not drain.take([record[2] for record in answer.records]):
                self._cut_fine(frame)
        elif drain.is_proof:
            self._prove()
        elif drain.passes < _PASSES:
            drain.again()
        else:
            self._cut_fine(frame)

    def _drain(self, frame: _Frame) -> _Drain:
        """Read a box that cannot be cut page by page, from what its whole answer showed on."""
        if frame.drain is None:
            frame.drain = _Drain(seen=set())
            if frame.records:
                frame.drain.take([record[2] for record in frame.records])
            frame.phase = _Phase.DRAIN
        return frame.drain

    def _prove(self) -> None:
        self._stack.pop()
        self._since_progress = 0

    def _doubt(self) -> None:
        self.doubts += 1
        self._prove()

    def _bound(self) -> None:
        if self._stack and self._since_progress >= _CALLS_WITHOUT_PROGRESS:
            self._doubt()
        if self._stack and self.calls >= _CALLS:
            # The rest is for the next sweep: the watermark stays at its lower edge.
            self.now = self.watermark
            self.cut_short = True
            self._stack.clear()
        if self._beyond_now >= _CALLS_BEYOND_NOW and self.watermark >= self.now:
            self._stack.clear()

    def _cut(self, frame: _Frame) -> None:
        """Replace a box by smaller ones around where its records are."""
        boxes = self._parts(frame, (GRAIN, *(FINE_GRAINS if frame.fine else ())))
        if boxes:
            self._replace(frame, boxes)
        else:
            self._drain(frame)

    def _cut_fine(self, frame: _Frame) -> None:
        """Cut within a second, since `$skip` does not show the rest of it; else pass in doubt."""
        frame.fine = True
        boxes = self._parts(frame, FINE_GRAINS)
        if boxes:
            self._replace(frame, boxes)
        else:
            self._doubt()

    def _parts(self, frame: _Frame, grains: Iterable[int]) -> list[Box]:
        for grain in grains:
            boxes = cut_around(frame.box, frame.records, grain)
            if boxes and (self._by_creation or boxes[0].created_to is None):
                return boxes
        return []

    def _replace(self, frame: _Frame, boxes: list[Box]) -> None:
        self._stack.pop()
        self._stack.extend(_Frame(box, frame.top, fine=frame.fine) for box in reversed(boxes))

    def _without_creation(self, frame: _Frame) -> None:
        """The API does not filter by creation: what was cut along it is one box again."""
        self._by_creation = False
        span = (frame.box.updated_from, frame.box.updated_to)
        while self._stack:
            box = self._stack[-1].box
            if (box.updated_from, box.updated_to) != span:
                break
            self._stack.pop()
        merged = _Frame(Box(*span), frame.top, fine=frame.fine)
        self._drain(merged)
        self._stack.append(merged)


def _digests(records: Iterable[Seen]) -> set[int]:
    return {record[2] for record in records}

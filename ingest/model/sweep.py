"""One complete reading of a window: the *cut* algorithm, as a value that asks and is answered.

It trusts nothing: not the order, not that `nextLink` exists or advances, not that a short page is the
last. A window is a stack of boxes, oldest first. A box is asked for whole; where the answer cannot be
proven whole the box is cut where its records are, and no page ever follows a page. The lower edge of
the first box that is not proven is the watermark.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from ingest.model.instant import TICKS

HANDFUL = 20
"""Fewer records than any server's page cap would be: believed in fast sweeps."""

_GRAIN = TICKS
"""Cuts are made at whole seconds: a server may truncate a filter's literals."""

_FINE_GRAINS = (TICKS // 1000, 1)
"""Finer cuts are the last resort, where `$skip` does not reach the rest of a second either."""

_CALLS_WITHOUT_PROGRESS = 150
_CALLS = 5_000
"""Bounds on one sweep; what is not proven within them is passed in doubt, counted."""

Seen = tuple[int | None, int | None, int]
"""Of one record: `lastUpdateTime` and `alertCreationTime` in ticks where known, and its digest."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of `lastUpdateTime` and `alertCreationTime`, in ticks; ends are exclusive."""

    updated_from: int
    updated_to: int | None = None
    created_from: int | None = None
    created_to: int | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to the API: everything in `box`, or a probe beyond what it returned.

    `link` is a `nextLink` to follow instead of building a query.
    """

    box: Box
    top: int
    skip: int = 0
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sweep needs to know of a page."""

    records: Sequence[Seen]
    next_link: str | None
    server_time: int


@dataclass(frozen=True, slots=True)
class Yardstick:
    """The longest answer of late: an answer as long as that was likely cut by the server.

    Carried from one sweep of a feed to its next; it wears off slowly.
    """

    longest: int = 0

    def worn(self) -> "Yardstick":
        """Return the yardstick for the next sweep."""
        return Yardstick(self.longest * 19 // 20)


class _Phase(Enum):
    WHOLE = auto()
    SKIP = auto()
    LINK = auto()
    DRAIN = auto()


@dataclass(slots=True)
class _Frame:
    """A box on the stack, and how far its proof has come."""

    box: Box
    top: int
    phase: _Phase = _Phase.WHOLE
    records: Sequence[Seen] = ()
    digests: frozenset[int] = frozenset()
    link: str | None = None
    skip: int = 0
    fine: bool = False


class Sweep:
    """Ask `next()`, then tell what became of it: `answered`, `refused` or `too_large`.

    Args:
        start: the window's lower edge in ticks.
        now: the local clock in ticks; the watermark passes neither it nor the API's own time.
        top: records to ask for at once.
        slow: a reconciling sweep, which believes less.
        yardstick: what the sweep before learned.
    """

    def __init__(self, *, start: int, now: int, top: int, slow: bool, yardstick: Yardstick) -> None:
        self.now = now
        self.calls = 0
        self.doubts = 0
        self._start = start
        self._slow = slow
        self._known = yardstick.longest
        self._longest = yardstick.worn().longest
        self._stack = [_Frame(Box(start), top)]
        self._asked_clock = False
        self._stuck = 0

    @property
    def yardstick(self) -> Yardstick:
        """What the next sweep of this feed should know."""
        return Yardstick(self._longest)

    @property
    def done(self) -> bool:
        """Whether every box is proven, or passed in doubt."""
        return not self._stack

    @property
    def watermark(self) -> int:
        """Everything before this instant was offered; not before the first answer came."""
        if not self._asked_clock:
            return self._start
        edge = self._stack[-1].box.updated_from if self._stack else self.now
        return max(self._start, min(edge, self.now))

    def next(self) -> Ask | None:
        """Return the next question, None when the window is read."""
        if not self._stack:
            return None
        self.calls += 1
        self._stuck += 1
        frame = self._stack[-1]
        match frame.phase:
            case _Phase.WHOLE:
                return Ask(frame.box, frame.top)
            case _Phase.LINK:
                return Ask(frame.box, frame.top, link=frame.link)
            case _Phase.SKIP | _Phase.DRAIN:
                return Ask(frame.box, frame.top, skip=frame.skip)

    def answered(self, answer: Answer) -> None:
        """Take the answer to the last question."""
        if not self._asked_clock:
            # Later answers have later clocks, but records may have changed before them, unseen.
            self.now = min(self.now, answer.server_time)
            self._asked_clock = True
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

    def refused(self) -> None:
        """Take that the API does not answer the last question (HTTP 400)."""
        frame = self._stack[-1]
        match frame.phase:
            case _Phase.SKIP:
                self._without_skip(frame)
            case _Phase.LINK:
                self._prove()
            case _Phase.DRAIN:
                self._cut_fine(frame)
            case _Phase.WHOLE:
                self._doubt()
        self._bound()

    def too_large(self) -> None:
        """Take that the answer to the last question is too large, or never comes."""
        frame = self._stack[-1]
        if frame.phase in (_Phase.SKIP, _Phase.LINK):
            # Something is there: the answer was not whole.
            self._cut(frame)
        else:
            frame.records = ()
            self._halve(frame)
        self._bound()

    def _judge_whole(self, frame: _Frame, answer: Answer) -> None:
        count = len(answer.records)
        self._longest = max(self._longest, count)
        frame.records = answer.records
        frame.digests = frozenset(record[2] for record in answer.records)
        frame.link = answer.next_link
        frame.skip = count
        if count >= frame.top:
            self._cut(frame)
        elif count == 0 or (count <= HANDFUL and not self._slow):
            self._follow_link_or_prove(frame)
        elif self._known and count >= self._known:
            self._cut(frame)
        else:
            frame.phase = _Phase.SKIP

    def _judge_skip(self, frame: _Frame, answer: Answer) -> None:
        if not answer.records:
            self._follow_link_or_prove(frame)
        elif frame.digests.issuperset(record[2] for record in answer.records):
            self._without_skip(frame)
        else:
            self._cut(frame)

    def _without_skip(self, frame: _Frame) -> None:
        """`$skip` proves nothing here: believe only an answer well below the longest one."""
        if len(frame.records) * 2 < self._longest or len(frame.records) <= HANDFUL:
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
        if frame.digests.issuperset(record[2] for record in answer.records):
            self._prove()
        else:
            self._cut(frame)

    def _judge_drain(self, frame: _Frame, answer: Answer) -> None:
        if not answer.records:
            self._prove()
        elif frame.digests.issuperset(record[2] for record in answer.records):
            self._cut_fine(frame)
        else:
            frame.digests |= {record[2] for record in answer.records}
            frame.skip += len(answer.records)

    def _prove(self) -> None:
        self._stack.pop()
        self._stuck = 0

    def _doubt(self) -> None:
        self.doubts += 1
        self._prove()

    def _bound(self) -> None:
        if self.calls >= _CALLS:
            # The rest is for the next sweep: the watermark stays at its lower edge.
            self.now = self.watermark
            self.doubts += len(self._stack)
            self._stack.clear()
        elif self._stuck >= _CALLS_WITHOUT_PROGRESS and self._stack:
            self._doubt()

    def _cut(self, frame: _Frame) -> None:
        """Replace a box by smaller ones around where its records are."""
        if self._cut_at(frame, _GRAIN) or (frame.fine and self._cut_finer(frame)):
            return
        frame.phase = _Phase.DRAIN

    def _cut_fine(self, frame: _Frame) -> None:
        """Cut within a second, since `$skip` does not show the rest of it; else pass in doubt."""
        frame.fine = True
        if not self._cut_finer(frame):
            self._doubt()

    def _cut_finer(self, frame: _Frame) -> bool:
        return any(self._cut_at(frame, grain) for grain in _FINE_GRAINS)

    def _cut_at(self, frame: _Frame, grain: int) -> bool:
        box = frame.box
        updated = sorted(r[0] for r in frame.records if r[0] is not None)
        edges = _edges(updated, box.updated_from, box.updated_to, grain)
        if edges:
            self._replace(frame, _spans(box, edges, axis="updated"))
            return True
        created = sorted(r[1] for r in frame.records if r[1] is not None)
        edges = _edges(created, box.created_from, box.created_to, grain)
        if edges:
            self._replace(frame, _spans(box, edges, axis="created"))
            return True
        return False

    def _halve(self, frame: _Frame) -> None:
        """Cut a box whose records nobody has seen: in the middle, blindly."""
        box = frame.box
        upper = box.updated_to if box.updated_to is not None else max(self.now, box.updated_from)
        if box.updated_to is None and upper > box.updated_from:
            self._replace(frame, _spans(box, [upper], axis="updated"))
            return
        for grain in (_GRAIN, *_FINE_GRAINS):
            middle = (box.updated_from + upper) // 2 // grain * grain
            if box.updated_from < middle < upper:
                self._replace(frame, _spans(box, [middle], axis="updated"))
                return
        if frame.top > 1:
            frame.top = max(1, frame.top // 4)
            frame.phase = _Phase.DRAIN
        else:
            frame.skip += 1
            self.doubts += 1
            frame.phase = _Phase.DRAIN

    def _replace(self, frame: _Frame, boxes: list[Box]) -> None:
        self._stack.pop()
        self._stack.extend(_Frame(box, frame.top, fine=frame.fine) for box in reversed(boxes))


def _edges(times: list[int], lower: int | None, upper: int | None, grain: int) -> list[int]:
    """Return one or two inner edges that part `times`, on whole grains, near the median."""

    def inside(edge: int) -> bool:
        return (lower is None or lower < edge) and (upper is None or edge < upper)

    within = [t for t in times if (lower is None or t >= lower) and (upper is None or t < upper)]
    if not within:
        return []
    median = within[len(within) // 2] // grain * grain
    # Beside the median's grain on both sides: a tie becomes a box of its own.
    edges = [edge for edge in (median, median + grain) if inside(edge)]
    useful = [edge for edge in edges if within[0] < edge or edge <= within[-1]]
    if not useful or (lower is not None and upper is not None and upper - lower <= grain):
        return []
    return useful


def _spans(box: Box, edges: list[int], *, axis: str) -> list[Box]:
    lower, upper = f"{axis}_from", f"{axis}_to"
    starts = [getattr(box, lower), *edges]
    ends = [*edges, getattr(box, upper)]
    return [
        replace(box, **{lower: start, upper: end}) for start, end in zip(starts, ends, strict=True)
    ]

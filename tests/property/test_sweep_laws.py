"""A sweep's watermark passes nothing that was not offered; and the machine sees a broken part."""

import pytest
from hypothesis import settings

from ingest.model.sweep import Sweep
from tests.property.breaking import what_fails
from tests.property.sweeping import TOP, Sweeping

TestSweeping = Sweeping.TestCase
TestSweeping.settings = settings(deadline=None, max_examples=120, stateful_step_count=30)


class Believing(Sweep):
    """Takes an answer shorter than it asked for as the last."""

    def _judge_whole(self, frame, answer):
        frame.records = answer.records
        if len(answer.records) < frame.top:
            self._prove()
        else:
            self._cut(frame)


class Trusting(Sweep):
    """Takes as many records as a server may show at once for a handful."""

    def __init__(self, **options):
        super().__init__(**options | {"handful": TOP})


class Paging(Sweep):
    """Follows pages by `$skip` to the first empty one, and once."""

    def _judge_whole(self, frame, answer):
        frame.records = answer.records
        self._drain(frame)

    def _judge_drain(self, frame, answer):
        if answer.records:
            self._drain(frame).skip += len(answer.records)
        else:
            self._prove()


class NextEdge(Sweep):
    """Takes the next question's lower edge for the lowest that is left."""

    @property
    def watermark(self):
        edge = self._stack[-1].box.updated_from if self._stack else self.now
        return max(self._start, min(edge, self.now)) if self._answered else self._start


class Clockless(Sweep):
    """Believes the local clock."""

    def answered(self, answer):
        now = self.now
        super().answered(answer)
        self.now = now


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (Believing, "no_watermark_passes_what_was_not_offered"),
        (Trusting, "no_watermark_passes_what_was_not_offered"),
        (Paging, "no_watermark_passes_what_was_not_offered"),
        (NextEdge, "no_watermark_"),
        (Clockless, "no_watermark_goes_back_nor_beyond_the_apis_time"),
    ],
)
def test_a_broken_part_is_found(broken, law):
    found = what_fails(Sweeping, sweep_class=broken)
    assert any(name.startswith(law) for name in found)

"""What is tried again, how often, and what it leaves behind."""

import gc
import weakref

import pytest

from ingest.errors import QueryRefused, SourceUnavailable
from ingest.pipeline.retry import ATTEMPTS, passing_trouble


class Waits:
    """A clock that only notes for how long somebody slept."""

    def __init__(self):
        self.slept = []

    async def sleep(self, seconds):
        self.slept.append(seconds)


async def call(clock, *outcomes):
    """Make one call after another until one gives a result; return it, and how many there were."""
    answers = iter(outcomes)
    made = 0
    async for attempt in passing_trouble(clock):
        with attempt:
            made += 1
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
    return made


def lost():
    return SourceUnavailable("the network failed", reason="network")


async def test_a_call_that_succeeds_is_made_once_and_waits_for_nothing():
    clock = Waits()
    assert await call(clock, "page") == 1
    assert clock.slept == []


async def test_trouble_that_passes_is_tried_again_after_waits_that_may_double():
    clock = Waits()
    assert await call(clock, lost(), lost(), lost(), "page") == 4
    assert len(clock.slept) == 3
    assert all(0 <= wait <= bound for wait, bound in zip(clock.slept, (0.5, 1, 2), strict=True))


async def test_the_last_attempts_error_is_raised():
    clock, errors = Waits(), [lost() for _ in range(ATTEMPTS)]
    with pytest.raises(SourceUnavailable) as raised:
        await call(clock, *errors)
    assert raised.value is errors[-1]
    assert len(clock.slept) == ATTEMPTS - 1


async def test_what_no_attempt_can_mend_is_raised_at_once():
    clock = Waits()
    with pytest.raises(QueryRefused):
        await call(clock, lost(), QueryRefused("no", reason="http_400"), "page")
    assert len(clock.slept) == 1


async def test_a_result_may_be_returned_from_within_an_attempt():
    async def answer():
        async for attempt in passing_trouble(Waits()):
            with attempt:
                return "page"
        return "nothing"

    assert await answer() == "page"


async def test_a_call_leaves_nothing_for_the_garbage_collector():
    class Watched(passing_trouble):
        __slots__ = ("__weakref__",)

    gc.disable()
    try:
        attempts = Watched(Waits())
        gone = weakref.ref(attempts)
        async for attempt in attempts:
            with attempt:
                pass
        del attempts, attempt
        assert gone() is None
    finally:
        gc.enable()


class Body:
    """What a failed call had read."""


async def test_what_a_failed_attempt_had_read_is_gone_before_the_next_one():
    bodies = []

    def fail():
        body = Body()
        bodies.append(weakref.ref(body))
        try:
            int("not JSON")
        except ValueError:
            raise lost() from None

    gc.disable()
    try:
        made = 0
        async for attempt in passing_trouble(Waits()):
            with attempt:
                assert not any(body() for body in bodies)
                made += 1
                if made < ATTEMPTS:
                    fail()
        assert made == ATTEMPTS
        assert not any(body() for body in bodies)
    finally:
        gc.enable()

"""How a call is tried again: chosen by the error's class, bounded in count and in time."""

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from tenacity import (
    AsyncRetrying,
    AttemptManager,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from ingest.errors import SourceUnavailable, forget_origin
from ingest.pipeline.ports import Clock

ATTEMPTS = 4
"""One call and three more; at most 3.5 s of waiting between them."""


def _policy(clock: Clock) -> AsyncRetrying:
    return AsyncRetrying(
        retry=retry_if_exception_type(SourceUnavailable),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.5, max=4.0),
        sleep=clock.sleep,
        reraise=True,
    )


class passing_trouble:  # noqa: N801 - used like a function: `async for attempt in passing_trouble(clock)`
    """Tries again what often passes at once: network, 5xx, cut answers.

    Each round is a `with attempt:`; the last one's error is raised. Everything else has a place of its own: a
    429 waits in the budget, a refusal parks the tenant. The policy is tenacity's, and comes in once the first
    attempt has failed: each page of each tenant comes through here, and it takes 38 µs and 3 KB that only
    the garbage collector frees.
    """

    __slots__ = ("_attempt", "_begun", "_clock", "_more", "_trouble")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begun = False
        self._trouble: SourceUnavailable | None = None
        self._more: AsyncRetrying | None = None
        self._attempt: AttemptManager | None = None

    def __aiter__(self) -> Self:
        """Begin."""
        return self

    async def __anext__(self) -> AbstractContextManager[object]:
        """Return the next attempt, after a wait."""
        if not self._begun:
            self._begun = True
            return self
        trouble, self._trouble = self._trouble, None
        if trouble is None:
            raise StopAsyncIteration
        if self._more is None or self._attempt is None:
            self._more = aiter(_policy(self._clock))
            self._attempt = await anext(self._more)
        self._attempt.retry_state.set_exception((type(trouble), trouble, None))
        self._attempt = await anext(self._more)
        return self

    def __enter__(self) -> None:
        """Make an attempt."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Keep an error to itself that another attempt may mend."""
        if not isinstance(error, SourceUnavailable):
            return False
        # Its traceback holds the answer that could not be read, for as long as the next attempt waits; and
        # through this one's caller itself.
        forget_origin(error)
        self._trouble = error
        return True

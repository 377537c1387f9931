"""How a call is tried again: chosen by the error's class, bounded in count and in time."""

from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from ingest.errors import SourceUnavailable
from ingest.pipeline.ports import Clock

ATTEMPTS = 4
"""One call and three more; at most about 7 s of waiting between them."""


def passing_trouble(clock: Clock) -> AsyncRetrying:
    """Return the policy for trouble that often passes at once: network, 5xx, cut answers.

    Everything else has a place of its own: a 429 waits in the budget, a refusal parks the tenant.
    """
    return AsyncRetrying(
        retry=retry_if_exception_type(SourceUnavailable),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.5, max=4.0),
        sleep=clock.sleep,
        reraise=True,
    )

"""aiokafka's exceptions, translated once: what a broker's answer asks of us."""

from aiokafka import errors as kafka

from ingest.errors import SinkError, SinkForbidden, SinkUnavailable

_RECORD_CODES = {10: "too_large", 87: "invalid_record", 2: "corrupt_record", 18: "too_large"}
"""Produce errors that are about the records themselves and not about us or the broker."""

TROUBLE = (kafka.KafkaError, OSError, TimeoutError, AssertionError)
"""What aiokafka raises when Kafka, and not our code, is at fault; its guards are assertions."""

_FORBIDDEN = (
    kafka.TopicAuthorizationFailedError,
    kafka.ClusterAuthorizationFailedError,
    kafka.TransactionalIdAuthorizationFailed,
    kafka.GroupAuthorizationFailedError,
)


def record_reason(error: BaseException) -> str | None:
    """Return why the broker refuses the very records, None where it is about something else."""
    if isinstance(error, kafka.UnknownError):
        # aiokafka does not know code 87 and hides it; the records are tried one by one.
        return "refused"
    return _RECORD_CODES.get(getattr(error, "errno", 0))


def is_fenced(error: BaseException) -> bool:
    """Tell whether somebody else initialised our transactional id (or our transaction timed out)."""
    return isinstance(error, kafka.ProducerFenced)


def translate(error: BaseException, doing: str, resource: str) -> SinkError:
    """Return our error for one of aiokafka's, naming what was tried on what.

    An `AssertionError` is aiokafka's way to say that the producer is unusable after a fatal error.
    """
    if isinstance(error, SinkError):
        return error
    name = type(error).__name__
    if isinstance(error, _FORBIDDEN):
        return SinkForbidden(
            f"Kafka does not allow us to {doing} {resource} ({name}): grant the principal the right"
        )
    return SinkUnavailable(f"could not {doing} {resource}: {name}")

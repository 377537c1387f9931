"""aiokafka's exceptions, translated once: what a broker's answer asks of us."""

from collections.abc import Iterable, Iterator

from aiokafka import errors as kafka

from ingest.errors import SinkError, SinkForbidden, SinkUnavailable
from ingest.sink.rights import Kind, Right

_RECORD_CODES = {10: "too_large", 87: "invalid_record", 2: "corrupt_record", 18: "too_large"}
"""Produce errors that are about the records themselves and not about us or the broker."""

TROUBLE = (kafka.KafkaError, kafka.IllegalOperation, OSError, TimeoutError, AssertionError)
"""What aiokafka raises when Kafka, and not our code, is at fault; its guards are assertions, and an error of
their own where a transaction has failed already."""

_KINDS = {
    kafka.TopicAuthorizationFailedError: Kind.TOPIC,
    kafka.GroupAuthorizationFailedError: Kind.GROUP,
    kafka.TransactionalIdAuthorizationFailed: Kind.TRANSACTIONAL_ID,
}
_FORBIDDEN = (*_KINDS, kafka.ClusterAuthorizationFailedError)


def record_reason(error: BaseException) -> str | None:
    """Return why the broker refuses the very records, None where it is about something else."""
    if isinstance(error, kafka.UnknownError):
        # aiokafka does not know code 87 and hides it; the records are tried one by one.
        return "refused"
    return _RECORD_CODES.get(getattr(error, "errno", 0))


def is_fenced(error: BaseException) -> bool:
    """Tell whether somebody else initialised our transactional id (or our transaction timed out)."""
    return isinstance(error, kafka.ProducerFenced)


def is_forbidden(error: BaseException) -> bool:
    """Tell whether the principal lacks a right."""
    return isinstance(error, _FORBIDDEN)


def translate(error: BaseException, doing: str, resource: str, *, principal: str) -> SinkError:
    """Return our error for one of aiokafka's, naming what was tried on what.

    An `AssertionError` is aiokafka's way to say that the producer is unusable after a fatal error.

    Args:
        error: aiokafka's.
        doing: what was tried; `read` where it was to read a topic.
        resource: on what; the error itself may name it better.
        principal: whom the brokers take us for.
    """
    if isinstance(error, SinkError):
        return error
    for one in _with_causes(error):
        if is_forbidden(one):
            return _not_allowed(one, doing, resource, principal)
    return SinkUnavailable(f"could not {doing} {resource}: {type(error).__name__}")


def forbidden(rights: Iterable[Right], principal: str) -> SinkForbidden:
    """Return the error that names rights which the principal lacks, and how to grant them."""
    lacks = list(rights)
    what = " and ".join(f"{one.operation} {one.kind} {one.name}" for one in lacks)
    grants = "; ".join(one.command(principal) for one in lacks)
    return SinkForbidden(f"Kafka does not allow {principal} to {what}: grant it with {grants}")


def _not_allowed(error: BaseException, doing: str, resource: str, principal: str) -> SinkForbidden:
    kind = _KINDS.get(type(error))
    if kind is None:
        return SinkForbidden(
            f"Kafka does not allow {principal} to IdempotentWrite cluster: grant it Write on a topic, "
            "as docs/kafka.md lists"
        )
    operation = "Write"
    if kind is Kind.GROUP or (kind is Kind.TOPIC and doing == "read"):
        operation = "Read"
    named = error.args[0] if error.args else resource
    names = sorted(named) if isinstance(named, set | frozenset) else [str(named)]
    return forbidden((Right(kind, name, operation, "") for name in names), principal)


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__

"""What a reading that failed says of a feed: its state, why in words to forward, and who must act."""

from dataclasses import dataclass

from ingest.errors import (
    AnswerTooLarge,
    Blame,
    CheckpointUnreadable,
    CredentialRejected,
    IngestError,
    QueryRefused,
    SinkError,
    SourceError,
    TenantRejected,
    Throttled,
)
from ingest.model.status import State

_OUR_NETWORK = frozenset(("network", "tls", "proxy", "entra_network", "entra_tls", "entra_proxy"))
"""No answer came at all, or from whom our settings do not trust."""

_REVOKED = "the tenant was read before, so its consent was taken back: "


@dataclass(frozen=True, slots=True)
class Trouble:
    """The state that an error leaves a feed in."""

    state: State
    code: str
    reason: str
    blame: Blame


def trouble_of(error: IngestError, *, was_read: bool) -> Trouble:
    """Return what an error says of a feed; `was_read` is whether it has ever been read to the end."""
    reason = str(error)
    match error:
        case Throttled():
            return Trouble(State.THROTTLED, error.reason, reason, Blame.NOBODY)
        case TenantRejected(reason="not_consented") if was_read:
            return Trouble(State.PARKED, "consent_revoked", _REVOKED + reason, error.blame)
        case CredentialRejected() | TenantRejected():
            return Trouble(State.PARKED, error.reason, reason, error.blame)
        case CheckpointUnreadable():
            return Trouble(State.PARKED, code_of(error), reason, Blame.US)
        case _:
            return Trouble(State.FAILING, code_of(error), reason, _blame(error))


def _blame(error: IngestError) -> Blame:
    if isinstance(error, SinkError | QueryRefused | AnswerTooLarge):
        return Blame.US
    is_our_network = isinstance(error, SourceError) and error.reason in _OUR_NETWORK
    return Blame.US if is_our_network else Blame.MICROSOFT


def code_of(error: IngestError) -> str:
    """Return the short stable name of an error."""
    if isinstance(error, SourceError):
        return error.reason
    return "checkpoint_unreadable" if isinstance(error, CheckpointUnreadable) else "kafka"

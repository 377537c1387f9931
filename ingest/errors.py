"""Every error of the daemon, in one place, each with the recovery that it asks for.

    IngestError
    ├─ SettingsError                    STOP        a key, a file or a value of ours is wrong
    │   └─ TenantsFileRefused           STOP        the same of a file of tenants
    ├─ CommandRefused                   STOP        an operator's command asks for what must not be
    ├─ SourceError                                  one tenant's cloud
    │   ├─ SourceUnavailable            RETRY       network, 5xx, cut or unreadable answers
    │   ├─ Throttled                    RETRY       429, with the wait that was asked for
    │   ├─ QueryRefused                 RETRY       400: this one query is not answered
    │   ├─ AnswerTooLarge               RETRY       over the size cap: ask for less
    │   └─ TenantRejected               PARK        not consented, revoked, unlicensed, wrong cloud
    ├─ CredentialRejected               PARK        our own credential; all tenants when confirmed
    ├─ TenantUnroutable                 PARK        its labels or region lead to no topic
    └─ SinkError                                    Kafka
        ├─ SinkUnavailable              RETRY       nothing or everything was committed
        ├─ Rewound                      RETRY       the shard went back to its checkpoint
        ├─ RecordsRejected              QUARANTINE  the broker refuses these very records
        ├─ SinkForbidden                RETRY       a missing right; slowly, said aloud
        ├─ TopicMismatch                STOP        a topic exists with the wrong shape or owner
        ├─ NotOwner                     RETRY       the shard is another replica's now
        ├─ RegistrationUnreadable       PARK        a person has to look
        ├─ StatusUnreadable             RETRY       the next renewal is another record
        └─ CheckpointUnreadable         PARK        a person has to look

No message carries a secret, a token or alert content.
"""

from enum import Enum
from typing import ClassVar


class Recovery(Enum):
    """What whoever catches an error is to do about it."""

    RETRY = "retry"
    PARK = "park the tenant"
    QUARANTINE = "quarantine the record"
    STOP = "stop the process"


class Blame(Enum):
    """Who must act before a state gets better."""

    US = "us"
    CUSTOMER = "customer"
    MICROSOFT = "microsoft"
    NOBODY = "nobody"


class IngestError(Exception):
    """The root; every concrete class below has a recovery."""

    recovery: ClassVar[Recovery]


class SettingsError(IngestError):
    """The configuration cannot be used; `problems` has one line for each mistake."""

    recovery = Recovery.STOP
    exit_code: ClassVar[int] = 78

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class TenantsFileRefused(SettingsError):
    """A file of tenants has mistakes; nothing of it is applied."""

    exit_code = 65


class CommandRefused(IngestError):
    """What an operator's command asks for is not done; the message says why, and what to do instead.

    Args:
        message: what is wrong, with whom, and the remedy.
        usage: whether the words of the command itself are wrong, and not what they meet.
    """

    recovery = Recovery.STOP

    def __init__(self, message: str, *, usage: bool = False) -> None:
        super().__init__(message)
        self.exit_code = 64 if usage else 65


class SourceError(IngestError):
    """One tenant's cloud did not answer as hoped.

    Args:
        message: what happened, in words that can be shown to an operator.
        reason: a short stable name for metrics, such as ``timeout`` or ``http_503``.
    """

    recovery = Recovery.RETRY

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class SourceUnavailable(SourceError):
    """Network trouble, 5xx, cut or unreadable answers."""

    exit_code: ClassVar[int] = 75


class Throttled(SourceError):
    """HTTP 429; `retry_after` is in seconds, None where the answer did not say."""

    def __init__(self, message: str, *, retry_after: float | None) -> None:
        super().__init__(message, reason="throttled")
        self.retry_after = retry_after


class QueryRefused(SourceError):
    """HTTP 400: this query is not answered, others may be (a `$skip` beyond a ceiling)."""


class AnswerTooLarge(SourceError):
    """The answer is larger, decompressed, than the cap; a smaller question is needed."""


class TenantRejected(SourceError):
    """The tenant cannot be read until somebody acts."""

    recovery = Recovery.PARK

    def __init__(self, message: str, *, reason: str, blame: Blame) -> None:
        super().__init__(message, reason=reason)
        self.blame = blame


class CredentialRejected(SourceError):
    """Entra ID refuses our own credential for this tenant.

    `is_confirmed` says that it is refused for others too: to ask again soon costs no call, and is the way to
    notice that it is mended.
    """

    recovery = Recovery.PARK
    blame: ClassVar[Blame] = Blame.US

    def __init__(self, message: str, *, reason: str, is_confirmed: bool = False) -> None:
        super().__init__(message, reason=reason)
        self.is_confirmed = is_confirmed


class TenantUnroutable(IngestError):
    """A tenant's labels or region lead to none of the configured topics; it is not read until they do."""

    recovery = Recovery.PARK


class SinkError(IngestError):
    """Kafka did not take what it was given."""

    recovery = Recovery.RETRY


class SinkUnavailable(SinkError):
    """The outcome of a commit is unknown: nothing or everything of it is there."""

    exit_code: ClassVar[int] = 75


class Rewound(SinkError):
    """The shard went back to its last checkpoint; restore, decide anew, commit again."""


class RecordsRejected(SinkError):
    """The broker refuses these records for what they are; nothing was committed.

    Args:
        message: what the broker said.
        keys: positions of the refused records in the batch that was offered.
        reason: a short stable name, such as ``too_large`` or ``invalid_record``.
    """

    recovery = Recovery.QUARANTINE

    def __init__(self, message: str, *, positions: tuple[int, ...], reason: str) -> None:
        super().__init__(message)
        self.positions = positions
        self.reason = reason


class SinkForbidden(SinkError):
    """The principal lacks a right; the message names operation and resource."""

    exit_code: ClassVar[int] = 77


class TopicMismatch(SinkError):
    """A topic exists with a policy, a partition count or an owner that does not fit."""

    recovery = Recovery.STOP
    exit_code: ClassVar[int] = 78


class NotOwner(SinkError):
    """The group has placed the shard on another replica; whoever serves it here stops."""


class RegistrationUnreadable(SinkError):
    """A tenant's record in the tenants topic cannot be decoded; it is not read until somebody acts."""

    recovery = Recovery.PARK


class StatusUnreadable(SinkError):
    """A tenant's record in the tenant-status topic cannot be decoded; only its readers care."""


class CheckpointUnreadable(SinkError):
    """A tenant's checkpoint cannot be decoded; guessing would lose or repeat alerts."""

    recovery = Recovery.PARK


def forget_origin(error: BaseException) -> None:
    """Let go of the frames that an error was raised in, and of what they hold; whoever keeps one does so."""
    error.__traceback__ = error.__cause__ = error.__context__ = None

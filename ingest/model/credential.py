"""How the application's own credential is doing: its kind, when it ends, and whether it is taken."""

import math
from dataclasses import dataclass
from typing import Any

from ingest.model.instant import format_instant, from_unix

_DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class CredentialStatus:
    """What is known of it.

    `ends` is when it expires in Unix seconds, None where nobody knows; `warn_days` is how many days before
    that somebody should hear of it; `is_rejected` says that Entra ID refuses it for more than one tenant.
    """

    kind: str
    setting: str
    ends: float | None
    warn_days: int
    is_rejected: bool

    def warning(self, now: float) -> str:
        """Return what an operator should hear of it now, in words; empty where that is nothing."""
        if self.ends is None or now < self.ends - self.warn_days * _DAY_SECONDS:
            return ""
        when = format_instant(from_unix(self.ends))
        if now >= self.ends:
            return f"the application's {self.kind} expired at {when}: renew {self.setting}"
        days = math.floor((self.ends - now) / _DAY_SECONDS)
        return (
            f"the application's {self.kind} expires in {days} days, at {when}: renew {self.setting}"
        )

    def described(self, now: float) -> dict[str, Any]:
        """Return it as readers of the status get it, in JSON's terms."""
        return {
            "kind": self.kind,
            "setting": self.setting,
            "expires_at": None if self.ends is None else format_instant(from_unix(self.ends)),
            "rejected": self.is_rejected,
            "warning": self.warning(now),
        }

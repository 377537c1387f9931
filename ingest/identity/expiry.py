"""The end of our own credential: measured always, and told once a day when it is near."""

from collections.abc import Callable

import structlog

from ingest.identity.keeper import Keeper
from ingest.identity.proof import Federated, Proof
from ingest.model.credential import CredentialStatus
from ingest.telemetry.metrics import IdentityMetrics

_SAID_AGAIN_SECONDS = 86_400.0


class Expiry:
    """Knows when the credential ends.

    Args:
        keeper: has it.
        warn_days: before its end it is told of, so early. A federated token lives for an hour and is renewed
            by its issuer, so it is told of only after its end.
        unix: Unix seconds.
        metrics: are told.
        log: same.
    """

    def __init__(
        self,
        *,
        keeper: Keeper,
        warn_days: int,
        unix: Callable[[], float],
        metrics: IdentityMetrics,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._keeper = keeper
        self._warn_days = warn_days
        self._unix = unix
        self._metrics = metrics
        self._log = log
        self._proof: Proof | None = None
        self._ends: float | None = None
        self._again = 0.0

    def look(self, proof: Proof | None = None) -> None:
        """Measure it anew where it was exchanged, and tell of it where that is due.

        Args:
            proof: the credential, where it was read just now.
        """
        proof = proof or self._keeper.now()
        if proof is not self._proof:
            self._proof, self._ends, self._again = proof, proof.ends, 0.0
            self._metrics.credential_ends(proof.kind, self._ends)
        now = self._unix()
        if now >= self._again and (warning := self.status(is_rejected=False).warning(now)):
            self._again = now + _SAID_AGAIN_SECONDS
            self._log.warning("credential_expires", warning=warning)

    def status(self, *, is_rejected: bool) -> CredentialStatus:
        """Return how it is doing."""
        proof = self._proof or self._keeper.now()
        return CredentialStatus(
            kind=proof.kind,
            setting=f"entra.{self._keeper.setting}",
            ends=proof.ends if self._proof is None else self._ends,
            warn_days=0 if isinstance(proof, Federated) else self._warn_days,
            is_rejected=is_rejected,
        )

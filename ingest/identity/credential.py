"""Our own credential, and the breaker around it.

One tenant's refusal of it says little: a tenant can be odd. When a second one refuses it too, with no
success between, it is the credential: then nobody asks any more but a rare probe, until one is answered or
another credential is on the disk.
"""

from collections.abc import Callable

import structlog

from ingest.errors import CredentialRejected
from ingest.identity.keeper import Keeper
from ingest.identity.proof import Proof
from ingest.telemetry.metrics import IdentityMetrics

_PROBE_SECONDS = 60.0
_CONFIRMED = 2


class Credential:
    """The credential as it is now, and whether it may be shown.

    Args:
        keeper: has it.
        monotonic: seconds that never go back.
        metrics: are told when it is refused.
        log: same.
    """

    def __init__(
        self,
        *,
        keeper: Keeper,
        monotonic: Callable[[], float],
        metrics: IdentityMetrics,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._keeper = keeper
        self._monotonic = monotonic
        self._metrics = metrics
        self._log = log
        self._refused_by: set[str] = set()
        self._reason = ""
        self._open = False
        self._probe_at = 0.0
        self._proof = keeper.now()

    def take(self) -> Proof:
        """Return the credential for one request.

        Raises:
            CredentialRejected: it is refused everywhere, and it is not time for a probe.
        """
        self._look_again()
        if self._open:
            now = self._monotonic()
            if now < self._probe_at:
                raise CredentialRejected(
                    "several tenants refuse the application's credential, so nobody asks but a "
                    f"probe each minute; mend entra.{self._keeper.setting}",
                    reason=self._reason,
                )
            self._probe_at = now + _PROBE_SECONDS
        return self._proof

    def successor(self, proof: Proof) -> Proof | None:
        """Return the credential that has taken the place of a former one; None where none has."""
        self._look_again()
        return None if self._proof is proof else self._proof

    def accepted(self) -> None:
        """Say that a token was given for it."""
        self._refused_by.clear()
        if self._open:
            self._open = False
            self._metrics.credential(rejected=False)
            self._log.info("credential_accepted")

    def refused(self, tenant: str, error: CredentialRejected) -> None:
        """Say that a tenant's Entra ID refused it."""
        self._refused_by.add(tenant)
        if len(self._refused_by) >= _CONFIRMED and not self._open:
            self._open = True
            self._reason = error.reason
            self._probe_at = self._monotonic() + _PROBE_SECONDS
            self._metrics.credential(rejected=True)
            self._log.error("credential_rejected", error=str(error))

    def _look_again(self) -> None:
        proof = self._keeper.now()
        if proof is self._proof:
            return
        self._proof = proof
        self._refused_by.clear()
        if self._open:
            self._open = False
            self._metrics.credential(rejected=False)

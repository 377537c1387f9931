"""Our own credential, and the breaker around it.

One tenant's refusal of it says little: a tenant can be odd. When a second one refuses it too, with no
success between, it is the credential: then nobody asks any more but a rare probe, until one is answered or
another credential is on the disk. As long as nobody knows whether it is good, two at a time may find out.
"""

from collections.abc import Callable

import structlog

from ingest.errors import CredentialRejected
from ingest.identity.keeper import Keeper
from ingest.identity.proof import Proof
from ingest.telemetry.metrics import IdentityMetrics

_PROBE_SECONDS, _LONGEST_SECONDS = 60.0, 900.0
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
        self._proof = keeper.now()
        self._is_proven = False
        self._refused_by: set[str] = set()
        self._reason = ""
        self._is_stopped = False
        self._is_probing = False
        self._probe_at = 0.0
        self._wait = _PROBE_SECONDS

    @property
    def is_rejected(self) -> bool:
        """Whether it is refused for more than one tenant."""
        return self._is_stopped

    @property
    def at_once(self) -> int | None:
        """How many may show it at the same time: as many as can condemn it, until it is proven; None: all."""
        return None if self._is_proven and not self._refused_by else _CONFIRMED

    def take(self) -> Proof:
        """Return the credential for one request.

        Raises:
            CredentialRejected: it is refused everywhere, and it is not time for a probe.
        """
        self._look_again()
        if self._is_stopped:
            now = self._monotonic()
            if now < self._probe_at:
                raise CredentialRejected(
                    "several tenants refuse the application's credential, so nobody asks but a rare "
                    f"probe; mend entra.{self._keeper.setting}",
                    reason=self._reason,
                    is_confirmed=True,
                )
            # One that is not answered says nothing: then another soon.
            self._probe_at = now + _PROBE_SECONDS
            self._is_probing = True
        return self._proof

    def successor(self, proof: Proof) -> Proof | None:
        """Return the credential that has taken the place of a former one; None where none has."""
        self._look_again()
        return None if self._proof is proof else self._proof

    def accepted(self, proof: Proof) -> None:
        """Say that a token was given for it."""
        if proof is not self._proof:
            return
        self._refused_by.clear()
        self._is_proven = True
        if self._is_stopped:
            self._go_on()
            self._log.info("credential_accepted")

    def refused(self, tenant: str, error: CredentialRejected) -> bool:
        """Say that a tenant's Entra ID refused it; return whether that is confirmed by another tenant's."""
        self._refused_by.add(tenant)
        if self._is_stopped:
            if self._is_probing:
                self._is_probing = False
                self._wait = min(2 * self._wait, _LONGEST_SECONDS)
                self._probe_at = self._monotonic() + self._wait
        elif len(self._refused_by) >= _CONFIRMED:
            self._is_stopped = True
            self._reason = error.reason
            self._wait = _PROBE_SECONDS
            self._probe_at = self._monotonic() + self._wait
            self._metrics.credential(rejected=True)
            self._log.error("credential_rejected", error=str(error))
        return self._is_stopped

    def _look_again(self) -> None:
        proof = self._keeper.now()
        if proof is self._proof:
            return
        self._proof = proof
        self._is_proven = False
        self._refused_by.clear()
        if self._is_stopped:
            self._go_on()

    def _go_on(self) -> None:
        self._is_stopped = self._is_probing = False
        self._metrics.credential(rejected=False)

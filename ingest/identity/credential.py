"""Our own credential, and the breaker around it.

One tenant's refusal of our secret says little: a tenant can be odd. When a second one refuses it too,
with no success between, it is the secret: then nobody asks any more but a rare probe, until one is
answered or the secret's file holds another.
"""

from collections.abc import Callable
from pathlib import Path

import structlog

from ingest.errors import CredentialRejected, SettingsError
from ingest.settings.models import Entra
from ingest.telemetry.logs import mask_from_now_on
from ingest.telemetry.metrics import IdentityMetrics

_PROBE_SECONDS = 60.0
_CONFIRMED = 2


class Credential:
    """The secret as it is now, and whether it may be shown.

    Args:
        settings: of Entra; a `client_secret_file` is read again whenever it changes.
        monotonic: seconds that never go back.
        metrics: are told when it is refused.
        log: same.
    """

    def __init__(
        self,
        *,
        settings: Entra,
        monotonic: Callable[[], float],
        metrics: IdentityMetrics,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._file = settings.client_secret_file
        self._monotonic = monotonic
        self._metrics = metrics
        self._log = log
        self._refused_by: set[str] = set()
        self._reason = ""
        self._open = False
        self._probe_at = 0.0
        self._stamp: tuple[int, int, int] | None = None
        self._secret = ""
        if self._file is not None:
            self._stamp = _stamp(self._file)
            self._secret = read_secret(self._file)
        elif settings.client_secret is not None:
            self._secret = settings.client_secret.get_secret_value()

    def take(self) -> str:
        """Return the secret for one request.

        Raises:
            CredentialRejected: it is refused everywhere, and it is not time for a probe.
        """
        self._look_again()
        if self._open:
            now = self._monotonic()
            if now < self._probe_at:
                raise CredentialRejected(
                    "several tenants refuse the application's credential, so nobody asks but a "
                    "probe each minute; mend entra.client_secret_file",
                    reason=self._reason,
                )
            self._probe_at = now + _PROBE_SECONDS
        return self._secret

    def holds(self, secret: str) -> bool:
        """Tell whether this is the secret as it is now, and not a former one."""
        return secret == self._secret

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
        if self._file is None:
            return
        try:
            stamp = _stamp(self._file)
            if stamp == self._stamp:
                return
            secret = read_secret(self._file)
        except (OSError, SettingsError):
            # Perhaps it is being replaced; what is known still holds.
            return
        self._stamp = stamp
        if secret != self._secret:
            self._secret = secret
            mask_from_now_on(secret)
            self._log.info("credential_reloaded", file=str(self._file))
            self._refused_by.clear()
            if self._open:
                self._open = False
                self._metrics.credential(rejected=False)


def _stamp(file: Path) -> tuple[int, int, int]:
    found = file.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def read_secret(file: Path) -> str:
    """Return what a secret file holds, without the white space around it.

    Raises:
        SettingsError: it cannot be read, or holds nothing.
    """
    try:
        secret = file.read_text().strip()
    except (OSError, UnicodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError([f"entra.client_secret_file: {file} cannot be read: {words}"]) from None
    if not secret:
        raise SettingsError([f"entra.client_secret_file: {file} is empty"])
    return secret

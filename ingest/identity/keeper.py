"""The application's credential as its files have it now; where they cannot be used, as they had it before."""

import datetime as dt
from pathlib import Path

import structlog
from pydantic import SecretStr

from ingest.errors import SettingsError
from ingest.identity.proof import Certificate, Federated, Proof, Secret
from ingest.settings.certificate import read_pair
from ingest.settings.models import Entra
from ingest.telemetry.logs import mask_from_now_on

_Raw = tuple[bytes | None, ...]


class Keeper:
    """Reads the credential's files each time it is asked, and parses them when they have changed.

    `setting` is where in `entra` the operator finds it.

    Bytes are compared, not times: a few kilobytes for each token, and no clock and no symbolic link can hide
    an exchange.

    Args:
        settings: of Entra.
        log: is told of exchanges, and of files that cannot be used.

    Raises:
        SettingsError: there is nothing to begin with.
    """

    def __init__(self, *, settings: Entra, log: structlog.stdlib.BoundLogger) -> None:
        self._settings = settings
        self._log = log
        self._said = ""
        kinds = ("certificate_file", "certificate", "federated_token_file", "client_secret")
        named = (name for name in kinds if getattr(settings, name) is not None)
        self.setting = next(named, "client_secret_file")
        try:
            self._raw = self._read()
            self._proof = self._made(self._raw, stated=_midnight(settings.client_secret_expires))
        except (OSError, ValueError) as error:
            raise SettingsError([f"entra.{self.setting}: {self._why(error)}"]) from None

    def now(self) -> Proof:
        """Return the credential; another object than before if, and only if, another was put there."""
        try:
            raw = self._read()
            if raw == self._raw:
                self._said = ""
                return self._proof
            proof = self._made(raw, stated=None)
        except (OSError, ValueError) as error:
            # Perhaps half of it is exchanged, or half of it written.
            why = self._why(error)
            if why != self._said:
                setting = f"entra.{self.setting}"
                self._log.warning(
                    "credential_unreadable", setting=setting, error=f"{why}; the former is used"
                )
            self._said = why
            return self._proof
        self._raw, self._proof, self._said = raw, proof, ""
        self._log.info("credential_reloaded", setting=f"entra.{self.setting}")
        return self._proof

    def _read(self) -> _Raw:
        """Return what makes the credential: its content, its key's, its passphrase."""
        one = self._settings
        if one.federated_token_file is not None:
            return (_words(None, one.federated_token_file),)
        if one.certificate is None and one.certificate_file is None:
            return (_words(one.client_secret, one.client_secret_file),)
        content: bytes | None = None
        if one.certificate_file is not None:
            content = one.certificate_file.read_bytes()
        elif one.certificate is not None:
            content = one.certificate.get_secret_value().encode()
        key = None if one.certificate_key_file is None else one.certificate_key_file.read_bytes()
        passphrase = _words(one.certificate_passphrase, one.certificate_passphrase_file)
        return (content, key, passphrase)

    def _made(self, raw: _Raw, *, stated: float | None) -> Proof:
        one, words = self._settings, raw[-1]
        text = None if words is None else words.decode()
        if one.certificate is not None or one.certificate_file is not None:
            mask_from_now_on(text or "")
            content = raw[0]
            return Certificate(read_pair(content or b"", key=raw[1], passphrase=text))
        if not text:
            raise ValueError("is empty")
        if one.federated_token_file is not None:
            # A token is masked by its look; to learn each would be to learn for ever.
            return Federated(text)
        mask_from_now_on(text)
        return Secret(text, ends=stated)

    def _why(self, error: Exception) -> str:
        """Return words for an error that show nothing of a file but its name."""
        named = getattr(self._settings, self.setting)
        where = f"{named} " if isinstance(named, Path) else ""
        if isinstance(error, OSError):
            return f"{error.filename or where} cannot be read: {error.strerror}"
        if isinstance(error, UnicodeError):
            return f"{where}cannot be read: it is not text"
        return f"{where}{error}"


def _midnight(day: dt.date | None) -> float | None:
    """Return the beginning of a day in Unix seconds: a secret may end at any hour of it."""
    return None if day is None else dt.datetime.combine(day, dt.time(), dt.UTC).timestamp()


def _words(value: SecretStr | None, file: Path | None) -> bytes | None:
    """Return a secret as it was written, or a file's without the white space around it."""
    if file is not None:
        return file.read_bytes().strip()
    return None if value is None else value.get_secret_value().encode()

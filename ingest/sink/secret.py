"""A secret that may be exchanged on disk while the process runs."""

from pathlib import Path

import structlog
from pydantic import SecretStr

from ingest.errors import SettingsError
from ingest.settings.files import words_in
from ingest.telemetry.logs import mask_from_now_on

_log: structlog.stdlib.BoundLogger = structlog.get_logger("defender_ingest")


class Secret:
    """A secret as it is now; where its file cannot be read, as it was.

    Args:
        key: of the setting that names the file.
        value: the secret itself, or None.
        file: holds it, or None.

    Raises:
        SettingsError: the file holds none now.
    """

    def __init__(self, *, key: str, value: SecretStr | None, file: Path | None) -> None:
        self._key = key
        self._file = file
        self._said = ""
        self._now = "" if value is None else value.get_secret_value()
        if file is not None:
            self._now, why = words_in(file)
            if why:
                raise SettingsError([f"{key}: {why}"])
        mask_from_now_on(self._now)

    def read(self) -> str:
        """Return the secret, read anew."""
        if self._file is None:
            return self._now
        fresh, why = words_in(self._file)
        if why and why != self._said:
            _log.warning("secret_unreadable", setting=self._key, error=f"{why}; the former is used")
        self._said = why
        if fresh and fresh != self._now:
            self._now = fresh
            mask_from_now_on(fresh)
            _log.info("secret_read_again", setting=self._key)
        return self._now

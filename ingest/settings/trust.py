"""Whom calls over TLS believe: the system's certificate authorities, or those of one file."""

import ssl
from pathlib import Path

from ingest.errors import SettingsError


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context for calls to the login and API hosts.

    Raises:
        SettingsError: the file holds no certificate authorities that can be used.
    """
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            [f"ca_file: {ca_file} cannot be used as certificate authorities: {error}"]
        ) from None

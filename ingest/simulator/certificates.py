"""The simulator's own certificate authority: kept in a folder, so that a restart stays trusted."""

import ssl
from pathlib import Path

import trustme

_CA_FILE = "ca.pem"
_CA_KEY_FILE = "ca.key"


def server_context(folder: Path, host: str, *names: str) -> tuple[ssl.SSLContext, Path]:
    """Return a TLS context for `host` and other names, and the file of the authority that vouches for it."""
    ca_file, key_file = folder / _CA_FILE, folder / _CA_KEY_FILE
    if ca_file.exists() and key_file.exists():
        authority = trustme.CA.from_pem(ca_file.read_bytes(), key_file.read_bytes())
    else:
        authority = trustme.CA(organization_name="defender-ingest simulate")
        key_file.touch(mode=0o600)
        authority.private_key_pem.write_to_path(key_file)
        authority.cert_pem.write_to_path(ca_file)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*dict.fromkeys((host, "127.0.0.1", "localhost", *names))).configure_cert(
        context
    )
    return context, ca_file

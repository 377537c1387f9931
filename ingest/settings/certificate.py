"""The application's certificate and its private key, out of PEM or PFX."""

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.x509 import Certificate

_Opened = tuple[Any, "list[Certificate]"]

_KEY = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)
_CLOSED = "cannot be opened: its passphrase (certificate_passphrase_file) is missing or wrong"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate in PEM, the parsed key that belongs to it, and until when (Unix seconds) it holds."""

    key: "RSAPrivateKey" = field(repr=False)
    certificate: str
    ends: float


def read_pair(content: bytes, *, key: bytes | None, passphrase: str | None) -> KeyPair:
    """Read a certificate and its key; takes 30 ms where a passphrase was stretched well.

    Args:
        content: PEM with the certificate, or a PFX, as it is or in base64.
        key: PEM with the private key, where it is not beside the certificate.
        passphrase: of the private key or the PFX, where it has one.

    Raises:
        ValueError: what is wrong with it; no word of the content is in that.
    """
    # Not at the top: most installations have a secret, and most commands need none.
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    is_pem = b"-----BEGIN" in content
    private, certificates = (
        _of_pem(content, key, passphrase) if is_pem else _of_pfx(content, passphrase)
    )
    if not isinstance(private, RSAPrivateKey):
        raise ValueError("has a key that is not RSA, and Entra ID takes no other")  # noqa: TRY004
    public = private.public_key()
    found = next((one for one in certificates if one.public_key() == public), None)
    if found is None:
        raise ValueError("has no certificate that the private key belongs to")
    return KeyPair(
        key=private,
        certificate=found.public_bytes(Encoding.PEM).decode(),
        ends=found.not_valid_after_utc.timestamp(),
    )


def _of_pem(content: bytes, key: bytes | None, passphrase: str | None) -> _Opened:
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        certificates = x509.load_pem_x509_certificates(content)
    except ValueError:
        raise ValueError("holds no certificate in PEM form, nor a PFX") from None
    block = _KEY.search(content if key is None else key)
    if block is None:
        raise ValueError(
            "holds no private key in PEM form; add it, or name its file (certificate_key_file)"
        )
    is_encrypted = b"ENCRYPTED" in block[0]
    secret = passphrase.encode() if passphrase and is_encrypted else None
    try:
        return load_pem_private_key(block[0], secret), certificates
    except (ValueError, TypeError):
        raise ValueError(_CLOSED) from None


def _of_pfx(content: bytes, passphrase: str | None) -> _Opened:
    from cryptography.hazmat.primitives.serialization import pkcs12  # noqa: PLC0415

    try:
        raw = base64.b64decode(b"".join(content.split()), validate=True)
    except (binascii.Error, ValueError):
        raw = content
    try:
        opened = pkcs12.load_pkcs12(raw, passphrase.encode() if passphrase else None)
    except (ValueError, TypeError):
        raise ValueError(f"holds no certificate in PEM form, and as a PFX it {_CLOSED}") from None
    if opened.key is None or opened.cert is None:
        raise ValueError("is a PFX that lacks the certificate or its private key")
    return opened.key, [opened.cert.certificate]

"""Credentials for the simulated application: made, registered, and named as the daemon's settings do."""

import datetime as dt
import secrets
from pathlib import Path

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from ingest.simulator.application import EXCHANGE, Application, Trust

KINDS = ("secret", "certificate", "pfx", "federated")

ISSUER, SUBJECT = "https://issuer.simulated.test", "system:serviceaccount:ingest:defender-ingest"
TOKEN_SECONDS = 3600
"""The life of a federated token; as kubelet does, whoever serves writes the next one well before its end."""

_DAYS = 365
_PEM, _PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
_OPEN = serialization.NoEncryption()


def write_secret(folder: Path) -> tuple[Path, str]:
    """Return the application's secret and its file; made once for a folder."""
    path = folder / "client-secret"
    if not path.exists():
        _write(path, f"{secrets.token_urlsafe(30)}\n".encode())
    return path, path.read_text(encoding="utf-8").strip()


def write_consent_key(folder: Path) -> Path:
    """Return the file of the key that signs invitations to consent; made once for a folder."""
    path = folder / "consent-key"
    if not path.exists():
        _write(path, f"{secrets.token_hex(32)}\n".encode())
    return path


def make_certificate(
    *, days: float = _DAYS, now: dt.datetime | None = None
) -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    """Return a key and a certificate that it signed itself, as most that are registered with Entra ID."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "defender-ingest simulate")])
    began = now or dt.datetime.now(dt.UTC)  # noqa: TID251 - certificates are of real time
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(began - dt.timedelta(minutes=5))
        .not_valid_after(began + dt.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def as_pem(key: rsa.RSAPrivateKey, certificate: x509.Certificate, passphrase: str = "") -> bytes:
    """Return both in PEM, the key locked where there is a passphrase."""
    lock = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else _OPEN
    return certificate.public_bytes(_PEM) + key.private_bytes(_PEM, _PKCS8, lock)


def as_pfx(key: rsa.RSAPrivateKey, certificate: x509.Certificate, passphrase: str) -> bytes:
    """Return both as a PFX."""
    lock = serialization.BestAvailableEncryption(passphrase.encode())
    return pkcs12.serialize_key_and_certificates(b"simulate", key, certificate, None, lock)


def federated_token(key: rsa.RSAPrivateKey, *, now: float, seconds: int = TOKEN_SECONDS) -> str:
    """Return a token of the simulated cluster for the application's service account."""
    claims = {"iss": ISSUER, "sub": SUBJECT, "aud": [EXCHANGE]}
    times = {"iat": int(now), "nbf": int(now), "exp": int(now) + seconds}
    return jwt.encode(claims | times, key, algorithm="RS256", headers={"kid": "simulate"})


class Desk:
    """Hands the application one kind of credential in a folder.

    Args:
        kind: one of `KINDS`.
        folder: where it is kept, so that a restart has it still.
        application: is told of it.
    """

    def __init__(self, kind: str, folder: Path, application: Application) -> None:
        self._kind = kind
        self._folder = folder
        self._issuer: rsa.RSAPrivateKey | None = None
        if kind == "secret":
            path, secret = write_secret(folder)
            application.secrets[secret] = None
            self.section = {"client_secret_file": str(path)}
        elif kind == "federated":
            self._issuer = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            application.trusts.append(Trust(ISSUER, SUBJECT, self._issuer.public_key()))
            self.section = {"federated_token_file": str(folder / "federated-token")}
        else:
            key, certificate = make_certificate()
            application.certificates.append(certificate)
            self.section = self._written(key, certificate)

    def renew(self, now: float) -> None:
        """Write the next federated token; other kinds need none. `now` is Unix seconds."""
        if self._issuer is not None:
            token = federated_token(self._issuer, now=now)
            _write(self._folder / "federated-token", token.encode())

    def _written(self, key: rsa.RSAPrivateKey, certificate: x509.Certificate) -> dict[str, str]:
        if self._kind == "certificate":
            path = self._folder / "application.pem"
            _write(path, as_pem(key, certificate))
            return {"certificate_file": str(path)}
        path, word = self._folder / "application.pfx", self._folder / "application.passphrase"
        passphrase = secrets.token_urlsafe(20)
        _write(word, passphrase.encode())
        _write(path, as_pfx(key, certificate, passphrase))
        return {"certificate_file": str(path), "certificate_passphrase_file": str(word)}


def _write(path: Path, content: bytes) -> None:
    """Put a file there at once, readable by its owner alone: whoever reads has the former or this one."""
    part = path.with_suffix(".part")
    part.touch(mode=0o600)
    part.write_bytes(content)
    part.replace(path)

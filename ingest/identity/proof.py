"""What a token request proves itself with: a secret, a certificate's signature, or another issuer's token.

Each is what it is for good; what is exchanged on disk becomes another one.
"""

import base64
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Protocol

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from msal.oauth2cli import JwtAssertionCreator

from ingest.settings.certificate import KeyPair

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_PARTS = 3


class Proof(Protocol):
    """One credential. `kind` is what people call it."""

    kind: ClassVar[str]

    @property
    def ends(self) -> float | None:
        """When it expires in Unix seconds, None where nobody knows."""
        ...

    def fields(self, *, client_id: str, endpoint: str) -> dict[str, str]:
        """Return the fields that it adds to a form which is posted to a token endpoint."""
        ...


@dataclass(frozen=True, slots=True)
class Secret:
    """The application's secret."""

    kind: ClassVar[str] = "secret"

    text: str = field(repr=False)
    ends: float | None = None

    def fields(self, *, client_id: str, endpoint: str) -> dict[str, str]:  # noqa: ARG002 - the port's
        """See `Proof.fields`."""
        return {"client_secret": self.text}


class Certificate:
    """The application's certificate, whose key was parsed once: that takes 30 ms, a signature 0.3."""

    kind: ClassVar[str] = "certificate"

    def __init__(self, pair: KeyPair) -> None:
        self._pair = pair

    @property
    def ends(self) -> float:
        """See `Proof.ends`."""
        return self._pair.ends

    def fields(self, *, client_id: str, endpoint: str) -> dict[str, str]:
        """See `Proof.fields`."""
        made: bytes = self._creator.create_normal_assertion(audience=endpoint, issuer=client_id)
        return _assertion(made.decode())

    @cached_property
    def _creator(self) -> Any:
        """What MSAL signs with; an application object of its would read the certificate each time."""
        certificate = x509.load_pem_x509_certificate(self._pair.certificate.encode())
        return JwtAssertionCreator(
            self._pair.key,
            algorithm="PS256",
            sha256_thumbprint=certificate.fingerprint(hashes.SHA256()).hex(),
        )


@dataclass(frozen=True, slots=True)
class Federated:
    """A token of another issuer, which Entra ID was told to take for the application's own word."""

    kind: ClassVar[str] = "federated token"

    token: str = field(repr=False)

    @property
    def ends(self) -> float | None:
        """See `Proof.ends`."""
        parts = self.token.split(".")
        if len(parts) != _PARTS:
            return None
        try:
            claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=="))
        except (ValueError, RecursionError):
            return None
        told = claims.get("exp") if isinstance(claims, dict) else None
        return float(told) if isinstance(told, int | float) else None

    def fields(self, *, client_id: str, endpoint: str) -> dict[str, str]:  # noqa: ARG002 - the port's
        """See `Proof.fields`."""
        return _assertion(self.token)


def _assertion(token: str) -> dict[str, str]:
    return {"client_assertion_type": _ASSERTION_TYPE, "client_assertion": token}

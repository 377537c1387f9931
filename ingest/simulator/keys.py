"""The key that a simulated issuer signs its tokens with, and its public half as a JWKS shows it."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey


class SigningKey:
    """An RSA key under a name.

    Args:
        key: signs.
        name: the raw bytes of its key id.
    """

    def __init__(self, key: RSAPrivateKey, name: bytes) -> None:
        self._key = key
        self._kid = unpadded(name)

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return a signed token."""
        return jwt.encode(
            dict(claims), self._key, algorithm="RS256", headers={"kid": self._kid, "x5t": self._kid}
        )

    def public(self) -> dict[str, Any]:
        """Return the key's entry in a JWKS."""
        key: dict[str, Any] = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))
        return key | {"use": "sig", "kid": self._kid, "x5t": self._kid}


def unpadded(raw: bytes) -> str:
    """Return bytes in the base64 of tokens."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

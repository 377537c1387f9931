"""The one simulated application: its registered credentials, and whether one of them is shown.

What it checks is what Entra ID checks, with the AADSTS code of each objection.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from ingest.simulator.keys import unpadded

EXCHANGE = "api://AzureADTokenExchange"
"""The audience that a federated token usually has."""

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ALGORITHMS = ("PS256", "RS256")
_SKEW_SECONDS = 300
_UNCHECKED: Any = dict.fromkeys(
    (
        "verify_exp",
        "verify_nbf",
        "verify_iat",
        "verify_aud",
        "verify_iss",
        "verify_sub",
        "verify_jti",
    ),
    False,
)
_ABSENT, _WRONG, _EXPIRED = 7000218, 7000215, 7000222
_NO_JWT, _BAD_KEY, _BAD_ID, _BAD_AUDIENCE, _OUT_OF_TIME = 50027, 700027, 700021, 700023, 700024
_NO_ISSUER, _NO_AUDIENCE, _NO_SUBJECT, _BAD_SIGNATURE = 700211, 700212, 700213, 5000811


@dataclass(frozen=True, slots=True)
class Trust:
    """A federated credential: whose tokens are taken for the application's own word."""

    issuer: str
    subject: str
    key: RSAPublicKey
    audience: str = EXCHANGE


@dataclass(slots=True)
class Application:
    """What is registered; a test or an operator changes it while the cloud runs.

    `secrets` are by text, with the Unix time at which each expires, None for never.
    """

    client_id: str
    secrets: dict[str, float | None] = field(default_factory=dict, repr=False)
    certificates: list[x509.Certificate] = field(default_factory=list)
    trusts: list[Trust] = field(default_factory=list)

    def objection(self, form: Mapping[str, str], authority: str, now: float) -> int | None:
        """Return the AADSTS code of what is wrong with a request's credential, None where nothing is.

        Args:
            form: of the request.
            authority: the tenant's root on the host that was asked.
            now: Unix seconds.
        """
        if "client_assertion" in form:
            if form.get("client_assertion_type") != _ASSERTION_TYPE:
                return _NO_JWT
            return self._of_assertion(form["client_assertion"], authority, now)
        if "client_secret" not in form:
            return _ABSENT
        if form["client_secret"] not in self.secrets:
            return _WRONG
        until = self.secrets[form["client_secret"]]
        return _EXPIRED if until is not None and now >= until else None

    def _of_assertion(self, token: str, authority: str, now: float) -> int | None:
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(token, options=_UNCHECKED | {"verify_signature": False})
        except jwt.InvalidTokenError:
            return _NO_JWT
        if header.get("alg") not in _ALGORITHMS:
            return _BAD_KEY
        if self.client_id in (claims.get("iss"), claims.get("sub")):
            return self._of_certificate(token, header, claims, authority, now)
        return self._of_federation(token, claims, now)

    def _of_certificate(
        self,
        token: str,
        header: Mapping[str, Any],
        claims: Mapping[str, Any],
        authority: str,
        now: float,
    ) -> int | None:
        certificate = next((one for one in self.certificates if _is_named(one, header)), None)
        if certificate is None or now >= certificate.not_valid_after_utc.timestamp():
            return _BAD_KEY
        if not _is_signed(token, certificate.public_key()):
            return _BAD_KEY
        endpoints = (f"{authority}/oauth2/v2.0/token", f"{authority}/oauth2/token")
        objections = (
            ((claims.get("iss"), claims.get("sub")) != (self.client_id, self.client_id), _BAD_ID),
            (claims.get("aud") not in (*endpoints, f"{authority}/v2.0"), _BAD_AUDIENCE),
            (not _is_in_time(claims, now), _OUT_OF_TIME),
        )
        return next((code for wrong, code in objections if wrong), None)

    def _of_federation(self, token: str, claims: Mapping[str, Any], now: float) -> int | None:
        trusts = [one for one in self.trusts if one.issuer == claims.get("iss")]
        if not trusts:
            return _NO_ISSUER
        trusts = [one for one in trusts if one.subject == claims.get("sub")]
        if not trusts:
            return _NO_SUBJECT
        told = claims.get("aud")
        audiences = told if isinstance(told, list) else [told]
        trusts = [one for one in trusts if one.audience in audiences]
        if not trusts:
            return _NO_AUDIENCE
        if not any(_is_signed(token, one.key) for one in trusts):
            return _BAD_SIGNATURE
        return None if _is_in_time(claims, now) else _OUT_OF_TIME


def _is_named(certificate: x509.Certificate, header: Mapping[str, Any]) -> bool:
    """Tell whether a header names a certificate, by either of its thumbprints; all that it names must fit."""
    prints = {"x5t#S256": hashes.SHA256(), "x5t": hashes.SHA1()}  # noqa: S303 - the header is what it is
    told = {name: str(header[name]).rstrip("=") for name in prints if name in header}
    real = {name: unpadded(certificate.fingerprint(prints[name])) for name in told}
    return bool(told) and told == real


def _is_signed(token: str, key: Any) -> bool:
    try:
        jwt.decode(token, key, algorithms=list(_ALGORITHMS), options=_UNCHECKED)
    except jwt.InvalidTokenError:
        return False
    return True


def _is_in_time(claims: Mapping[str, Any], now: float) -> bool:
    ends, begins = claims.get("exp"), claims.get("nbf", 0)
    if not isinstance(ends, int | float) or not isinstance(begins, int | float):
        return False
    return begins - _SKEW_SECONDS <= now < ends + _SKEW_SECONDS

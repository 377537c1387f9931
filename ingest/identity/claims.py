"""The claims of an access token, read as advice.

The token is not for us, and Microsoft asks not to validate what is not: no signature is checked, and a
token that cannot be read is used as it is. What can be read saves a riddle of 403s.
"""

import base64
from typing import Any

import msgspec

from ingest.errors import Blame, TenantRejected
from ingest.model.tenant import Tenant, is_guid

_ROLES = frozenset(("Alert.Read.All", "Alert.ReadWrite.All"))
_PARTS = 3


def advise(token: str, *, tenant: Tenant, resource: str, consent_url: str) -> None:
    """Raise what an operator should know of a token that will not do.

    Raises:
        TenantRejected: `tid`, `aud` or `roles` do not fit.
    """
    claims = claims_of(token)
    if claims is None:
        return
    tid = claims.get("tid")
    if isinstance(tid, str) and tid.lower() != tenant.id:
        raise TenantRejected(
            "the token is for another tenant (tid): check the tenant's id and entra.login_url",
            reason="wrong_tenant",
            blame=Blame.US,
        )
    audience = claims.get("aud")
    if isinstance(audience, str) and not _fits(audience, resource):
        raise TenantRejected(
            f"the token is for another API (aud): check regions.{tenant.region}.resource",
            reason="wrong_audience",
            blame=Blame.US,
        )
    roles = claims.get("roles", [])
    if isinstance(roles, list) and not _ROLES.intersection(map(str, roles)):
        raise TenantRejected(
            "the token does not hold the role Alert.Read.All: give the application that permission "
            f"on WindowsDefenderATP, then let the tenant's administrator consent at {consent_url}",
            reason="no_permission",
            blame=Blame.CUSTOMER,
        )


def _fits(audience: str, resource: str) -> bool:
    # In v2 tokens the audience is the API's own id, which is not documented.
    return is_guid(audience.lower()) or audience.rstrip("/") == resource.rstrip("/")


def claims_of(token: str) -> dict[str, Any] | None:
    """Return what a token says, unverified; None where it cannot be read."""
    parts = token.split(".")
    if len(parts) != _PARTS:
        return None
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        claims = msgspec.json.decode(base64.urlsafe_b64decode(padded))
    except (ValueError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None

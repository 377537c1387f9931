"""What an error of Entra ID asks of whom.

Microsoft warns that codes and words may change; `error` alone is stable, and too coarse. So codes pick
the words for the operator and the blame, and whatever is unknown parks one tenant, with its code.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from ingest.errors import (
    Blame,
    CredentialRejected,
    SourceError,
    SourceUnavailable,
    TenantRejected,
    Throttled,
)
from ingest.identity.consent import directory_consent_url
from ingest.model.tenant import Tenant

_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DEFAULT_RETRY_AFTER = 60.0
_LOOP_SECONDS = 900.0
_TOO_MANY, _SERVER_ERRORS = 429, 500


@dataclass(frozen=True, slots=True)
class _Class:
    reason: str
    blame: Blame
    words: str


_CREDENTIAL = {
    7000215: ("bad_secret", "the application's secret is wrong"),
    70002: ("bad_secret", "the application's credential is wrong"),
    7000222: ("secret_expired", "the application's secret has expired"),
    7000218: ("no_secret", "the request carried no credential"),
    900144: ("no_secret", "the request lacked a parameter"),
    700027: ("bad_certificate", "the application's certificate is not accepted"),
    700030: ("bad_certificate", "the application's certificate is not accepted"),
    50012: ("bad_assertion", "the application's assertion is not accepted"),
    50027: ("bad_assertion", "the application's assertion is not one"),
    700021: ("bad_assertion", "the application's assertion is another application's"),
    700023: ("bad_assertion", "the application's assertion is meant for somebody else"),
    700024: ("assertion_expired", "the application's assertion is out of its time"),
    70021: ("bad_federation", "no federated credential matches"),
    700211: ("bad_federation", "no federated credential has the token's issuer"),
    700212: ("bad_federation", "no federated credential has the token's audience"),
    700213: ("bad_federation", "no federated credential has the token's subject"),
    5000811: (
        "bad_federation",
        "the token's signature is by a key that its issuer does not publish",
    ),
    7002137: ("bad_federation", "no federated credential has the token's subject"),
    7002138: ("bad_federation", "no federated credential has the token's subject"),
}
_REMEDIES = {
    "client_secret": "make a new secret for the application and put it into entra.{setting}",
    "client_secret_file": (
        "make a new secret for the application and put it where entra.{setting} points"
    ),
    "certificate": "register the certificate of entra.{setting} with the application, or mend it",
    "certificate_file": (
        "register the certificate that entra.{setting} points to with the application, or mend it"
    ),
    "federated_token_file": (
        "compare issuer, subject and audience of the application's federated credential with the token "
        "that entra.{setting} points to, and see that it is renewed"
    ),
}
_CLOCK = "see that this machine's clock is right, or "

_CONSENT = _Class(
    "not_consented",
    Blame.CUSTOMER,
    "the application has no consent in this tenant; its administrator gives it at {consent}",
)
_SERVICE = _Class(
    "service_missing",
    Blame.CUSTOMER,
    "the tenant has no Defender for Endpoint to ask: check its licence",
)
_RESOURCE = _Class(
    "bad_resource",
    Blame.US,
    "the resource of region {region} is not one that the application may ask for: check "
    "regions.{region}.resource and the application's permissions",
)
_UNKNOWN = _Class(
    "unknown_tenant", Blame.US, "there is no such tenant in this cloud: check its id and its region"
)
_CLOUD = _Class(
    "wrong_cloud",
    Blame.US,
    "the tenant is in another national cloud, which needs an application and a daemon of its own",
)
_DISABLED = _Class(
    "app_disabled", Blame.CUSTOMER, "the application is disabled in this tenant; enable it there"
)
_POLICY = _Class(
    "blocked_by_policy",
    Blame.CUSTOMER,
    "a policy of the tenant blocks the application; its administrator must exempt it",
)
_SERVER = _Class("entra_refused", Blame.MICROSOFT, "Entra ID fails for this tenant")
_OTHER = _Class("entra_refused", Blame.US, "Entra ID refuses the token request")

_CLASSES: dict[int, _Class] = {
    **dict.fromkeys((700016, 7000229, 65001, 90094, 90008, 650056), _CONSENT),
    **dict.fromkeys((500011, 650052, 650054), _SERVICE),
    **dict.fromkeys((650057, 50001, 70011, 28002), _RESOURCE),
    **dict.fromkeys((90002, 90019, 50059), _UNKNOWN),
    **dict.fromkeys((90038, 900382, 900432), _CLOUD),
    **dict.fromkeys((7000112, 70001, 1000031), _DISABLED),
    **dict.fromkeys((53003, 530032, 500021, 500022), _POLICY),
    **dict.fromkeys((90036, 90092, 50086), _SERVER),
}
_TRANSIENT = frozenset((90033, 90006, 90012, 90024, 90090, 90091, 50033, 50087, 40010))
_THROTTLED, _LOOP = 90055, 50196


def refusal(
    *,
    status: int,
    content: Mapping[str, Any] | None,
    headers: Mapping[str, str],
    tenant: Tenant,
    login_url: str,
    client_id: str,
    credential: str,
    now: float,
) -> SourceError:
    """Return the error that an answer without a token stands for.

    Args:
        status: of HTTP.
        content: the answer's JSON object, None where it is none.
        headers: for `Retry-After`.
        tenant: who was asked for.
        login_url: for the link to consent.
        client_id: same.
        credential: the setting of `entra` that names what we prove ourselves with.
        now: Unix seconds.
    """
    content = content or {}
    codes = _codes(content)
    said = _said(status, content, codes)
    if status == _TOO_MANY or _THROTTLED in codes:
        wait = _retry_after(headers, now)
        return Throttled(f"Entra ID throttles token requests ({said})", retry_after=wait)
    if _LOOP in codes:
        return Throttled(
            f"Entra ID takes our token requests for a loop ({said})", retry_after=_LOOP_SECONDS
        )
    if (
        status >= _SERVER_ERRORS
        or codes & _TRANSIENT
        or _error(content) == "temporarily_unavailable"
    ):
        return SourceUnavailable(f"Entra ID is unwell ({said})", reason="entra_unwell")
    for code in codes:
        if code in _CREDENTIAL:
            reason, words = _CREDENTIAL[code]
            remedy = _REMEDIES[credential].format(setting=credential)
            if reason == "assertion_expired":
                remedy = _CLOCK + remedy
            return CredentialRejected(f"{words} ({said}): {remedy}", reason=reason)
    if not content:
        return SourceUnavailable(
            f"Entra ID's answer is not the JSON of a token ({said})", reason="entra_unreadable"
        )
    found = next((_CLASSES[code] for code in codes if code in _CLASSES), None)
    if found is None:
        found = (
            _CONSENT if _error(content) in ("unauthorized_client", "consent_required") else _OTHER
        )
    consent = directory_consent_url(login_url=login_url, client_id=client_id, tenant=tenant.id)
    words = found.words.format(consent=consent, region=tenant.region)
    return TenantRejected(f"{words} ({said})", reason=found.reason, blame=found.blame)


def _error(content: Mapping[str, Any]) -> str:
    error = content.get("error")
    return error if isinstance(error, str) and re.fullmatch(r"[a-z_]{1,64}", error) else ""


def _codes(content: Mapping[str, Any]) -> set[int]:
    codes = content.get("error_codes")
    found = {code for code in codes if type(code) is int} if isinstance(codes, list) else set()
    description = content.get("error_description")
    if not found and isinstance(description, str):
        found = {int(code) for code in re.findall(r"AADSTS(\d{4,8})\b", description[:200])}
    return found


_MOST_CODES = 5
"""More than so many codes of one answer are not shown."""


def _said(status: int, content: Mapping[str, Any], codes: set[int]) -> str:
    """Return what may be shown of an answer: numbers and names, never its free text."""
    shown = sorted(codes)[:_MOST_CODES]
    parts = [f"HTTP {status}", _error(content), *(f"AADSTS{code}" for code in shown)]
    correlation = content.get("correlation_id")
    if isinstance(correlation, str) and _GUID.fullmatch(correlation):
        parts.append(f"correlation id {correlation}")
    return ", ".join(part for part in parts if part)


def _retry_after(headers: Mapping[str, str], now: float) -> float:
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return _DEFAULT_RETRY_AFTER

"""Token requests to Entra ID, and what its answers mean."""

from dataclasses import dataclass
from typing import Any

import msgspec

from ingest.errors import SourceUnavailable
from ingest.identity.consent import directory_consent_url
from ingest.identity.form import Forms
from ingest.identity.http import Answer, LoginHttp, LoginUnreached
from ingest.identity.proof import Proof
from ingest.identity.refusals import refusal
from ingest.model.tenant import Tenant
from ingest.pipeline.ports import Clock
from ingest.settings.models import Entra

_MIN_SECONDS, _MAX_SECONDS, _DEFAULT_SECONDS = 1.0, 86_400.0, 3599.0
_OK = 200

_UNREACHED = {
    "entra_timeout": "Entra ID did not answer in time",
    "entra_tls": "Entra ID's certificate is not trusted: check ca_file",
    "entra_proxy": "the proxy does not let us through to Entra ID: check http.proxy and what it allows",
}


@dataclass(frozen=True, slots=True)
class Granted:
    """A token, and for how many seconds it is said to live."""

    token: str
    lifetime: float

    def __repr__(self) -> str:
        """Show no token."""
        return f"Granted(lifetime={self.lifetime})"


class EntraId:
    """Asks for tokens; one request at a time per tenant is the caller's part.

    `credential` names the setting that an operator mends where Entra ID refuses it.
    """

    def __init__(self, *, settings: Entra, http: LoginHttp, clock: Clock, credential: str) -> None:
        self._settings = settings
        self._credential = credential
        self._http = http
        self._forms = Forms(settings)
        self._clock = clock

    def consent_url(self, tenant: Tenant) -> str:
        """Return where a tenant's administrator consents."""
        settings = self._settings
        return directory_consent_url(
            login_url=settings.login_url, client_id=settings.client_id, tenant=tenant.id
        )

    async def acquire(self, tenant: Tenant, *, resource: str, proof: Proof) -> Granted:
        """Ask for one token.

        Raises:
            SourceError: as its class says; none of them holds a token, a secret or Entra's own words.
        """
        form = self._forms.of(tenant, resource=resource, proof=proof)
        try:
            answer = await self._http.post(form.url, fields=form.fields, headers=form.headers)
        except LoginUnreached as error:
            words = _UNREACHED.get(error.reason, f"Entra ID cannot be reached: {error.kind}")
            raise SourceUnavailable(words, reason=error.reason) from None
        content = _content(answer)
        token = content.get("access_token") if content else None
        if answer.status == _OK and isinstance(token, str) and token:
            return Granted(token, _lifetime((content or {}).get("expires_in")))
        raise refusal(
            status=answer.status,
            content=content,
            headers=answer.headers,
            tenant=tenant,
            login_url=self._settings.login_url,
            client_id=self._settings.client_id,
            credential=self._credential,
            now=self._clock.unix(),
        )


def _content(answer: Answer) -> dict[str, Any] | None:
    try:
        content = msgspec.json.decode(answer.text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _lifetime(value: object) -> float:
    """Read `expires_in`, which v1 writes as a string; what makes no sense is an hour, or a bound."""
    try:
        seconds = float(value) if isinstance(value, int | float | str) else _DEFAULT_SECONDS
    except ValueError:
        seconds = _DEFAULT_SECONDS
    if seconds != seconds:  # noqa: PLR0124 - not a number
        seconds = _DEFAULT_SECONDS
    return min(max(seconds, _MIN_SECONDS), _MAX_SECONDS)

"""Token requests to Entra ID: v2 through MSAL, v1 by a POST of our own; blocking, for threads."""

import sys
from dataclasses import dataclass
from typing import Any

import msal
import msgspec
import requests

from ingest.errors import SourceUnavailable
from ingest.identity.consent import directory_consent_url
from ingest.identity.http import Exchange, TokenHttp
from ingest.identity.proof import Proof
from ingest.identity.refusals import refusal
from ingest.model.tenant import Tenant
from ingest.pipeline.ports import Clock
from ingest.settings.models import Entra

# MSAL looks for this companion of desktop programs on the disk whenever an application is made.
sys.modules.setdefault("msal_extensions", None)  # type: ignore[arg-type]

_MIN_SECONDS, _MAX_SECONDS, _DEFAULT_SECONDS = 1.0, 86_400.0, 3599.0
_OK = 200


@dataclass(frozen=True, slots=True)
class Granted:
    """A token, and for how many seconds it is said to live."""

    token: str
    lifetime: float

    def __repr__(self) -> str:
        """Show no token."""
        return f"Granted(lifetime={self.lifetime})"


class EntraId:
    """Asks for tokens. Safe for many threads; one request at a time per tenant is the caller's part.

    An MSAL application object lives for one request: it costs 0.2 ms, and its caches (of tokens, of
    errors for 60 s, of metadata) would have to be worked around; see docs/decisions. `credential` names the
    setting that an operator mends where Entra ID refuses it.
    """

    def __init__(self, *, settings: Entra, http: TokenHttp, clock: Clock, credential: str) -> None:
        self._settings = settings
        self._credential = credential
        self._http = http
        self._clock = clock

    def consent_url(self, tenant: Tenant) -> str:
        """Return where a tenant's administrator consents."""
        settings = self._settings
        return directory_consent_url(
            login_url=settings.login_url, client_id=settings.client_id, tenant=tenant.id
        )

    def acquire(self, tenant: Tenant, *, resource: str, proof: Proof) -> Granted:
        """Ask for one token.

        Raises:
            SourceError: as its class says; none of them holds a token, a secret or Entra's own words.
        """
        exchange = self._http.exchange()
        ask = self._ask_v1 if self._settings.token_version == "v1" else self._ask_v2  # noqa: S105
        try:
            content = ask(exchange, tenant, resource, proof)
        except requests.exceptions.Timeout:
            raise SourceUnavailable(
                "Entra ID did not answer in time", reason="entra_timeout"
            ) from None
        except requests.exceptions.SSLError:
            raise SourceUnavailable(
                "Entra ID's certificate is not trusted: check ca_file", reason="entra_tls"
            ) from None
        except requests.exceptions.ProxyError:
            raise SourceUnavailable(
                "the proxy does not let us through to Entra ID: check http.proxy and what it allows",
                reason="entra_proxy",
            ) from None
        except (requests.exceptions.RequestException, OSError) as error:
            raise SourceUnavailable(
                f"Entra ID cannot be reached: {type(error).__name__}", reason="entra_network"
            ) from None
        answer = exchange.answer
        token = content.get("access_token") if content else None
        if answer is not None and answer.status_code == _OK and isinstance(token, str) and token:
            return Granted(token, _lifetime((content or {}).get("expires_in")))
        raise refusal(
            status=0 if answer is None else answer.status_code,
            content=content,
            headers={} if answer is None else answer.headers,
            tenant=tenant,
            login_url=self._settings.login_url,
            client_id=self._settings.client_id,
            credential=self._credential,
            now=self._clock.unix(),
        )

    def _ask_v2(
        self, exchange: Exchange, tenant: Tenant, resource: str, proof: Proof
    ) -> dict[str, Any] | None:
        settings = self._settings
        try:
            application = msal.ConfidentialClientApplication(
                settings.client_id,
                client_credential=proof.for_msal(),
                authority=f"{settings.login_url}/{tenant.id}",
                http_client=exchange,
                instance_discovery=False,
                azure_region=False,
            )
            application.acquire_token_for_client([f"{resource.rstrip('/')}/.default"])
        except (requests.exceptions.RequestException, OSError):
            raise
        except Exception:
            # MSAL raises many things on answers that are not what it expects; if there was an
            # answer, that says more.
            if exchange.answer is None:
                raise SourceUnavailable(
                    "MSAL could not ask for a token", reason="entra_unreadable"
                ) from None
        return _content(exchange)

    def _ask_v1(
        self, exchange: Exchange, tenant: Tenant, resource: str, proof: Proof
    ) -> dict[str, Any] | None:
        settings = self._settings
        endpoint = f"{settings.login_url}/{tenant.id}/oauth2/token"
        exchange.post(
            endpoint,
            data={
                "grant_type": "client_credentials",
                "client_id": settings.client_id,
                "resource": resource,
                **proof.fields(client_id=settings.client_id, endpoint=endpoint),
            },
            headers={"Accept": "application/json"},
        )
        return _content(exchange)


def _content(exchange: Exchange) -> dict[str, Any] | None:
    if exchange.answer is None:
        return None
    try:
        content = msgspec.json.decode(exchange.answer.text)
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

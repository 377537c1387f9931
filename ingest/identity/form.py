"""What a token request says: in v2 as MSAL writes it, in v1 as we do. Nothing is sent here."""

import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Never

import msal

from ingest.errors import SourceUnavailable
from ingest.identity.proof import Proof
from ingest.model.tenant import Tenant
from ingest.settings.models import Entra

# MSAL looks for this companion of desktop programs on the disk whenever an application is made.
sys.modules.setdefault("msal_extensions", None)  # type: ignore[arg-type]

_NO_ARGUMENTS = inspect.Signature()
_METADATA = "/v2.0/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class Form:
    """One token request; its fields hold a secret or a signature."""

    url: str
    fields: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


def form_of(settings: Entra, tenant: Tenant, *, resource: str, proof: Proof) -> Form:
    """Return the request for one tenant's token.

    Raises:
        SourceUnavailable: MSAL could not write it.
    """
    if settings.token_version == "v1":  # noqa: S105
        return _v1(settings, tenant, resource, proof)
    return _v2(settings, tenant, resource, proof)


def _v1(settings: Entra, tenant: Tenant, resource: str, proof: Proof) -> Form:
    endpoint = f"{settings.login_url}/{tenant.id}/oauth2/token"
    fields = {
        "grant_type": "client_credentials",
        "client_id": settings.client_id,
        "resource": resource,
        **proof.fields(client_id=settings.client_id, endpoint=endpoint),
    }
    return Form(endpoint, fields, {})


def _v2(settings: Entra, tenant: Tenant, resource: str, proof: Proof) -> Form:
    """Let MSAL write the request; its application object lives for as long as that (decision 0025)."""
    authority = f"{settings.login_url}/{tenant.id}"
    shown = proof.fields(client_id=settings.client_id, endpoint=f"{authority}/oauth2/v2.0/token")
    try:
        application = msal.ConfidentialClientApplication(
            settings.client_id,
            client_credential=_for_msal(shown),
            authority=authority,
            http_client=_Desk(),
            instance_discovery=False,
            azure_region=False,
        )
        application.acquire_token_for_client([f"{resource.rstrip('/')}/.default"])
    except _Written as written:
        return written.form
    except Exception as error:
        # MSAL raises many things.
        raise SourceUnavailable(
            f"MSAL could not ask for a token ({type(error).__name__})", reason="entra_unreadable"
        ) from None
    raise SourceUnavailable("MSAL did not ask for a token", reason="entra_unreadable")


def _for_msal(shown: Mapping[str, str]) -> Any:
    """Return what a proof shows in the form that MSAL takes for `client_credential`."""
    if "client_secret" in shown:
        return shown["client_secret"]

    # MSAL wants to ask for it, since it does not know that it is asked once.
    def show() -> str:
        return shown["client_assertion"]

    # It finds out what it may ask with, each time anew, unless it is told.
    show.__signature__ = _NO_ARGUMENTS  # type: ignore[attr-defined]
    return {"client_assertion": show}


class _Written(Exception):
    def __init__(self, form: Form) -> None:
        super().__init__("a token request is written")
        self.form = form


class _Desk:
    """What MSAL takes for an HTTP client: it sends nothing, and hands over what was to be sent.

    MSAL also asks for the authority's metadata each time an application object is made. The answer follows
    from the authority's own URL, so it is given here, without a call and without trusting an answer's hosts.
    """

    def post(
        self,
        url: str,
        *,
        data: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        **_: Any,
    ) -> Never:
        raise _Written(Form(url, data, headers or {}))

    def get(self, url: str, **_: Any) -> "_Metadata":
        authority = url.removesuffix(_METADATA)
        if authority == url:
            raise ValueError("nothing but the authority's metadata is to be asked for")
        return _Metadata(
            f'{{"token_endpoint": "{authority}/oauth2/v2.0/token", "issuer": "{authority}/v2.0", '
            f'"authorization_endpoint": "{authority}/oauth2/v2.0/authorize"}}'
        )

    def close(self) -> None:
        pass


class _Metadata:
    """An answer in the form that MSAL expects."""

    status_code = 200
    headers: Mapping[str, str] = {}

    def __init__(self, text: str) -> None:
        self.text = text

    def raise_for_status(self) -> None:
        pass

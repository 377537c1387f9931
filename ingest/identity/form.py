"""What a token request says: in v2 as MSAL writes it, in v1 as we do. Nothing is sent here."""

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Never

import msal

from ingest.errors import SourceUnavailable
from ingest.identity.proof import Proof
from ingest.model.tenant import NOBODY, Tenant
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


class Forms:
    """Writes token requests of one application."""

    def __init__(self, settings: Entra) -> None:
        self._settings = settings
        self._msal: _Msal | None = None

    def of(self, tenant: Tenant, *, resource: str, proof: Proof) -> Form:
        """Return the request for one tenant's token.

        Raises:
            SourceUnavailable: MSAL could not write it.
        """
        settings = self._settings
        is_v1 = settings.token_version == "v1"  # noqa: S105
        path = "token" if is_v1 else "v2.0/token"
        endpoint = f"{settings.login_url}/{tenant.id}/oauth2/{path}"
        shown = proof.fields(client_id=settings.client_id, endpoint=endpoint)
        if is_v1:
            return self._v1(endpoint, resource, shown)
        return self._v2(endpoint, f"{resource.rstrip('/')}/.default", shown)

    def _v1(self, endpoint: str, resource: str, shown: Mapping[str, str]) -> Form:
        fields = {
            "grant_type": "client_credentials",
            "client_id": self._settings.client_id,
            "resource": resource,
            **shown,
        }
        return Form(endpoint, fields, {})

    def _v2(self, endpoint: str, scope: str, shown: Mapping[str, str]) -> Form:
        secret = shown.get("client_secret")
        try:
            if self._msal is None or self._msal.secret != secret:
                self._msal = _Msal(self._settings, secret)
            return self._msal.write(endpoint, scope, shown.get("client_assertion", ""))
        except SourceUnavailable:
            raise
        except Exception as error:
            # MSAL raises many things.
            raise SourceUnavailable(
                f"MSAL could not ask for a token ({type(error).__name__})",
                reason="entra_unreadable",
            ) from None


class _Msal:
    """MSAL's application object, aimed at one tenant after another (decision 0025).

    To make one takes twice as long as to write a request with it. No answer ever reaches it, so it has no
    token and no refusal of one tenant to show to another.

    Args:
        settings: of Entra.
        secret: the application's, None where it shows assertions.
    """

    def __init__(self, settings: Entra, secret: str | None) -> None:
        self.secret = secret
        self._assertion = ""
        self._application = msal.ConfidentialClientApplication(
            settings.client_id,
            client_credential=secret or {"client_assertion": self._shown()},
            authority=f"{settings.login_url}/{NOBODY}",
            http_client=_Desk(),
            instance_discovery=False,
            azure_region=False,
        )

    def _shown(self) -> Callable[[], str]:
        # MSAL wants to ask for it, since an application object may outlive an assertion.
        def show() -> str:
            return self._assertion

        # It finds out what it may ask with, each time anew, unless it is told.
        show.__signature__ = _NO_ARGUMENTS  # type: ignore[attr-defined]
        return show

    def write(self, endpoint: str, scope: str, assertion: str) -> Form:
        """Return a request for a token; nothing else runs meanwhile.

        Raises:
            SourceUnavailable: MSAL asked nothing, or somebody else than it was told to.
            Exception: MSAL's.
        """
        self._assertion = assertion
        self._application.client.configuration["token_endpoint"] = endpoint
        try:
            self._application.acquire_token_for_client([scope])
        except _Written as written:
            # One tenant's assertion must not reach another tenant.
            if written.form.url == endpoint:
                return written.form
        finally:
            self._assertion = ""
        raise SourceUnavailable(
            "MSAL did not ask for the tenant's token", reason="entra_unreadable"
        )


class _Written(Exception):
    def __init__(self, form: Form) -> None:
        super().__init__("a token request is written")
        self.form = form


class _Desk:
    """What MSAL takes for an HTTP client: it sends nothing, and hands over what was to be sent.

    MSAL also asks for the authority's metadata when an application object is made. The answer follows
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

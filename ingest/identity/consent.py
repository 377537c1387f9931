"""Microsoft's links to consent: where a customer's administrator is sent."""

from urllib.parse import quote, urlencode

ANY_DIRECTORY = "organizations"
"""In place of a tenant: whichever directory the administrator signs in to."""


def admin_consent_url(
    *,
    login_url: str,
    client_id: str,
    resource: str,
    tenant: str | None = None,
    redirect_url: str | None = None,
    state: str | None = None,
) -> str:
    """Return the v2 form, for the application permissions on one resource.

    Args:
        login_url: the login host of the application's cloud.
        client_id: the application's id.
        resource: of the region, such as https://api.securitycenter.microsoft.com.
        tenant: the only directory that may consent; None lets the administrator choose.
        redirect_url: where the answer goes; without it to one that is registered.
        state: comes back with the answer.
    """
    words = {"client_id": client_id, "scope": f"{resource.rstrip('/')}/.default"}
    if redirect_url is not None:
        words["redirect_uri"] = redirect_url
    if state is not None:
        words["state"] = state
    return f"{login_url}/{tenant or ANY_DIRECTORY}/v2.0/adminconsent?{urlencode(words)}"


def directory_consent_url(*, login_url: str, client_id: str, tenant: str) -> str:
    """Return the short form: one directory consents to all permissions that the application has."""
    return f"{login_url}/{tenant}/adminconsent?client_id={quote(client_id)}"


def authorize_url(*, login_url: str, client_id: str, tenant: str | None = None) -> str:
    """Return the older form, as Microsoft's partner documents show it: it comes back without a tenant."""
    words = {
        "prompt": "consent",
        "client_id": client_id,
        "response_type": "code",
        "sso_reload": "true",
    }
    return f"{login_url}/{tenant or 'common'}/oauth2/authorize?{urlencode(words)}"

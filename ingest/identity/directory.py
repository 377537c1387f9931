"""A domain name's tenant: what Entra ID's public OpenID configuration says of whom it belongs to.

Nothing is sent but the name, and nothing is believed but a GUID from the configured login host.
"""

import re
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from ingest.errors import CommandRefused, SourceUnavailable
from ingest.identity.http import Answer, LoginUnreached
from ingest.model.tenant import is_guid

_DOMAIN = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]*[a-z]")
_PLAIN = re.compile(r"[a-z0-9.-]{1,100}(:[0-9]{1,5})?")
_PERSONAL = "9188040d-6c67-4c5b-b112-36a304b66dad"
"""The tenant that every personal Microsoft account belongs to."""

_OK, _REDIRECTS, _TOO_MANY, _SERVER_ERRORS = 200, range(300, 400), 429, 500
_UNKNOWN = (400, 404)


class Asks(Protocol):
    """What fetches a document; `LoginHttp` is one."""

    async def get(self, url: str) -> Answer:
        """Return the answer, whatever its status.

        Raises:
            LoginUnreached: there was none.
        """
        ...


def domain_of(text: str) -> str | None:
    """Return a domain name in the form that is asked for, None where the text is none."""
    try:
        name = text.strip().rstrip(".").lower().encode("idna").decode()
    except UnicodeError:
        return None
    return name if _DOMAIN.fullmatch(name) else None


async def tenant_of_domain(domain: str, *, login_url: str, http: Asks) -> str:
    """Return the GUID of the tenant that a domain name belongs to.

    Raises:
        CommandRefused: it belongs to nobody who can be read here.
        SourceUnavailable: the login host did not say.
    """
    url = f"{login_url}/{domain}/v2.0/.well-known/openid-configuration"
    try:
        answer = await http.get(url)
    except LoginUnreached as error:
        raise SourceUnavailable(_unreached(error, login_url), reason=error.reason) from None
    status = answer.status
    if status in _UNKNOWN:
        otherwise = "" if is_guid(domain) else "; or give the tenant's GUID"
        raise CommandRefused(
            f"{domain} belongs to no tenant of {login_url}: check how it is written, and that "
            f"entra.login_url is the customer's cloud{otherwise}"
        )
    if status == _TOO_MANY or status >= _SERVER_ERRORS:
        raise SourceUnavailable(
            f"{login_url} does not say now whose {domain} is (HTTP {status}): try again in a while, "
            "or give the tenant's GUID",
            reason="entra_unavailable",
        )
    if status in _REDIRECTS:
        raise SourceUnavailable(
            f"{login_url} sends the question for {domain} elsewhere, which is not followed: "
            "check entra.login_url",
            reason="entra_redirect",
        )
    document = _document(answer) if status == _OK else None
    if document is None:
        raise _unreadable(domain, login_url)
    host = urlsplit(login_url).netloc
    endpoint = _parts(document.get("token_endpoint"))
    if endpoint.netloc != host:
        # Entra ID answers for all its clouds, and names the one that the tenant is in.
        where = endpoint.netloc if _PLAIN.fullmatch(endpoint.netloc) else "another one"
        raise CommandRefused(
            f"{domain} is in another national cloud ({where}), which needs an application and "
            "a daemon of its own"
        )
    named = {_first(endpoint.path), _first(_parts(document.get("issuer")).path)}
    if len(named) != 1 or not is_guid(found := named.pop()):
        raise _unreadable(domain, login_url)
    if found == _PERSONAL:
        raise CommandRefused(
            f"{domain} is for personal Microsoft accounts and no customer's: give a domain that the "
            "customer's directory has verified, or its GUID"
        )
    return found


def _unreached(error: LoginUnreached, login_url: str) -> str:
    remedy = "or give the tenant's GUID, which needs no question"
    match error.reason:
        case "entra_timeout":
            return f"{login_url} did not answer in time: try again, {remedy}"
        case "entra_tls":
            return f"the certificate of {login_url} is not trusted: check ca_file, {remedy}"
        case "entra_proxy":
            return (
                f"the proxy does not let us through to {login_url}: check http.proxy and what it "
                f"allows, {remedy}"
            )
        case _:
            return (
                f"{login_url} cannot be reached ({error.kind}): check the network and "
                f"entra.login_url, {remedy}"
            )


def _document(answer: Answer) -> Mapping[str, Any] | None:
    try:
        content = msgspec.json.decode(answer.text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _parts(url: object) -> Any:
    try:
        return urlsplit(url if isinstance(url, str) else "")
    except ValueError:
        return urlsplit("")


def _first(path: str) -> str:
    return path.lstrip("/").partition("/")[0].lower()


def _unreadable(domain: str, login_url: str) -> SourceUnavailable:
    return SourceUnavailable(
        f"the answer of {login_url} does not say whose {domain} is: check entra.login_url, or give "
        "the tenant's GUID",
        reason="entra_unreadable",
    )

"""Microsoft's clouds: which hosts a token may be asked of and sent to, by the name of a region.

A closed list, which a configuration may extend. A tenant's record names a region, and never a host.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated

from pydantic import Field

from ingest.settings.section import Section

HOST = r"^https://[^/\s@?#]+$"
Host = Annotated[str, Field(pattern=HOST)]

PUBLIC_LOGIN = "https://login.microsoftonline.com"
_GOVERNMENT_LOGIN = "https://login.microsoftonline.us"
_USUAL = "commercial"
_COMMERCIAL = "https://api.securitycenter.microsoft.com"


class Region(Section):
    """One of Microsoft's API hosts, with the resource that its tokens are for."""

    api_url: Host
    """The host of the alert API, such as https://api.security.microsoft.com."""

    resource: str = _COMMERCIAL
    """The resource that tokens are asked for: `resource` in v1, `resource/.default` in v2."""

    login_url: Host | None = None
    """The login host of its cloud, where that is a certain one: a region whose login host is not
    `entra.login_url` is not served."""


def with_known(regions: Mapping[str, Region]) -> dict[str, Region]:
    """Return Microsoft's regions and these; of the same name, these."""
    hosts = {"commercial": "https://api.security.microsoft.com"}
    hosts |= {
        code: f"https://{code}.api.security.microsoft.com"
        for code in ("us", "eu", "uk", "au", "swa", "ina")
    }
    known = {
        name: Region(api_url=host, resource=_COMMERCIAL, login_url=PUBLIC_LOGIN)
        for name, host in hosts.items()
    }
    # Its API is in the government's cloud, its directories are in the public one.
    known["gcc"] = Region(
        api_url="https://api-gcc.securitycenter.microsoft.us",
        resource="https://securitycenter.onmicrosoft.com/windowsatpservice",
        login_url=PUBLIC_LOGIN,
    )
    government = Region(
        api_url="https://api-gov.securitycenter.microsoft.us",
        resource="https://securitycenter.onmicrosoft.us/windowsatpservice",
        login_url=_GOVERNMENT_LOGIN,
    )
    return known | {"gcc-high": government, "dod": government} | dict(regions)


def usual(served: Mapping[str, Region]) -> str:
    """Return the region that is meant where none is named: the only one there is, or commercial."""
    if len({(region.api_url, region.resource) for region in served.values()}) == 1:
        return next(iter(served))
    return _USUAL


def objection(region: str, logins: Mapping[str, str | None], login_url: str) -> str | None:
    """Return why tenants of a region cannot be read, in words that follow its name; None where they can.

    Args:
        region: its name.
        logins: the login host of each region, None for whichever is configured.
        login_url: the one that is configured.
    """
    if region in logins:
        login = logins[region]
        if login is None or login == login_url:
            return None
        return (
            f"is of another cloud: its tenants sign in at {login}, and entra.login_url is {login_url}; "
            "each cloud needs an application and a daemon of its own"
        )
    served = sorted(name for name, login in logins.items() if login in (None, login_url))
    meant = get_close_matches(region, served, 1)
    hint = f"did you mean {meant[0]}?" if meant else f"one of {', '.join(served)}"
    return f"is not a key of regions; {hint}"

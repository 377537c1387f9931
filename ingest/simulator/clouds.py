"""National clouds of the simulation: which host names each has, and whom one finds there."""

from collections.abc import Mapping
from dataclasses import dataclass

from ingest.simulator.customer import Customer


@dataclass(frozen=True, slots=True)
class Hosts:
    """Where a region's tenants sign in, where their alerts are, and the resource that tokens are for."""

    login: str
    api: str
    resource: str


_PUBLIC, _GOVERNMENT = "login.simulated.test", "login-us.simulated.test"
_COMMERCIAL = "https://api.securitycenter.microsoft.com"

REGIONS: Mapping[str, Hosts] = {
    "commercial": Hosts(_PUBLIC, "api.simulated.test", _COMMERCIAL),
    "eu": Hosts(_PUBLIC, "eu-api.simulated.test", _COMMERCIAL),
    "gcc": Hosts(
        _PUBLIC,
        "api-gcc.simulated.test",
        "https://securitycenter.onmicrosoft.com/windowsatpservice",
    ),
    "gcc-high": Hosts(
        _GOVERNMENT,
        "api-gov.simulated.test",
        "https://securitycenter.onmicrosoft.us/windowsatpservice",
    ),
    "dod": Hosts(
        _GOVERNMENT,
        "api-gov.simulated.test",
        "https://securitycenter.onmicrosoft.us/windowsatpservice",
    ),
}
"""Regions whose tenants are found under these names, which lead nowhere but through the simulator's proxy."""

NAMES = frozenset(name for hosts in REGIONS.values() for name in (hosts.login, hosts.api))
_LOGINS = frozenset(hosts.login for hosts in REGIONS.values())
_APIS = frozenset(hosts.api for hosts in REGIONS.values())


def is_login(host: str) -> bool:
    """Tell whether a host answers what is asked of a login host; one without a name of these does all."""
    return _name(host) not in _APIS


def is_api(host: str) -> bool:
    """Same for alerts."""
    return _name(host) not in _LOGINS


def signs_in_at(customer: Customer, host: str) -> bool:
    """Tell whether a tenant's directory is in the cloud of a login host."""
    hosts = REGIONS.get(customer.region)
    return hosts is None or _name(host) not in _LOGINS or hosts.login == _name(host)


def login_of(customer: Customer, host: str) -> str:
    """Return the login host that a tenant's documents name, asked at another one."""
    hosts = REGIONS.get(customer.region)
    return host if hosts is None or _name(host) not in _LOGINS else hosts.login


def reads_at(customer: Customer, host: str) -> bool:
    """Tell whether a tenant's alerts are at an API host: at that of its region."""
    hosts = REGIONS.get(customer.region)
    return hosts is None or _name(host) not in _APIS or hosts.api == _name(host)


def takes(customer: Customer, audience: str) -> bool:
    """Tell whether a tenant's API takes tokens of an audience, beside what every API asks."""
    hosts = REGIONS.get(customer.region)
    return hosts is None or hosts.resource == audience


def _name(host: str) -> str:
    return host.partition(":")[0].lower()

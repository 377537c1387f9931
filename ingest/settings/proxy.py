"""The way out: which proxy a host is reached through, for token requests and alerts alike."""

import os
import re
from collections.abc import Callable
from functools import lru_cache
from urllib.request import getproxies, proxy_bypass

from pydantic import SecretStr, field_validator

from ingest.settings.section import Section

ProxyOf = Callable[[str], str | None]
"""Gives the URL of the proxy for a host, None where it is reached directly."""

_VARIABLES = ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY")
_PROXY = re.compile(r"http://([^\s/@]+@)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}/?")


def environment_proxy(host: str) -> str | None:
    """Return the proxy that the environment names for a host (`HTTPS_PROXY`, `NO_PROXY`)."""
    return _named(host, *map(os.environ.get, _VARIABLES))


@lru_cache(maxsize=256)
def _named(host: str, *_: str | None) -> str | None:
    # To look through the environment costs more than a call's request; what it says is a part of the key.
    return None if proxy_bypass(host) else getproxies().get("https")


class Http(Section):
    """The way to the login and API hosts."""

    proxy: SecretStr | None = None
    """An HTTP proxy for all of them, http://HOST:PORT or http://NAME:PASSWORD@HOST:PORT. Where none is given,
    those of the environment hold (`HTTPS_PROXY`, `NO_PROXY`)."""

    no_proxy: list[str] = []  # noqa: RUF012 - the library copies it
    """Hosts that are reached without `proxy`: names, with all that end in them, or IP addresses."""

    def proxy_of(self, host: str) -> str | None:
        """See `ProxyOf`."""
        if self.proxy is None:
            return environment_proxy(host)
        name = host.lower().rstrip(".")
        for written in self.no_proxy:
            one = written.lower().strip(".")
            if name == one or name.endswith(f".{one}"):
                return None
        return self.proxy.get_secret_value()

    @field_validator("proxy")
    @classmethod
    def _proxy_is_one(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _PROXY.fullmatch(value.get_secret_value()):
            raise ValueError("must be http://HOST:PORT or http://NAME:PASSWORD@HOST:PORT")
        return value

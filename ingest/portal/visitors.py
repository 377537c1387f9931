"""Who asks, as far as it can be known, and how often each may."""

import ipaddress
from collections import OrderedDict
from collections.abc import Collection, Sequence

from ingest.settings.consent import Network

_MOST = 10_000
"""So many addresses are remembered; whoever was away the longest is forgotten first."""

_V6_PREFIX = 64
"""One household or host has at least so much of IPv6: single addresses would be no limit."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def client_of(peer: str | None, forwarded: Sequence[str], trusted: Collection[Network]) -> str:
    """Return the address of whoever asks.

    Args:
        peer: who has connected.
        forwarded: the `X-Forwarded-For` headers as they came.
        trusted: the proxies that are believed: the last address that none of them has is the client's.
    """
    address = _address(peer or "")
    if address is None:
        return ""
    hops = [hop.strip() for line in forwarded for hop in line.split(",")]
    while hops and any(address in network for network in trusted):
        before = _address(hops.pop())
        if before is None:
            break
        address = before
    return str(address)


class Allowance:
    """So much a minute, and as much at once; `now` is monotonic seconds."""

    def __init__(self, per_minute: int) -> None:
        self._most = float(per_minute)
        self._left = self._most
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Take one, unless nothing is left."""
        if self._at:
            self._left = min(self._most, self._left + (now - self._at) * self._most / 60.0)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Visitors:
    """An allowance for each client address."""

    def __init__(self, per_minute: int, *, most: int = _MOST) -> None:
        self._per_minute = per_minute
        self._most = most
        self._known: OrderedDict[str, Allowance] = OrderedDict()

    def may_ask(self, client: str, now: float) -> bool:
        """Tell whether one more request is within its allowance, and take it out."""
        key = _key(client)
        allowance = self._known.pop(key, None) or Allowance(self._per_minute)
        self._known[key] = allowance
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return allowance.take(now)


def _address(text: str) -> Address | None:
    """Return an address of a header or a socket, which may have a port or a zone."""
    bare = text.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _key(client: str) -> str:
    address = _address(client)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, _V6_PREFIX), strict=False))
    return client

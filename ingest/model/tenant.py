"""Tenants and feeds: who is read, and what of theirs."""

import re
import zlib
from dataclasses import dataclass
from enum import StrEnum

_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Feed(StrEnum):
    """One alert API of a tenant."""

    MDE_ALERTS = "mde-alerts"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer's Entra directory: `id` is its GUID in lower case, `name` is for people.

    `region` picks one of the operator's configured API hosts; a tenant never names a host itself.
    """

    id: str
    name: str
    region: str

    def __post_init__(self) -> None:
        if not is_guid(self.id):
            raise ValueError("a tenant is named by its directory's GUID, in lower case")


@dataclass(frozen=True, slots=True, order=True)
class FeedKey:
    """One feed of one tenant: what has a watermark, a memory and a checkpoint of its own."""

    tenant: str
    feed: Feed = Feed.MDE_ALERTS

    def __str__(self) -> str:
        return f"{self.tenant}/{self.feed}"


def is_guid(text: str) -> bool:
    """Tell whether `text` is a GUID in canonical lower case."""
    return _GUID.fullmatch(text) is not None


def shard_of(tenant: str, shards: int) -> int:
    """Return the shard of a tenant: CRC-32 of its GUID, as librdkafka's `consistent` has it."""
    return zlib.crc32(tenant.encode()) % shards

"""Tenants and feeds: who is read, and what of theirs."""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

LABELS = 16
"""The most labels that a tenant can have: each is a header of all its alerts."""

_LABEL_NAME = re.compile(r"[a-z][a-z0-9]{0,14}")
_LABEL_LONGEST = 100
_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Feed(StrEnum):
    """One alert API of a tenant."""

    MDE_ALERTS = "mde-alerts"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer's Entra directory: `id` is its GUID in lower case, `name` is for people.

    `region` picks one of the operator's configured API hosts; a tenant never names a host itself.
    `labels` are the operator's own words about it, as `labels_of` returns them.
    """

    id: str
    name: str
    region: str
    labels: tuple[tuple[str, str], ...] = ()

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


NOBODY = "00000000-0000-0000-0000-000000000000"
"""Stands for a directory that is none, or is not known yet."""


def is_guid(text: str) -> bool:
    """Tell whether `text` is a GUID in canonical lower case."""
    return _GUID.fullmatch(text) is not None


def labels_of(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return labels as a tenant has them: in the order of their names.

    Raises:
        ValueError: saying which of them cannot be one, and why.
    """
    if len(labels) > LABELS:
        raise ValueError(f"must be {LABELS} labels at most")
    for name, value in labels.items():
        if not _LABEL_NAME.fullmatch(name):
            raise ValueError(
                f"a label's name must be 1 to 15 letters a-z and digits, a letter first; {name[:40]!r} is not"
            )
        if not (
            0 < len(value) <= _LABEL_LONGEST and value.isprintable() and value == value.strip()
        ):
            raise ValueError(
                f"label {name}: its value must be 1 to {_LABEL_LONGEST} letters that can be printed"
            )
    return tuple(sorted(labels.items()))


def shard_of(tenant: str, shards: int) -> int:
    """Return the shard of a tenant: CRC-32 of its GUID, as librdkafka's `consistent` has it."""
    return zlib.crc32(tenant.encode()) % shards

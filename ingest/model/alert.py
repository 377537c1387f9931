"""What a page holds: alerts, and records that cannot be understood as one."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as the API returned it.

    `raw` is, byte for byte, the API's own JSON of this alert. `updated` and `created` are ticks
    (`ingest.model.instant`). `digest` is a 64-bit hash of `raw`: a cheap first comparison.
    """

    id: str
    updated: int
    created: int
    resolved: bool
    raw: bytes
    digest: int


@dataclass(frozen=True, slots=True)
class Malformed:
    """A record that cannot be understood: `reason` is a short stable name for it.

    `updated` and `created` are there where they could be read; paging needs them.
    """

    raw: bytes
    reason: str
    digest: int
    updated: int | None = None
    created: int | None = None

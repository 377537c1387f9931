"""What a page holds: alerts, and records that cannot be understood as one.

A backlog makes hundreds of thousands of them: msgspec's structs cost a fifth of a frozen dataclass, and
the garbage collector need not walk them.
"""

from typing import Any

import msgspec


class Alert(msgspec.Struct, frozen=True, gc=False):
    """One alert as the API returned it.

    `raw` is, byte for byte, the API's own JSON of this alert: a view of the page that it came in, which
    stays in memory for as long. `updated` and `created` are ticks (`ingest.model.instant`). `digest` is a
    64-bit hash of `raw`: a cheap first comparison. `parsed` is the source's own, for its `canonical`: what
    it found while it read the record.
    """

    id: str
    updated: int
    created: int
    resolved: bool
    raw: bytes | memoryview
    digest: int
    parsed: Any = None

    def __repr__(self) -> str:
        # Its content must not come into a log by way of a traceback (law 8).
        return f"Alert(id={self.id!r}, updated={self.updated}, bytes={len(self.raw)})"


class Malformed(msgspec.Struct, frozen=True, gc=False):
    """A record that cannot be understood: `reason` is a short stable name for it.

    `updated` and `created` are there where they could be read; paging needs them.
    """

    raw: bytes
    reason: str
    digest: int
    updated: int | None = None
    created: int | None = None

    def __repr__(self) -> str:
        return f"Malformed(reason={self.reason!r}, bytes={len(self.raw)})"

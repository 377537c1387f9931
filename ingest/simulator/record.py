"""The simulator's own record: which version of which alert could be read, and when."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256


@dataclass(slots=True, eq=False)
class Entry:
    """One version that was visible, or one malformed record.

    `since` and `until` are Unix seconds of the clock: the API could have returned it in between.
    `late` is how old its `lastUpdateTime` was when it became visible: a reader that looks back less
    than that cannot see it. `silent` says that its time is that of the version before.
    """

    tenant: str
    alert: str
    version: int
    updated: str
    since: float
    kind: str
    late: float
    silent: bool
    digests: list[bytes] = field(default_factory=list)
    until: float | None = None
    copy: bytes | None = None

    def seen_as(self, raw: bytes) -> None:
        """Take note of bytes that this version is served as."""
        digest = sha256(raw).digest()
        if digest not in self.digests:
            self.digests.append(digest)

    def line(self) -> str:
        """Return the entry as one line of JSON."""
        content = {
            "tenant": self.tenant,
            "alert": self.alert,
            "version": self.version,
            "updated": self.updated,
            "sha256": [digest.hex() for digest in self.digests],
            "from": self.since,
            "to": self.until,
            "kind": self.kind,
            "late": round(self.late, 3),
            "silent": self.silent,
        }
        if self.copy is not None:
            content["copy"] = self.copy.decode()
        return json.dumps(content)


class Record:
    """Every entry, in the order in which they became visible within a tenant."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def __len__(self) -> int:
        return len(self._entries)

    def open(
        self,
        *,
        tenant: str,
        alert: str,
        version: int,
        updated: str,
        raw: bytes,
        since: float,
        kind: str = "alert",
        late: float = 0.0,
        silent: bool = False,
    ) -> Entry:
        """Note a version that is visible from now on."""
        entry = Entry(tenant, alert, version, updated, since, kind, late, silent)
        entry.seen_as(raw)
        self._entries.append(entry)
        return entry

    def lines(self) -> Iterator[str]:
        """Yield the record as JSON lines."""
        return (entry.line() for entry in self._entries)

    def count(self, kind: str) -> int:
        """Return how many entries are of a kind."""
        return sum(entry.kind == kind for entry in self._entries)


@dataclass(slots=True)
class Outages:
    """The times in which the simulator itself kept one tenant from being read.

    Failures with no success between them are one outage, from the first to the end of the last.
    """

    spans: list[list[float]] = field(default_factory=list)
    _open: bool = False

    def failed(self, since: float, until: float) -> None:
        """Note that reading failed at `since`, and could not succeed before `until`."""
        if self._open:
            self.spans[-1][1] = max(self.spans[-1][1], until)
        else:
            self.spans.append([since, until])
            self._open = True

    def succeeded(self) -> None:
        """Note that the tenant was read."""
        self._open = False

    def lifted(self, now: float) -> None:
        """End what would last beyond `now`."""
        if self.spans:
            self.spans[-1][1] = min(self.spans[-1][1], max(now, self.spans[-1][0]))
        self._open = False

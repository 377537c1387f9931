"""The audit: what a `read_committed` reader saw, against the simulator's own record.

Pure, and made of hashes and integers: it decodes no alert, so a decoder's bug cannot hide in it.
Both sides may arrive in any order and grow while it listens; `verdict` judges what is there.
"""

import hashlib
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from ingest.simulator.envelope import STRUCTURED, opened
from ingest.simulator.repeats import Repeats
from ingest.simulator.verdict import FAULTS, Findings, Verdict

_NEVER = float("inf")


class Where(IntEnum):
    """The topic in which a record was seen."""

    ALERTS = 0
    QUARANTINE = 1


class _Kind(IntEnum):
    ALERT = 0
    FUTURE = 1
    HUGE = 2
    MALFORMED = 3


_GOOD = (_Kind.ALERT, _Kind.FUTURE)


@dataclass(frozen=True, slots=True)
class Observed:
    """One record as a consumer got it."""

    where: Where
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]]
    timestamp: float = 0.0


@dataclass(frozen=True, slots=True)
class _Sighting:
    where: Where
    partition: int
    offset: int
    key: bytes
    source: str
    mark: bytes
    at: float


@dataclass(slots=True)
class _Assembly:
    parts: int
    seen: int
    hash: Any


class Audit:
    """Compares what was seen with what was served.

    Args:
        poll_interval: seconds between two readings of a tenant; what was visible for longer, plus
            the outages of its tenant in that time, must be found.
        partitions: the alerts topic's; None leaves the partition unchecked.
    """

    def __init__(self, *, poll_interval: float, partitions: int | None = None) -> None:
        self._poll_interval = poll_interval
        self.partitions = partitions
        self._outages: dict[str, list[tuple[float, float]]] = {}
        self._absences: dict[str, list[tuple[float, float]]] = {}
        self._tenants: dict[str, int] = {}
        self._names: list[str] = []
        self._ids: list[str] = []
        self._alerts: dict[tuple[int, str], int] = {}
        self._identities: dict[tuple[int, int, int], int] = {}
        self._by_mark: dict[bytes, int] = {}
        # One entry for each version, in columns: hundreds of thousands must fit.
        self._tenant = array("I")
        self._alert = array("I")
        self._version = array("q")
        self._kind = array("B")
        self._since = array("d")
        self._until = array("d")
        self._seen = (array("I"), array("I"))
        self._first = array("q")
        self._at = array("d")
        self._repeats = Repeats()
        self._parts: dict[tuple[str, str], _Assembly] = {}
        self._unknown: list[_Sighting] = []
        self._noticed = Findings()

    # What the simulator says

    def expect(self, line: Mapping[str, Any]) -> None:
        """Take one line of the simulator's record; a later line of the same version updates it.

        Raises:
            ValueError: if two versions of a tenant have the same bytes; nobody could tell them apart.
        """
        tenant = self._tenants.setdefault(line["tenant"], len(self._tenants))
        if tenant == len(self._names):
            self._names.append(line["tenant"])
        kind = _Kind[line["kind"].upper()]
        name = line["alert"] or ""
        alert = self._alerts.setdefault((tenant, name), len(self._alerts))
        if alert == len(self._ids):
            self._ids.append(name)
        # Several malformed records may share an id, or have none: their bytes name them.
        version = (
            int(line["sha256"][0][:15], 16) if kind is _Kind.MALFORMED else int(line["version"])
        )
        index = self._identities.setdefault((alert, version, kind), len(self._kind))
        until = _NEVER if line["to"] is None else float(line["to"])
        if index == len(self._kind):
            self._tenant.append(tenant)
            self._alert.append(alert)
            self._version.append(version)
            self._kind.append(kind)
            self._since.append(float(line["from"]))
            self._until.append(until)
            for seen in self._seen:
                seen.append(0)
            self._first.append(-1)
            self._at.append(0.0)
        else:
            self._until[index] = until
        for digest in line["sha256"]:
            mark = _mark(line["tenant"], bytes.fromhex(digest))
            if self._by_mark.setdefault(mark, index) != index:
                raise ValueError(f"two versions have the same bytes: {self._words(index)}")

    def excuse(self, outages: Mapping[str, Iterable[Sequence[float | None]]]) -> None:
        """Take the times in which tenants could not be read; "*" names all of them.

        What is said of a tenant replaces what was said before.
        """
        for tenant, spans in outages.items():
            self._outages[tenant] = _united(_read(spans))

    def absent(self, absences: Mapping[str, Iterable[Sequence[float | None]]]) -> None:
        """Take the times in which a tenant was none: not added yet, paused, or removed.

        What could be read in such times only is not expected, but judged like all else if it is there.
        What is said of a tenant replaces what was said before.
        """
        for tenant, spans in absences.items():
            self._absences[tenant] = _united(_read(spans))

    def killed(self, times: Iterable[float]) -> None:
        """Take when a daemon without transactions was killed: what it had just sent may be there twice."""
        self._repeats.killed(times)

    # What the reader saw

    def saw(self, record: Observed) -> None:
        """Take one record of the alerts or quarantine topic, each partition's in its order."""
        headers = {name: value.decode(errors="replace") for name, value in record.headers}
        tenant = record.key.partition(b"/")[0].decode(errors="replace")
        raw = record.value
        if headers.get("content-type", "").startswith(STRUCTURED):
            raw = self._unwrapped(record, headers)
        digest: bytes | None = hashlib.sha256(raw).digest()
        if record.where is Where.QUARANTINE:
            digest = self._assembled(tenant, record, headers)
        if digest is None:
            return
        sighting = _Sighting(
            record.where,
            record.partition,
            record.offset,
            record.key,
            headers.get("ce_source", ""),
            _mark(tenant, digest),
            record.timestamp,
        )
        index = self._by_mark.get(sighting.mark)
        if index is None:
            self._unknown.append(sighting)
        else:
            self._count(index, sighting)

    def _unwrapped(self, record: Observed, headers: Mapping[str, str]) -> bytes:
        """Return the data of an envelope, whose attributes must be those of the headers."""
        words = f"{record.where.name.lower()} {record.partition}/{record.offset}"
        try:
            attributes, data = opened(record.value)
        except ValueError as error:
            self._noticed.add("altered", f"{words}: no envelope: {error}")
            return record.value
        told = {name[3:]: value for name, value in headers.items() if name.startswith("ce_")}
        said = {name: value for name, value in attributes.items() if name != "datacontenttype"}
        if told != said:
            self._noticed.add("altered", f"{words}: the envelope is not that of its headers")
        return data

    def _assembled(self, tenant: str, record: Observed, headers: Mapping[str, str]) -> bytes | None:
        place = f"quarantine {record.partition}/{record.offset}"
        try:
            name = headers["ce_id"]
            part, parts = int(headers["ce_part"]), int(headers["ce_parts"])
        except (KeyError, ValueError):
            self._noticed.add("altered", f"{place}: no ce_id, ce_part and ce_parts")
            return None
        if part == 1:
            self._parts[tenant, name] = _Assembly(parts, 0, hashlib.sha256())
        assembly = self._parts.get((tenant, name))
        if assembly is None or part != assembly.seen + 1 or parts != assembly.parts:
            self._noticed.add("altered", f"{place}: part {part} of {parts} is out of place")
            return None
        assembly.seen = part
        assembly.hash.update(record.value)
        if part < parts:
            return None
        del self._parts[tenant, name]
        digest: bytes = assembly.hash.digest()
        return digest

    def _count(self, index: int, sighting: _Sighting) -> None:
        seen = self._seen[sighting.where]
        self._repeats.seen(self._tenant[index], sighting.at)
        if self._seen[0][index] or self._seen[1][index]:
            self._repeats.again(index, self._at[index], sighting.at)
        else:
            self._at[index] = sighting.at
        seen[index] += 1
        if sighting.where is Where.ALERTS and seen[index] == 1:
            self._first[index] = sighting.offset
        tenant, alert = self._identity(index)
        key = f"{tenant}/{alert}" if sighting.where is Where.ALERTS else tenant
        words = f"{sighting.where.name.lower()} {sighting.partition}/{sighting.offset}"
        # What is no alert has no key among the alerts; that it is there at all is counted elsewhere.
        wrongly = sighting.where is Where.ALERTS and self._kind[index] == _Kind.MALFORMED
        if sighting.key != key.encode() and not wrongly:
            self._noticed.add("misplaced", f"{words}: the key is not that of {key}")
        if not sighting.source.startswith(f"/tenants/{tenant}/"):
            self._noticed.add("misplaced", f"{words}: ce_source is not of {tenant}")
        if (
            sighting.where is Where.ALERTS
            and self.partitions
            and sighting.partition != zlib.crc32(sighting.key) % self.partitions
        ):
            self._noticed.add("misplaced", f"{words}: not the partition of {key}")

    # Judgement

    def missing(self) -> int:
        """Return how many versions that are visible now have not been seen yet."""
        self._resolve()
        return sum(
            until == _NEVER
            and not (self._seen[0][index] or self._seen[1][index])
            and not self._gone(self._tenant[index])
            for index, until in enumerate(self._until)
        )

    def _gone(self, tenant: int) -> bool:
        spans = self._absences.get(self._names[tenant], [])
        return bool(spans) and spans[-1][1] == _NEVER

    def verdict(self) -> Verdict:
        """Judge what was seen so far."""
        self._resolve()
        findings = Findings()
        findings.absorb(self._noticed)
        for sighting in self._unknown:
            findings.add(
                "altered",
                f"{sighting.where.name.lower()} {sighting.partition}/{sighting.offset}: "
                f"{sighting.key[:120]!r} has bytes that were never served",
            )
        totals = Counter[str]()
        for index in range(len(self._kind)):
            totals[self._class_of(index, findings)] += 1
        self._judge_order(findings)
        for (tenant, name), assembly in self._parts.items():
            words = f"{tenant} {name}: {assembly.seen} of {assembly.parts} parts in quarantine"
            findings.add("altered", words)
        return Verdict(
            expected=len(self._kind) - totals["absent"],
            published=totals["published"],
            quarantined=totals["quarantined"],
            excused=totals["excused"],
            repeated=findings.counts["repeated"],
            faults={name: findings.counts[name] for name in (*FAULTS, "misplaced")},
            details=findings.details,
        )

    def _resolve(self) -> None:
        left = []
        for sighting in self._unknown:
            index = self._by_mark.get(sighting.mark)
            if index is None:
                left.append(sighting)
            else:
                self._count(index, sighting)
        self._unknown = left

    def _class_of(self, index: int, findings: Findings) -> str:
        published, quarantined = (seen[index] for seen in self._seen)
        kind = _Kind(self._kind[index])
        again = max(0, published - 1) + max(0, quarantined - 1)
        if kind is _Kind.HUGE and published and quarantined:
            again += 1
        if excused := min(again, self._repeats.excused(index, self._tenant[index])):
            findings.add("repeated", self._words(index), excused)
            again -= excused
        if again:
            findings.add("twice", f"{self._words(index)}: {published + quarantined} times", again)
        if (published and kind is _Kind.MALFORMED) or (quarantined and kind in _GOOD):
            findings.add("misquarantined", self._words(index))
        if published or quarantined:
            return "published" if published else "quarantined"
        since, until = self._since[index], self._until[index]
        tenant = self._names[self._tenant[index]]
        absences = self._absences.get(tenant, [])
        outages = [*self._outages.get(tenant, ()), *self._outages.get("*", ())]
        asked = _outside(since, until, absences)
        if asked < until - since and (
            _outside(since, until, _united([*absences, *outages])) <= self._poll_interval
        ):
            return "absent"
        spans = _united(outages)
        out = sum(max(0.0, min(until, end) - max(since, start)) for start, end in spans)
        late = until == _NEVER or until - since > self._poll_interval + out
        span = "still visible" if until == _NEVER else f"visible for {until - since:.1f} s"
        words = f"{self._words(index)}: {span} since {since:.3f}, {out:.1f} s of it out of reach"
        findings.add("lost" if late else "excused", words)
        return "lost" if late else "excused"

    def _judge_order(self, findings: Findings) -> None:
        published = [index for index, first in enumerate(self._first) if first >= 0]
        published.sort(key=lambda index: (self._alert[index], -self._version[index]))
        alert, lowest = -1, 0
        for index in published:
            # From the newest version down: each must lie before all that are newer.
            if self._alert[index] != alert:
                alert, lowest = self._alert[index], self._first[index]
            elif self._first[index] > lowest:
                findings.add("disordered", f"{self._words(index)}: after a newer version")
            lowest = min(lowest, self._first[index])

    def _identity(self, index: int) -> tuple[str, str]:
        return self._names[self._tenant[index]], self._ids[self._alert[index]]

    def _words(self, index: int) -> str:
        tenant, alert = self._identity(index)
        kind = _Kind(self._kind[index]).name.lower()
        return f"{kind} {tenant} {alert[:80]!r} version {self._version[index]}"


def _mark(tenant: str, digest: bytes) -> bytes:
    # Two tenants may well hold the same bytes; 16 bytes are enough to tell a million apart.
    return hashlib.blake2b(digest + tenant.encode(), digest_size=16).digest()


def _read(spans: Iterable[Sequence[float | None]]) -> Iterator[tuple[float, float]]:
    return ((float(start or 0.0), _NEVER if end is None else float(end)) for start, end in spans)


def _outside(since: float, until: float, spans: Sequence[tuple[float, float]]) -> float:
    """Return how much of a time lies in none of these spans, which are in order and apart."""
    outside, at = 0.0, since
    for start, end in spans:
        if start >= until:
            break
        outside += max(0.0, start - at)
        at = max(at, end)
    return outside + (until - at if at < until else 0.0)


def _united(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    united: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if united and start <= united[-1][1]:
            united[-1] = (united[-1][0], max(end, united[-1][1]))
        else:
            united.append((start, end))
    return united

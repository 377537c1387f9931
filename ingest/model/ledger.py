"""What is remembered of one feed, and in which journal record each piece of it stands.

Ten thousand tenants with a hundred alerts each are a million entries, so an entry is one `bytes`
of some 70 bytes in a plain `dict`: neither is tracked by the garbage collector, which would
otherwise stop the loop to walk over them.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from struct import Struct

from ingest.model.memory import PRINTS_PER_TIME, Entry

_BIAS = 1 << 63
"""Times are stored biased and big-endian, so that packed entries compare as their times do."""

_VERSION = Struct(">QQ")
_HEAD = Struct(">QQI?")
_ENTRY = tuple(Struct(f">QQI?{count}Q") for count in range(PRINTS_PER_TIME + 1))
_ASIDE = Struct(">QI")
_SAMPLES = 4_096


class Ledger:
    """Entries by alert id and quarantined digests, each with the number of its journal record.

    `journals` counts, for every live journal record, the pieces that stand in it and in no later one.
    """

    __slots__ = ("_asides", "_entries", "checksum", "journals")

    def __init__(self) -> None:
        self._entries: dict[str, bytes] = {}
        self._asides: dict[int, bytes] = {}
        self.journals: dict[int, int] = {}
        self.checksum = 0

    def __len__(self) -> int:
        return len(self._entries) + len(self._asides)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ledger):
            return NotImplemented
        return (
            self._entries == other._entries
            and self._asides == other._asides
            and self.journals == other.journals
            and self.checksum == other.checksum
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def alerts(self) -> int:
        """How many alerts are remembered."""
        return len(self._entries)

    def entry(self, id_: str) -> Entry | None:
        """Return what is remembered of an alert."""
        packed = self._entries.get(id_)
        if packed is None:
            return None
        form = _ENTRY[(len(packed) - _HEAD.size) // 8]
        updated, digest, _, resolved, *prints = form.unpack(packed)
        return Entry(updated - _BIAS, digest, tuple(prints), resolved)

    def holds(self, id_: str, updated: int, digest: int) -> bool:
        """Tell whether exactly this version is the newest one remembered: the usual case, cheaply."""
        packed = self._entries.get(id_)
        return packed is not None and packed.startswith(_VERSION.pack(updated + _BIAS, digest))

    def aside(self, digest: int) -> int | None:
        """Return the time under which a quarantined digest is remembered."""
        packed = self._asides.get(digest)
        return None if packed is None else int(_ASIDE.unpack(packed)[0]) - _BIAS

    @property
    def has_asides(self) -> bool:
        """Whether any quarantined record is remembered."""
        return bool(self._asides)

    def ids(self) -> Iterator[str]:
        """Iterate over the remembered alerts."""
        return iter(self._entries)

    def write(self, number: int, entries: Mapping[str, Entry], asides: Mapping[int, int]) -> None:
        """Remember what journal record `number` says, in place of what was known before.

        Raises:
            struct.error, IndexError: if it says what no judgement can have said.
        """
        for id_, entry in entries.items():
            packed = self._entries.get(id_)
            if packed is not None:
                self._leave(_HEAD.unpack_from(packed)[2])
            prints = entry.prints
            self._entries[id_] = _ENTRY[len(prints)].pack(
                entry.updated + _BIAS, entry.digest, number, entry.resolved, *prints
            )
        for digest, time in asides.items():
            packed = self._asides.get(digest)
            if packed is not None:
                self._leave(_ASIDE.unpack(packed)[1])
            self._asides[digest] = _ASIDE.pack(time + _BIAS, number)
        self.journals[number] = len(entries) + len(asides)
        self.checksum += number

    def forget(self, entries: Iterable[str], asides: Iterable[int]) -> None:
        """Remember these no more."""
        for id_ in entries:
            self._leave(_HEAD.unpack_from(self._entries.pop(id_))[2])
        for digest in asides:
            self._leave(_ASIDE.unpack(self._asides.pop(digest))[1])

    def drop(self, numbers: Iterable[int]) -> None:
        """Count these journal records as gone: nothing stands in them any more."""
        for number in numbers:
            if self.journals.pop(number):
                raise RuntimeError("a journal record was dropped that still says something")
            self.checksum -= number

    def _leave(self, number: int) -> None:
        self.journals[number] -= 1

    def below(self, horizon: int) -> tuple[list[str], list[int]]:
        """Return the alerts and the digests whose time lies below `horizon`."""
        edge = (horizon + _BIAS).to_bytes(8, "big")
        return (
            [id_ for id_, packed in self._entries.items() if packed < edge],
            [digest for digest, packed in self._asides.items() if packed < edge],
        )

    def emptied(
        self, replaced: Iterable[str], again: Iterable[int], gone: tuple[list[str], list[int]]
    ) -> list[int]:
        """Return the journal records in which nothing would stand after such a change."""
        leaving: dict[int, int] = {}
        touched = [
            _HEAD.unpack_from(self._entries[id_])[2]
            for id_ in {*replaced, *gone[0]} & self._entries.keys()
        ]
        touched += [
            _ASIDE.unpack(self._asides[digest])[1]
            for digest in {*again, *gone[1]} & self._asides.keys()
        ]
        for number in touched:
            leaving[number] = leaving.get(number, 0) + 1
        return sorted(n for n, count in leaving.items() if self.journals[n] == count)

    def before(self, instant: int) -> tuple[dict[str, Entry], dict[int, int]]:
        """Return what is remembered of alerts and of quarantined digests below an instant."""
        entries = {id_: entry for id_ in self._entries if (entry := self.entry(id_)) is not None}
        asides = {
            digest: time for digest in self._asides if (time := self.aside(digest)) is not None
        }
        return (
            {id_: entry for id_, entry in entries.items() if entry.updated < instant},
            {digest: time for digest, time in asides.items() if time < instant},
        )

    def quantile(self, share: float) -> int | None:
        """Return a time below which about this share of the ledger lies, from a sample."""
        step = max(1, len(self) // _SAMPLES)
        times = sorted(
            packed[:8]
            for packeds in (self._entries.values(), self._asides.values())
            for packed in islice(packeds, 0, None, step)
        )
        if not times:
            return None
        return int.from_bytes(times[min(len(times) - 1, int(len(times) * share))], "big") - _BIAS

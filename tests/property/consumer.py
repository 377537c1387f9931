"""What a consumer of a feed's topics has seen, and what the laws say of it; records for it to see."""

from collections.abc import Iterable

from ingest.model.alert import Alert, Malformed
from ingest.model.instant import TICKS
from ingest.model.memory import PRINTS_PER_TIME, Judgement
from ingest.model.window import SKEW
from tests.fakes.vendor import digest

STEP = 100 * TICKS
"""Times are this coarse, so that many are the same."""


def canonical(one: Alert) -> int:
    """Leave out what is last: the order of the lists."""
    return digest(one.raw.rpartition(b"|")[0])


def record(now: int, id_: str, age: int, content: int, order: bool, kind: str) -> Alert | Malformed:
    """Make a record that is so many steps old; a `malformed` one has a time, a `timeless` one has none."""
    updated = now // STEP * STEP - age * STEP
    raw = f"{id_}|{updated}|{content}|{order}".encode()
    if kind == "alert":
        return Alert(id_, updated, updated, content % 2 == 0, raw, digest(raw))
    raw = kind.encode() + raw
    return Malformed(raw, "no_id", digest(raw), updated if kind == "malformed" else None)


class Consumer:
    """`published` is by content, `newest` each alert's last, `asides` what was set aside and when."""

    def __init__(self) -> None:
        self.published: dict[int, tuple[str, int]] = {}
        self.newest: dict[str, int] = {}
        self.asides: dict[int, int] = {}

    def see(self, judgement: Judgement, horizon: int) -> None:
        """See what was committed by a state of this horizon, and hold it to the laws."""
        for alert in (verdict.alert for verdict in judgement.published):
            print_ = canonical(alert)
            assert print_ not in self.published, "published twice"
            assert print_ not in self.asides, "published and set aside"
            assert alert.updated >= horizon, "nobody knows whether it was published"
            assert alert.updated >= self.newest.get(alert.id, alert.updated), "out of order"
            self.published[print_] = (alert.id, alert.updated)
            self.newest[alert.id] = alert.updated
        for one in (item.record for item in judgement.quarantined):
            print_ = canonical(one) if isinstance(one, Alert) else one.digest
            assert self.asides.get(print_, -1) < horizon, "set aside twice"
        self.asides |= judgement.set_aside

    def miss_nothing(self, records: Iterable[Alert | Malformed], horizon: int, now: int) -> None:
        """Hold what was offered to law 1: it is there, or older than what is."""
        for one in records:
            if one.updated is None or not horizon <= one.updated <= now + SKEW:
                continue
            if isinstance(one, Malformed):
                assert one.digest in self.asides
                continue
            flapping = list(self.published.values()).count((one.id, one.updated)) == PRINTS_PER_TIME
            assert (
                canonical(one) in self.published.keys() | self.asides.keys()
                or one.updated < self.newest.get(one.id, one.updated)
                or flapping
            )

    def ask_again(self, since: int) -> None:
        """Expect everything from an instant on once more."""
        self.newest = {id_: time for id_, time in self.newest.items() if time < since}
        self.published = {k: v for k, v in self.published.items() if v[0] in self.newest}
        self.asides = {print_: time for print_, time in self.asides.items() if time < since}

"""All tenants as the status page shows them: what is asked for, what is found, how it is counted."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from ingest.errors import StatusUnreadable
from ingest.model.report import REMOVED, UNREADABLE, Report, Seen, seen
from ingest.model.roster import Origin, Registration, Standing
from ingest.model.showing import SHOWN_STATES, counted, rank
from ingest.model.status import WELL, State
from ingest.model.tenant import Tenant, is_guid
from ingest.pipeline.ports import Clock

PAGE_ROWS = 100
SORTS = ("state", "name", "since", "fresh", "act")
"""What a table can be sorted by; the first is the default, and puts the unwell first."""

LATE = "late"
"""Not a state: who should be read, and was not read to the end for long."""

ACTORS = ("us", "customer", "microsoft", "nobody")
_READ = frozenset((*WELL, State.CATCHING_UP, State.THROTTLED, State.FAILING))
_LONGEST_TEXT = 100
_MOST_PAGES = 100_000
_KEPT_SECONDS = 1.0

Status = Report | StatusUnreadable


@dataclass(frozen=True, slots=True)
class Query:
    """What somebody wants to see; `page` begins at 1."""

    text: str = ""
    state: str = ""
    code: str = ""
    act: str = ""
    sort: str = SORTS[0]
    down: bool = False
    page: int = 1

    @classmethod
    def of(cls, words: Mapping[str, str]) -> "Query":
        """Read a query string.

        Raises:
            ValueError: saying which word is none.
        """
        page = words.get("page", "1")
        choices = {
            "state": ("", LATE, *SHOWN_STATES),
            "act": ("", *ACTORS),
            "sort": SORTS,
            "down": ("", "1"),
        }
        for name, known in choices.items():
            if words.get(name, known[0]) not in known:
                raise ValueError(f"{name}: must be one of {', '.join(filter(None, known))}")
        if not (page.isascii() and page.isdigit() and 1 <= int(page[:9]) <= _MOST_PAGES):
            raise ValueError(f"page: must be a number from 1 to {_MOST_PAGES}")
        return cls(
            text=words.get("q", "").strip()[:_LONGEST_TEXT],
            state=words.get("state", ""),
            code=words.get("code", "")[:_LONGEST_TEXT],
            act=words.get("act", ""),
            sort=words.get("sort", SORTS[0]),
            down=words.get("down") == "1",
            page=int(page),
        )

    def link(self, **changes: Any) -> str:
        """Return the query string of the same with changes; those but of the page lead to its first."""
        wanted = replace(self, **{"page": 1} | changes)
        names = ("state", "code", "act", "sort", "page")
        words = {"q": wanted.text, **{name: getattr(wanted, name) for name in names}}
        words["down"] = "1" if wanted.down else ""
        plain = {"sort": SORTS[0], "page": 1}
        return "?" + urlencode({k: v for k, v in words.items() if v and plain.get(k) != v})


@dataclass(frozen=True, slots=True)
class View:
    """What a query finds: one page of it, and the whole fleet counted."""

    now: float
    total: int
    states: Mapping[str, int]
    late: int
    parked: Mapping[str, int]
    matching: int
    pages: int
    rows: list[Seen]


@dataclass(frozen=True, slots=True)
class Registered:
    """Who is registered at one moment, and whose registration cannot be read."""

    readable: Mapping[str, Registration]
    unreadable: Mapping[str, str]


class FleetView:
    """Looks at every registered tenant, whichever replica reads it.

    Looking takes a while and is for a thread; who is registered changes in the loop, and is taken there.

    Args:
        roster: returns all registrations, as they are then.
        unreadable: returns the tenants whose registration cannot be read, each with why.
        status: returns what was last said of a tenant.
        is_told: tells whether what was said is known here at all.
        clock: local time.
        late_after: seconds without a complete reading after which a tenant is late.
    """

    def __init__(
        self,
        *,
        roster: Callable[[], Mapping[str, Registration]],
        unreadable: Callable[[], Mapping[str, str]],
        status: Callable[[str], Status | None],
        is_told: Callable[[], bool],
        clock: Clock,
        late_after: float,
    ) -> None:
        self._roster = roster
        self._unreadable = unreadable
        self._status = status
        self.is_told = is_told
        self._clock = clock
        self._late_after = late_after
        self._kept: tuple[float, list[Seen]] | None = None

    def registered(self) -> Registered:
        """Return who is registered now; to be called in the loop."""
        return Registered(self._roster(), dict(self._unreadable()))

    def look(self, query: Query, registered: Registered, *, rows: int = PAGE_ROWS) -> View:
        """Return one page of who matches; a page beyond the last is the last."""
        now, everybody = self._everybody(registered)
        present = [one for one in everybody if one.state != REMOVED]
        late = [one for one in present if self.is_late(one, now)]
        matching = self._matching(query, everybody, present, late)
        pages = max(1, -(-len(matching) // rows))
        start = (min(query.page, pages) - 1) * rows
        return View(
            now=now,
            total=len(present),
            states=counted(present),
            late=len(late),
            parked=_codes(present),
            matching=len(matching),
            pages=pages,
            rows=_sorted(matching, query)[start : start + rows],
        )

    def now(self) -> float:
        """Return Unix seconds by the local clock."""
        return self._clock.unix()

    def one(self, tenant: str, registered: Registered) -> Seen | None:
        """Return one tenant, None where nobody registered it."""
        if (registration := registered.readable.get(tenant)) is not None:
            return seen(registration, self._status(tenant), self._clock.unix())
        why = registered.unreadable.get(tenant)
        return None if why is None or not is_guid(tenant) else _damaged(tenant, why)

    def is_late(self, one: Seen, now: float) -> bool:
        """Tell whether a tenant that should be read was not read to the end for long."""
        if one.state not in _READ:
            return False
        return now - (one.fresh_at or one.since or 0.0) > self._late_after

    def _everybody(self, registered: Registered) -> tuple[float, list[Seen]]:
        """Return all tenants as of a moment ago at most: nobody who asks again and again costs much."""
        now = self._clock.unix()
        kept = self._kept
        if kept is None or not 0 <= now - kept[0] < _KEPT_SECONDS:
            everybody = [
                seen(one, self._status(tenant), now) for tenant, one in list(self._roster().items())
            ]
            everybody += [
                _damaged(tenant, why)
                for tenant, why in registered.unreadable.items()
                if is_guid(tenant)
            ]
            kept = self._kept = (now, everybody)
        return kept

    def _matching(
        self, query: Query, everybody: list[Seen], present: list[Seen], late: list[Seen]
    ) -> list[Seen]:
        found: Iterable[Seen] = {REMOVED: everybody, LATE: late}.get(query.state, present)
        if query.state not in ("", LATE):
            found = (one for one in found if one.state == query.state)
        if query.code:
            found = (one for one in found if one.code == query.code)
        if query.act:
            found = (one for one in found if one.must_act == query.act)
        if query.text:
            wanted = query.text.casefold()
            found = (one for one in found if wanted in _searched(one))
        return list(found)


def _searched(one: Seen) -> str:
    tenant = one.registration.tenant
    labels = " ".join(f"{name}={value}" for name, value in tenant.labels)
    return f"{tenant.name} {tenant.id} {tenant.region} {one.code} {labels}".casefold()


def _sorted(tenants: list[Seen], query: Query) -> list[Seen]:
    def name(one: Seen) -> str:
        return one.registration.tenant.name.casefold()

    keys: dict[str, Callable[[Seen], Any]] = {
        "state": lambda one: (rank(one.state), name(one)),
        "name": name,
        "since": lambda one: (one.since or 0.0, name(one)),
        "fresh": lambda one: (one.fresh_at or 0.0, name(one)),
        "act": lambda one: (_actor_rank(one.must_act), rank(one.state), name(one)),
    }
    return sorted(tenants, key=keys[query.sort], reverse=query.down)


def _actor_rank(actor: str) -> int:
    return ACTORS.index(actor) if actor in ACTORS else len(ACTORS)


def _codes(tenants: Iterable[Seen]) -> dict[str, int]:
    codes = Counter(one.code for one in tenants if one.state == State.PARKED)
    return dict(codes.most_common())


def _damaged(tenant: str, why: str) -> Seen:
    registration = Registration(
        Tenant(tenant, "?", "?"), Standing.ACTIVE, Origin.COMMAND, by="?", at=0.0
    )
    return Seen(registration, UNREADABLE, why, "us")

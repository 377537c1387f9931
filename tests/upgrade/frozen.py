"""What a release puts into topics, in every form that it has, with what each record means.

`python -m tests.upgrade.freeze VERSION` writes it down at a release; from then on it is read as it was
written, by every later release. Frozen files never change once their release is out.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ingest.model.alert import Alert, Malformed
from ingest.model.checkpoint import FeedState
from ingest.model.instant import TICKS
from ingest.model.journal import Obeyed, decode_obeyed, encode_obeyed, order_key
from ingest.model.report import Report, decode_report, encode_report
from ingest.model.roster import (
    Order,
    OrderKind,
    Origin,
    Registration,
    Standing,
    decode_registration,
    encode_registration,
)
from ingest.model.status import Blame, FeedStatus, Poll, State, Transition
from ingest.model.tenant import FeedKey, Tenant
from ingest.model.window import Reach
from ingest.sink.restore import GRANTS, OWNER, Readback
from ingest.sink.takeover import Replica

HERE = Path(__file__).parent
FEED = FeedKey("aaaaaaaa-0000-0000-0000-000000000001")
REACH = Reach(overlap=300 * TICKS, look_back=86_400 * TICKS, first=604_800 * TICKS)
AT = 1_790_000_000.25
NOW = round(AT * TICKS)

Records = dict[str, dict[str, str]]
"""Topic by topic (without the prefix), values by keys; all of them are text."""


def written() -> Records:
    """Return what the present release writes."""
    return {
        "tenants": _text(
            (one.tenant.id.encode(), encode_registration(one)) for one in _registrations()
        ),
        "tenant-status": _text(
            (one.feed.tenant.encode(), encode_report(one, replica="host:7", now=AT))
            for one in _statuses()
        ),
        "checkpoints": _text(_checkpoint()),
    }


def meaning(records: Records) -> dict[str, Any]:
    """Return what the present release reads in them, in JSON's terms."""
    readback = Readback()
    for key, value in records["checkpoints"].items():
        readback.take(key.encode(), value.encode())
    feed = readback.feeds[str(FEED)]
    state = FeedState.decode(
        FEED, {key: value for key, value in feed.items() if key != order_key(str(FEED))}
    )
    probed = {name: _probe(state, alert) for name, alert in _probes().items()}
    owner = readback.owner or {}
    found = {
        "tenants": _decoded(records["tenants"], decode_registration),
        "tenant-status": _decoded(records["tenant-status"], decode_report),
        "checkpoints": {
            "fast": state.fast,
            "slow": state.slow,
            "horizon": state.horizon,
            "remembered": len(state.ledger),
            "probed": probed,
            "obeyed": msgspec.to_builtins(decode_obeyed(feed[order_key(str(FEED))])),
            "grants": list(readback.grants or ()),
            "owner": {name: owner[name] for name in ("instance", "group", "installation", "nonce")},
        },
    }
    terms: dict[str, Any] = json.loads(json.dumps(found))
    return terms


def says_at_least(now: Any, then: Any) -> bool:
    """Tell whether all that a record meant then it means now; a later release may see more in it."""
    if isinstance(then, dict):
        return isinstance(now, dict) and all(
            key in now and says_at_least(now[key], value) for key, value in then.items()
        )
    return bool(now == then)


def _text(records: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in records}


def _decoded(records: Mapping[str, str], decode: Any) -> dict[str, Any]:
    return {
        key: _with_properties(decode(key.encode(), value.encode()))
        for key, value in records.items()
    }


def _with_properties(decoded: Registration | Report) -> dict[str, Any]:
    """Return what a record says; what of a status is read only when it is asked for is asked for."""
    found: dict[str, Any] = msgspec.to_builtins(decoded)
    if isinstance(decoded, Report):
        found["transitions"] = msgspec.to_builtins(decoded.transitions)
        found["polls"] = msgspec.to_builtins(decoded.polls)
        del found["value"]
    return found


def _id(number: int) -> str:
    return f"aaaaaaaa-0000-0000-0000-{number:012d}"


def _registrations() -> list[Registration]:
    plain = {"by": "anna@host", "at": AT, "why": "contract 17"}
    rewind = Order("order-1", OrderKind.REWIND, since=NOW)
    refetch = Order("order-2", OrderKind.REFETCH, alert="da637551227677560813_-961444813")
    return [
        Registration(Tenant(_id(1), "Contoso", "eu"), Standing.ACTIVE, Origin.FILE, **plain),
        Registration(Tenant(_id(2), "Fabrikåm", "us"), Standing.PAUSED, Origin.COMMAND, **plain),
        Registration(Tenant(_id(3), "Gone", "uk"), Standing.REMOVED, Origin.CONFIG, **plain),
        Registration(
            Tenant(_id(4), "Labelled", "eu", (("tier", "gold"),)),
            Standing.ACTIVE,
            Origin.PORTAL,
            **plain,
            order=rewind,
        ),
        Registration(
            Tenant(_id(5), "Asked", "au"), Standing.ACTIVE, Origin.COMMAND, **plain, order=refetch
        ),
        Registration(
            Tenant(_id(6), "Consented", "eu"),
            Standing.AWAITING,
            Origin.PORTAL,
            **plain,
            invitation="invitation-1",
        ),
    ]


def _statuses() -> list[FeedStatus]:
    return [
        FeedStatus(
            feed=FeedKey(_id(number)),
            name=f"tenant {number}",
            state=state,
            code=f"{state}",
            reason="words for people",
            blame=list(Blame)[number % len(Blame)],
            since=AT - 60,
            next_attempt=None if number == 0 else AT + 60,
            fresh_at=None if number == 0 else AT - 1,
            reconciled_at=None if number == 0 else AT - 600,
            watermark=None if number == 0 else AT - 86_400.125,
            remembered=number,
            silent_since=None if number == 0 else AT - 700_000,
            looked_at=None if number == 0 else AT - 3_600,
            calls_left=None if number == 0 else number,
            transitions=tuple(
                Transition(AT - 60 * ago, f"{other}", "a_code", "nobody")
                for ago, other in enumerate(list(State)[:number])
            ),
            polls=(Poll(AT - 2, "fast", "whole", 1.5, number, number, 2),) if number else (),
        )
        for number, state in enumerate(State)
    ]


def _checkpoint() -> list[tuple[bytes, bytes]]:
    """Return a shard's checkpoint partition: an owner, grants, an order, a feed in several records."""
    state = FeedState.first(FEED, now=NOW, reach=REACH)
    topic: dict[bytes, bytes] = {}
    for records in (_alerts(0), _alerts(1)):
        judgement = state.judge(records, now=NOW, canonical=lambda _: 7, rejected={}, reach=REACH)
        step = state.advance(judgement, reach=REACH, now=NOW, fast=NOW - TICKS, slow=NOW - TICKS)
        topic |= {key: value for key, value in step.records.items() if value is not None}
        state.apply(step)
    owner = Replica("host:7", "instance", "installation").takes_over(group="g", nonce="n")
    return [
        (OWNER, owner),
        (GRANTS, json.dumps([1.5, AT]).encode()),
        (order_key(str(FEED)), encode_obeyed(Obeyed("order-1", until=NOW))),
        *topic.items(),
    ]


def _alerts(turn: int) -> list[Alert | Malformed]:
    young = NOW - 10 * TICKS + turn
    return [
        Alert("changed", young, young, False, b"", 100 + turn),
        Alert("known", NOW - 20 * TICKS, NOW - 20 * TICKS, True, b"", 1),
        Alert("fütüre", NOW + 10**12, NOW, False, b"", 3),
        Malformed(b"?", "no_id", 50 + turn),
    ]


def _probes() -> dict[str, Alert | Malformed]:
    alerts = {one.id: one for one in _alerts(1) if isinstance(one, Alert)}
    changed = alerts["changed"]
    return {
        **alerts,
        "an older version": Alert("changed", changed.updated - 2, 0, False, b"", 9),
        "a newer version": Alert("changed", changed.updated + 1, 0, False, b"", 9),
        "a new alert": Alert("never seen", NOW - TICKS, NOW, False, b"", 9),
        "what is below memory": Alert("old", NOW - 10**15, NOW - 10**15, False, b"", 9),
        "set aside before": Malformed(b"?", "no_id", 51),
        "not set aside before": Malformed(b"?", "no_id", 99),
    }


def _probe(state: FeedState, record: Alert | Malformed) -> str:
    """Return what is decided on a record: that is what remembering is for."""
    judged = state.judge([record], now=NOW, canonical=lambda _: 7, rejected={}, reach=REACH)
    if isinstance(record, Malformed):
        return "set aside" if judged.quarantined else "known"
    (reason,) = (reason for reason, count in judged.reasons.items() if count)
    return str(reason)

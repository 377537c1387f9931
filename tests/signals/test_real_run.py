"""A real Prometheus beside a real run: panels and alerts say what the audit says.

Three replicas read a simulated fleet into Apache Kafka; one customer's consent is revoked, one is
throttled, some records are no alerts, some alerts appear late. Then all comes to rest, and at the end
the replicas are stopped.
"""

import asyncio
import datetime as dt
import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from ingest.simulator.audit import Where
from tests.harness.watched import REPLICAS, watched
from tests.signals.play import (
    LATE,
    MALFORMED,
    PANELS,
    SHARDS,
    TENANTS,
    THROTTLED_SECONDS,
    WHOLE_RUN,
    Seen,
    play,
)

pytestmark = [pytest.mark.kafka, pytest.mark.prometheus, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> Seen:
    flags = [
        *("--tenants", str(TENANTS), "--shards", str(SHARDS), "--faults", "none", "--seed", "1"),
        *("--poll-interval", "2", "--backlog", "5", "--births-per-minute", "120"),
        *("--version-seconds", "20", "--no-limits"),
    ]
    # So small that the first calls have to wait, and large enough for a reading every two seconds.
    changes = {
        "source": {"calls_per_minute": 3000, "calls_per_hour": 60_000},
        "entra": {"client_secret_expires": EXPIRES.isoformat()},
    }
    with watched(tmp_path_factory.mktemp("signals"), *flags, changes=changes) as run:
        return asyncio.run(play(run))


def roughly(count: float) -> Any:
    """Return what a rate over the whole run may give for a count: Prometheus extrapolates."""
    return pytest.approx(count, rel=0.08, abs=0.5)


def near(counts: Counter[str]) -> dict[str, Any]:
    return {key: roughly(count) for key, count in counts.items()}


EXPIRES = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=90)
EXPECTED: dict[str, Callable[[Seen], None]] = {}
"""What each panel must show, by its title; the moment is that of the trouble, or of the rest after it."""


def panel(title: str) -> Callable[[Callable[[Seen], None]], Callable[[Seen], None]]:
    def remember(check: Callable[[Seen], None]) -> Callable[[Seen], None]:
        EXPECTED[title] = check
        return check

    return remember


@panel("Registered")
def all_registered(seen: Seen) -> None:
    assert seen.trouble.value("Registered") == seen.rest.value("Registered") == TENANTS


@panel("Healthy")
def healthy(seen: Seen) -> None:
    assert seen.trouble.value("Healthy") == pytest.approx((TENANTS - 2) / TENANTS)
    assert seen.rest.value("Healthy") == 1


@panel("Dark")
def dark(seen: Seen) -> None:
    assert (seen.trouble.value("Dark"), seen.rest.value("Dark")) == (1, 0)


@panel("In no state")
def in_no_state(seen: Seen) -> None:
    assert seen.trouble.value("In no state") == seen.rest.value("In no state") == 0


@panel("Tenants by state")
def by_state(seen: Seen) -> None:
    found = {state: n for state, n in seen.trouble.by("Tenants by state", "state").items() if n}
    assert found == {"healthy": TENANTS - 2, "parked": 1, "throttled": 1}
    assert sum(seen.rest.by("Tenants by state", "state").values()) == TENANTS


@panel("Who is not well, the longest first")
def who_is_not_well(seen: Seen) -> None:
    title = "Who is not well, the longest first"
    ((rows),) = seen.trouble.panels[title]
    assert {(row["name"], row["state"], row["must_act"]) for row, _ in rows} == {
        (seen.parked, "parked", "customer"),
        (seen.throttled, "throttled", "nobody"),
    }
    ages = [age for _, age in rows]
    assert ages == sorted(ages, reverse=True)
    assert 0 < ages[0] < seen.seconds
    assert seen.rest.panels[title] == [[]]


@panel("Read within")
def read_within(seen: Seen) -> None:
    assert [seen.rest.value("Read within", query) for query in range(4)] == [1] * 4


@panel("Oldest complete reading")
def oldest_reading(seen: Seen) -> None:
    # The parked one is the oldest of the trouble; in the rest nobody is older than a few intervals.
    (_, parked_for), *_ = seen.trouble.panels["Who is not well, the longest first"][0]
    assert seen.trouble.value("Oldest complete reading") >= parked_for - 2
    assert 0 < seen.rest.value("Oldest complete reading") < 15


@panel("Duration of a reading")
def durations_of_readings(seen: Seen) -> None:
    for tier in ("fast", "slow"):
        middle, worst = (
            seen.rest.by("Duration of a reading", "tier", query)[tier] for query in (0, 1)
        )
        assert 0 < middle <= worst < 60


@panel("Reconciled within")
def reconciled_within(seen: Seen) -> None:
    assert [seen.rest.value("Reconciled within", query) for query in range(2)] == [1] * 2


@panel("Found late, in an hour")
def found_late(seen: Seen) -> None:
    assert seen.late >= LATE
    assert seen.rest.value("Found late, in an hour") == roughly(seen.late)
    assert seen.rest.value("Found late, in an hour", 1) == 0


@panel("Calls to the alert API")
def calls(seen: Seen) -> None:
    found = seen.rest.counts("Calls to the alert API", "outcome")
    assert found["ok"] > 0
    assert found["throttled"] == roughly(1)
    assert 0.9 * seen.calls[0] < sum(found.values()) < 1.1 * seen.calls[1]


@panel("Waiting")
def waiting(seen: Seen) -> None:
    assert seen.rest.value("Waiting") > 0
    assert seen.rest.value("Waiting", 1) * WHOLE_RUN == roughly(THROTTLED_SECONDS)


@panel("Token requests")
def token_requests(seen: Seen) -> None:
    found = seen.rest.counts("Token requests", "outcome")
    # The first ones are asked for before the first scrape, which sees no rise in them.
    assert 0 < found["ok"] < seen.tokens
    assert found["not_consented"] >= 1
    assert set(found) == {"ok", "not_consented"}


@panel("Credential")
def credential(seen: Seen) -> None:
    assert seen.rest.value("Credential") == 0


@panel("Credential ends in")
def credential_ends(seen: Seen) -> None:
    ends = dt.datetime.combine(EXPIRES, dt.time(), dt.UTC).timestamp()
    assert seen.rest.value("Credential ends in") == pytest.approx(ends - time.time(), abs=600)


@panel("Remembered alerts")
def remembered(seen: Seen) -> None:
    alerts = {one.key for one in seen.observed if one.where is Where.ALERTS}
    assert len(alerts) <= seen.rest.value("Remembered alerts") <= len(alerts) + MALFORMED


@panel("Duration of calls, 99 %")
def durations_of_calls(seen: Seen) -> None:
    assert 0 < seen.rest.value("Duration of calls, 99 %") < 30
    assert 0 < seen.rest.value("Duration of calls, 99 %", 1) < 30


@panel("Answers in memory")
def answers_in_memory(seen: Seen) -> None:
    found = seen.rest.by("Answers in memory", "instance")
    assert len(found) == REPLICAS
    assert all(0 <= size < 2**28 for size in found.values())


@panel("Shards")
def shards(seen: Seen) -> None:
    assert seen.rest.value("Shards") == seen.rest.value("Shards", 1) == SHARDS


@panel("Transactions")
def transactions(seen: Seen) -> None:
    found = seen.rest.by("Transactions", "outcome")
    assert found["aborted"] == 0
    assert found["committed"] > 0


@panel("Duration of a transaction")
def durations_of_transactions(seen: Seen) -> None:
    title = "Duration of a transaction"
    assert 0 < seen.rest.value(title) <= seen.rest.value(title, 1) < 30


@panel("Set aside, in an hour")
def set_aside(seen: Seen) -> None:
    assert seen.quarantined.total() == seen.verdict.quarantined == MALFORMED
    assert seen.rest.by("Set aside, in an hour", "reason") == near(seen.quarantined)


@panel("Published")
def published(seen: Seen) -> None:
    assert seen.published.total() == seen.verdict.published
    assert seen.rest.counts("Published", "kind") == near(seen.published)


@panel("What became of what arrived")
def what_became(seen: Seen) -> None:
    published, known, stale, aside = (
        seen.rest.value("What became of what arrived", query) * WHOLE_RUN for query in range(4)
    )
    assert (published, aside) == (roughly(seen.verdict.published), roughly(MALFORMED))
    assert known > 0
    assert stale == 0


@panel("Tenants entering a state")
def states_entered(seen: Seen) -> None:
    found = seen.rest.by("Tenants entering a state", "state")
    assert {state: n for state, n in found.items() if n} == near(
        seen.logged("state_changed", "state")
    )


@panel("Shards by replica")
def shards_by_replica(seen: Seen) -> None:
    found = seen.rest.by("Shards by replica", "instance")
    assert len(found) == REPLICAS
    assert sum(found.values()) == SHARDS
    assert max(found.values()) - min(found.values()) <= 1


@panel("Moves and restarts")
def moves(seen: Seen) -> None:
    # The first of each replica may be before its first scrape, which sees no rise in it.
    placements = seen.logged("shards_placed", "event").total()
    found = seen.rest.value("Moves and restarts")
    assert placements - REPLICAS - 0.5 < found <= placements + 0.5
    assert seen.rest.value("Moves and restarts", 2) == 0


@panel("Replicas by version")
def versions(seen: Seen) -> None:
    ((labels, count),) = seen.rest.panels["Replicas by version"][0]
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", labels["version"])
    assert count == REPLICAS


@panel("Youngest replica")
def youngest(seen: Seen) -> None:
    assert 0 < seen.rest.value("Youngest replica") < seen.seconds


@pytest.mark.parametrize("title", PANELS)
def test_a_panel_shows_what_happened(seen, title):
    EXPECTED[title](seen)


def test_there_is_no_panel_of_which_nothing_is_expected():
    assert set(EXPECTED) == set(PANELS)


def test_the_run_is_clean_and_the_counters_are_those_of_the_audit(seen):
    assert seen.verdict.clean, seen.verdict.report()
    assert seen.raw == {
        "alerts_published_total": seen.verdict.published,
        "alerts_quarantined_total": seen.verdict.quarantined,
        "alerts_late_total": seen.late,
        "shard_placements_total": seen.logged("shards_placed", "event").total(),
        "token_requests_total": seen.tokens,
    }


def test_in_trouble_the_alerts_fire_that_should_and_no_other(seen):
    alerts = seen.trouble.alerts
    assert set(alerts) == {
        ("DefenderIngestTenantDark", seen.parked),
        ("DefenderIngestThrottledForLong", seen.throttled),
        *(("DefenderIngestQuarantineGrowing", reason) for reason in seen.quarantined),
        ("DefenderIngestLateAlertsFound", ""),
    }


def test_at_rest_only_those_fire_that_look_back(seen):
    alerts = seen.rest.alerts
    assert {name for name, _ in alerts} <= {
        "DefenderIngestQuarantineGrowing",
        "DefenderIngestLateAlertsFound",
        "DefenderIngestThrottledForLong",
    }
    aside = {about: n for (name, about), n in alerts.items() if name.endswith("QuarantineGrowing")}
    assert aside == near(seen.quarantined)
    share = seen.late / seen.verdict.published
    assert alerts["DefenderIngestLateAlertsFound", ""] == pytest.approx(share, rel=0.1)

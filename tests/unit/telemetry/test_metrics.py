"""The metrics add up, stay small at 10,000 tenants, and forget the tenant that recovered."""

import json
import re
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ingest.errors import Blame
from ingest.model.alert import Alert, Malformed
from ingest.model.checkpoint import FeedState
from ingest.model.instant import TICKS
from ingest.model.memory import Kind, Reason
from ingest.model.status import FeedStatus, State
from ingest.model.tenant import FeedKey
from ingest.model.window import Reach, Tier
from ingest.telemetry.catalogue import CATALOGUE, PREFIX
from ingest.telemetry.fleet import FleetCollector
from ingest.telemetry.metrics import (
    ConsentMetrics,
    IdentityMetrics,
    PipelineMetrics,
    RuntimeMetrics,
    SinkMetrics,
    SourceMetrics,
)
from ingest.telemetry.reference import metrics_page

NOW = 1_700_000_000.0
FEED = FeedKey("11111111-1111-1111-1111-111111111111")
REACH = Reach(overlap=300 * TICKS, look_back=3600 * TICKS, first=3600 * TICKS)
PER_TENANT = ("tenant_state_since_timestamp_seconds", "tenant_fresh_timestamp_seconds")
ONE_MB = 1_000_000


def scrape(registry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = generate_latest(registry).decode()
    return {
        (sample.name.removeprefix(PREFIX), tuple(sorted(sample.labels.items()))): (sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(found, name: str) -> float:
    return sum(value for (one, _), value in found.items() if one == name)


# Conservation


class Feed:
    """One feed's memory and its metrics: what is offered is judged, remembered and counted."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = PipelineMetrics(self.registry)
        self.now = round(NOW) * TICKS
        self.state = FeedState.first(FEED, now=self.now, reach=REACH)
        self.offered = 0

    def offer(self, *records: Alert | Malformed, rejected=()) -> None:
        self.offered += len(records)
        judgement = self.state.judge(
            records,
            now=self.now,
            canonical=lambda one: crc32(one.raw),
            rejected={record.digest: "too_large" for record in rejected},
            reach=REACH,
        )
        if judgement.changes:
            self.state.apply(
                self.state.advance(judgement, fast=None, slow=None, reach=REACH, now=self.now)
            )
        self.metrics.judged(judgement)

    def read_up_to(self, age: int) -> None:
        """Move the fast watermark: what appears below it from now on is late."""
        fast = self.now - age * TICKS
        self.state.apply(self.state.advance(None, fast=fast, reach=REACH, now=self.now))

    def alert(self, name: str, *, age: int = 60, content: int = 0, resolved: bool = False) -> Alert:
        raw = json.dumps([name, age, content, resolved]).encode()
        updated = self.now - age * TICKS
        return Alert(name, updated, updated, resolved, raw, crc32(raw))


def law(found) -> tuple[float, float]:
    parts = ("published", "duplicates", "stale", "quarantined")
    return (
        total(found, "alerts_received_total"),
        sum(total(found, f"alerts_{part}_total") for part in parts),
    )


RECORDS = st.tuples(
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from([7200, 900, 120, 60, -900]),
    st.integers(0, 12),
    st.sampled_from(["alert", "resolved", "malformed", "rejected"]),
)


@given(st.lists(st.lists(RECORDS, max_size=20), max_size=8))
def test_what_was_received_is_published_or_duplicate_or_stale_or_quarantined(pages):
    feed = Feed()
    for page in pages:
        records, rejected = [], []
        for name, age, content, kind in page:
            made = feed.alert(name, age=age, content=content, resolved=kind == "resolved")
            if kind == "malformed":
                records.append(Malformed(made.raw, "no_id", made.digest, made.updated))
                continue
            records.append(made)
            if kind == "rejected":
                rejected.append(made)
        feed.offer(*records, rejected=rejected)
    received, sorted_out = law(scrape(feed.registry))
    assert received == sorted_out == feed.offered


@pytest.fixture
def busy_feed() -> Feed:
    """Return a feed to which everything happened at least once."""
    feed = Feed()
    old = feed.alert("old", age=120)
    huge = feed.alert("huge")
    feed.offer(old, feed.alert("future", age=-900))
    feed.read_up_to(age=30)
    feed.offer(feed.alert("late", age=1800))
    feed.offer(old, feed.alert("old", age=60, resolved=True), huge, rejected=[huge])
    feed.offer(feed.alert("old", age=30), old, feed.alert("ancient", age=7200))
    feed.offer(Malformed(b"17", "not_an_object", 17), Malformed(b"{}", "no_id", 18))
    for content in range(12):
        feed.offer(feed.alert("flapping", content=content))
    return feed


def test_everything_that_can_become_of_a_record_is_counted_apart(busy_feed):
    found = scrape(busy_feed.registry)
    for kind in (Kind.CREATED, Kind.RESOLVED, Kind.REOPENED):
        assert found["alerts_published_total", (("kind", str(kind)),)] > 0
    for reason in (Reason.STALE, Reason.BEYOND):
        assert found["alerts_stale_total", (("reason", str(reason)),)] == 1
    for reason in ("too_large", "not_an_object", "no_id"):
        assert found["alerts_quarantined_total", (("reason", reason),)] == 1
    assert total(found, "alerts_duplicates_total") > total(found, "alerts_flapping_total") > 0
    assert total(found, "alerts_late_total") > 0
    assert total(found, "alerts_future_total") == 1
    assert total(found, "alerts_silent_total") > 0
    assert law(found) == (busy_feed.offered, busy_feed.offered)


def test_the_law_that_the_page_promises_holds(busy_feed):
    promise = re.search(r"alerts_received_total = ((?:.|\n)*?)\n\n", metrics_page())
    assert promise is not None
    found = scrape(busy_feed.registry)
    terms = re.findall(r"alerts_\w+_total", promise[1])
    assert "alerts_published_total" in terms
    assert sum(total(found, term) for term in terms) == total(found, "alerts_received_total")


# The catalogue


def every_class(registry) -> None:
    component = (PipelineMetrics, SourceMetrics, IdentityMetrics, ConsentMetrics, SinkMetrics)
    for kind in (*component, RuntimeMetrics):
        kind(registry)


def fleet(statuses, *, per_tenant: bool = True, registry=None) -> CollectorRegistry:
    registry = registry or CollectorRegistry()
    registry.register(
        FleetCollector(lambda: statuses, lambda: len(statuses), lambda: NOW, per_tenant=per_tenant)
    )
    return registry


def status(number: int, state: State = State.HEALTHY, **changes) -> FeedStatus:
    fields = {
        "feed": FeedKey(f"{number:08x}-0000-0000-0000-000000000000"),
        "name": f"customer number {number} of many",
        "state": state,
        "code": "http_503",
        "reason": "the alert API answers 503",
        "blame": Blame.CUSTOMER,
        "since": NOW - number,
        "fresh_at": NOW - 30,
        "reconciled_at": NOW - 1000,
        "remembered": 2,
    }
    return FeedStatus(**(fields | changes))


def test_every_metric_of_the_catalogue_is_made_and_no_other():
    registry = CollectorRegistry()
    every_class(registry)
    fleet([status(1, State.PARKED)], registry=registry)
    text = generate_latest(registry).decode()
    made = dict(re.findall(rf"^# TYPE {PREFIX}(\S+) (\S+)$", text, re.MULTILINE))
    made = {name: kind for name, kind in made.items() if not name.endswith("_created")}
    assert made == {name: described.kind for name, described in CATALOGUE.items()}


def test_label_sets_that_are_known_are_there_before_the_first_event():
    registry = CollectorRegistry()
    every_class(registry)
    found = scrape(registry)
    for name, described in CATALOGUE.items():
        if described.kind != "counter":
            continue
        for label, values in (described.labels or {}).items():
            there = {dict(labels).get(label) for one, labels in found if one == name}
            assert set(values) <= there, name
    assert found["transactions_total", (("outcome", "aborted"),)] == 0.0


def test_every_term_of_the_law_has_a_series_from_the_start():
    # In PromQL a sum with a term that is not there is nothing, not the rest.
    registry = CollectorRegistry()
    PipelineMetrics(registry)
    names = {name for name, _ in scrape(registry)}
    parts = ("received", "published", "duplicates", "stale", "quarantined")
    assert {f"alerts_{part}_total" for part in parts} <= names


# The fleet


def test_tenants_are_counted_by_state_also_in_those_that_nobody_is_in():
    found = scrape(fleet([status(1), status(2), status(3, State.THROTTLED)]))
    counts = {dict(labels)["state"]: n for (name, labels), n in found.items() if name == "tenants"}
    assert counts == {str(state): 0.0 for state in State} | {"healthy": 2.0, "throttled": 1.0}
    assert found["tenants_registered", ()] == 3.0
    assert found["remembered_alerts", ()] == 6.0


def test_freshness_is_counted_by_age_apart_from_reconciliation():
    statuses = [
        status(1, fresh_at=NOW - 10, reconciled_at=NOW - 4000),
        status(2, fresh_at=NOW - 60, reconciled_at=None),
        status(3, fresh_at=NOW - 100_000),
        status(5000, State.STARTING, fresh_at=None, reconciled_at=None),
    ]
    found = scrape(fleet(statuses))

    def within(name, seconds):
        return found[name, (("within_seconds", seconds),)]

    assert [within("freshness_tenants", s) for s in ("30", "60", "86400", "+Inf")] == [1, 2, 2, 3]
    assert [within("reconciled_tenants", s) for s in ("600", "3600", "7200")] == [0, 1, 2]
    assert found["freshness_max_seconds", ()] == 100_000.0


def test_a_tenant_that_was_never_read_is_as_old_as_its_start():
    found = scrape(fleet([status(1), status(5000, State.STARTING, fresh_at=None)]))
    assert found["freshness_max_seconds", ()] == 5000.0


def test_only_tenants_that_are_not_healthy_have_series_of_their_own():
    found = scrape(fleet([status(1), status(2, State.PARKED), status(3, State.CATCHING_UP)]))
    labels = [dict(labels) for name, labels in found if name == PER_TENANT[0]]
    assert [one["tenant"][:8] for one in labels] == ["00000003", "00000002"]
    assert labels[1] == {
        "tenant": "00000002-0000-0000-0000-000000000000",
        "name": "customer number 2 of many",
        "state": "parked",
        "code": "http_503",
        "must_act": "customer",
    }


def test_series_of_single_tenants_can_be_switched_off():
    found = scrape(fleet([status(2, State.PARKED)], per_tenant=False))
    assert not [name for name, _ in found if name in PER_TENANT]
    assert found["tenants", (("state", "parked"),)] == 1.0


def test_the_series_of_a_tenant_that_recovered_vanish():
    statuses = [status(2, State.PARKED), status(3, State.FAILING)]
    registry = fleet(statuses)
    assert sum(name in PER_TENANT for name, _ in scrape(registry)) == 4
    statuses[0] = status(2)
    tenants = {
        dict(labels)["tenant"][:8] for name, labels in scrape(registry) if name in PER_TENANT
    }
    assert tenants == {"00000003"}
    statuses[1] = status(3)
    assert not [name for name, _ in scrape(registry) if name in PER_TENANT]


def test_a_state_that_changes_leaves_no_series_of_the_former_one():
    statuses = [status(2, State.FAILING)]
    registry = fleet(statuses)
    scrape(registry)
    statuses[0] = status(2, State.PARKED)
    states = [dict(labels)["state"] for name, labels in scrape(registry) if name == PER_TENANT[0]]
    assert states == ["parked"]


@pytest.mark.parametrize(
    ("unwell", "name"),
    [
        (100, "customer number {} of many"),
        (10_000, "customer number {} of many"),
        (10_000, "{:x<200}"),
        (10_000, "{:日<200}"),
        (10_000, "{:\n<200}"),
    ],
    ids=["usual", "everybody", "long names", "wide names", "escaped names"],
)
def test_a_scrape_of_10_000_tenants_is_under_a_megabyte(unwell, name):
    registry = CollectorRegistry()
    every_class(registry)
    statuses = [
        status(n, State.FAILING if n < unwell else State.HEALTHY, name=name.format(n))
        for n in range(10_000)
    ]
    fleet(statuses, registry=registry)
    text = generate_latest(registry)
    shown = text.count(PER_TENANT[0].encode() + b"{")
    assert 0 < shown <= unwell
    assert len(text) < ONE_MB


def test_what_is_rendered_does_not_grow_with_the_tenants_that_are_well():
    # So a scrape's longest piece is bounded whatever the fleet is; it also runs beside the loop.
    few, many = (scrape(fleet([status(n) for n in range(count)])) for count in (10, 10_000))
    assert few.keys() == many.keys()


def test_series_of_single_tenants_are_bounded_and_the_longest_unwell_have_them():
    found = scrape(fleet([status(n, State.FAILING) for n in range(5_000)]))
    since = sorted(value for (name, _), value in found.items() if name == PER_TENANT[0])
    assert 0 < len(since) < 5_000
    assert since == sorted(NOW - n for n in range(5_000))[: len(since)]
    assert found["tenants", (("state", "failing"),)] == 5_000.0


# The other counters


def test_the_sink_counts_what_is_ready_and_what_went_back():
    registry = CollectorRegistry()
    sink = SinkMetrics(registry)
    sink.placed(3)
    sink.placed(2)
    sink.shard_ready()
    sink.shard_ready()
    sink.shard_lost()
    sink.committed(records=5, seconds=0.1)
    sink.aborted()
    found = scrape(registry)
    assert (found["shards_ready", ()], found["shard_restarts_total", ()]) == (1.0, 1.0)
    assert (found["shards_placed", ()], found["shard_placements_total", ()]) == (2.0, 2.0)
    assert found["records_committed_total", ()] == 5.0
    assert found["transactions_total", (("outcome", "committed"),)] == 1.0
    assert found["commit_seconds_count", ()] == 1.0


def test_calls_token_requests_readings_and_restarts_are_counted():
    registry = CollectorRegistry()
    source, identity = SourceMetrics(registry), IdentityMetrics(registry)
    source.request(outcome="http_503", seconds=0.2, size=7)
    source.request(outcome="ok", seconds=0.2, records=4)
    source.waited(1.5)
    source.throttled(3.5)
    source.link_refused()
    source.memory(99)
    identity.request(outcome="ok", seconds=0.1)
    identity.credential(rejected=True)
    pipeline = PipelineMetrics(registry)
    pipeline.swept(Tier.SLOW, outcome="whole", seconds=2, doubts=3)
    pipeline.transition(State.PARKED)
    runtime = RuntimeMetrics(registry)
    runtime.started(NOW)
    runtime.task_restarted("reader")
    found = scrape(registry)
    assert found["source_requests_total", (("outcome", "http_503"),)] == 1.0
    assert found["source_bytes_total", ()] == 7.0
    assert found["source_records_total", ()] == 4.0
    assert found["source_budget_wait_seconds_total", ()] == 1.5
    assert found["source_throttled_seconds_total", ()] == 3.5
    assert found["source_links_refused_total", ()] == 1.0
    assert found["source_memory_bytes", ()] == 99.0
    assert found["token_requests_total", (("outcome", "ok"),)] == 1.0
    assert found["credential_rejected", ()] == 1.0
    assert found["started_timestamp_seconds", ()] == NOW
    assert found["sweeps_total", (("outcome", "whole"), ("tier", "slow"))] == 1.0
    assert found["sweep_doubts_total", ()] == 3.0
    assert found["state_transitions_total", (("state", "parked"),)] == 1.0
    assert found["tasks_restarted_total", (("task", "reader"),)] == 1.0

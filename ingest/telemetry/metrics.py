"""Every metric of the daemon: a catalogue, and one small class per component that counts on it.

`CATALOGUE` is what `docs/metrics.md` is generated from; a metric that is not in it cannot be made. All
label sets that are known beforehand are created at start, so that `rate()` works from the first event.
"""

from collections import Counter as CountOf
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ingest import __version__
from ingest.model.memory import Judgement, Kind, Reason
from ingest.model.status import FeedStatus, State
from ingest.model.window import Tier

PREFIX = "defender_ingest_"


@dataclass(frozen=True, slots=True)
class Described:
    """One metric of the catalogue.

    `labels` has each label's values that are known beforehand. They are there from the start: Prometheus
    sees no rise in a series that begins at 1.
    """

    kind: Literal["counter", "gauge", "histogram"]
    text: str
    labels: Mapping[str, tuple[str, ...]] | None = None
    buckets: tuple[float, ...] = ()


_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_AGES = (30.0, 60.0, 90.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21600.0, 86400.0)
_SERIES = 1_000
"""Tenants that get series of their own at most, the longest unwell first: bounds a scrape."""

_TIERS = tuple(map(str, Tier))
_STATES = tuple(map(str, State))

_CALLS = (
    *("ok", "throttled", "unauthorized", "forbidden", "not_found", "cancelled"),
    *("http_400", "http_500", "http_502", "http_503", "http_504"),
    *("timeout", "network", "tls", "proxy", "unreadable", "too_large"),
)
_TOKENS = (
    *("ok", "not_consented", "service_missing", "no_permission", "cancelled"),
    *("secret_expired", "bad_secret", "bad_certificate", "bad_federation"),
    *("bad_assertion", "assertion_expired", "entra_timeout", "entra_network", "entra_tls"),
    *("entra_proxy", "entra_unwell", "entra_unreadable"),
)
_QUARANTINE = (
    *("no_id", "bad_id", "no_time", "bad_time", "not_an_object", "undecodable"),
    *("too_large", "invalid_record", "corrupt_record", "refused"),
)

CATALOGUE: dict[str, Described] = {
    "alerts_received_total": Described(
        "counter", "Records that the API returned, of committed decisions."
    ),
    "alerts_published_total": Described(
        "counter", "Versions published, by what happened.", {"kind": tuple(map(str, Kind))}
    ),
    "alerts_duplicates_total": Described(
        "counter", "Records that Kafka has already; overlaps make them on purpose."
    ),
    "alerts_stale_total": Described(
        "counter",
        "Records older than what was published (`stale`) or than memory reaches (`beyond`).",
        {"reason": (str(Reason.STALE), str(Reason.BEYOND))},
    ),
    "alerts_quarantined_total": Described(
        "counter", "Records set aside in the quarantine topic, by reason.", {"reason": _QUARANTINE}
    ),
    "alerts_late_total": Described(
        "counter", "Published versions that became visible after the fast watermark had passed."
    ),
    "alerts_future_total": Described(
        "counter", "Published versions dated after the API's own clock."
    ),
    "alerts_silent_total": Described(
        "counter", "Published versions whose content changed without their time."
    ),
    "alerts_flapping_total": Described(
        "counter", "Records whose content flaps at one time; not published again."
    ),
    "sweeps_total": Described(
        "counter",
        "Readings of a window, by tier and outcome; `whole` is the good one.",
        {"tier": _TIERS, "outcome": ("whole", "cut_short")},
    ),
    "sweep_seconds": Described(
        "histogram", "Duration of a reading.", {"tier": _TIERS}, buckets=_SECONDS
    ),
    "sweep_doubts_total": Described(
        "counter", "Boxes that could not be proven whole; slow readings come back to them."
    ),
    "state_transitions_total": Described(
        "counter", "Tenants entering a state.", {"state": _STATES}
    ),
    "source_requests_total": Described(
        "counter", "Calls to the alert API, by outcome.", {"outcome": _CALLS}
    ),
    "source_request_seconds": Described(
        "histogram", "Duration of a call to the alert API.", buckets=_SECONDS
    ),
    "source_records_total": Described(
        "counter", "Records that the alert API returned, whatever became of them."
    ),
    "source_bytes_total": Described("counter", "Decompressed bytes read from the alert API."),
    "source_budget_wait_seconds_total": Described(
        "counter", "Seconds that calls waited for their tenant's budget, over all tenants."
    ),
    "source_throttled_seconds_total": Described(
        "counter", "Seconds that the alert API asked to be left alone, over all tenants."
    ),
    "source_links_refused_total": Described(
        "counter", "`nextLink`s to another origin or path; never followed."
    ),
    "source_memory_bytes": Described("gauge", "Bytes of answers in memory now."),
    "token_requests_total": Described(
        "counter", "Token requests to Entra ID, by outcome.", {"outcome": _TOKENS}
    ),
    "token_request_seconds": Described(
        "histogram", "Duration of a token request.", buckets=_SECONDS
    ),
    "credential_rejected": Described(
        "gauge", "1 while Entra ID refuses our credential for more than one tenant."
    ),
    "credential_expires_timestamp_seconds": Described(
        "gauge",
        "When our credential expires; absent where nobody knows.",
        {"kind": ()},
    ),
    "consents_total": Described(
        "counter", "Visits to the consent page, by what came of them.", {"outcome": ("active",)}
    ),
    "transactions_total": Described(
        "counter",
        "Kafka transactions, by outcome.",
        {"outcome": ("committed", "aborted")},
    ),
    "commit_seconds": Described(
        "histogram", "Duration of a transaction, begin to committed.", buckets=_SECONDS
    ),
    "records_committed_total": Described("counter", "Records in committed transactions."),
    "shards_placed": Described("gauge", "Shards that the consumer group has placed here."),
    "shard_placements_total": Described(
        "counter", "Times that the consumer group placed shards here, others or the same."
    ),
    "shards_ready": Described("gauge", "Shards whose producer is initialised and state restored."),
    "shard_restarts_total": Described("counter", "Shards that went back to their checkpoint."),
    "tasks_restarted_total": Described(
        "counter", "Tasks that ended unbidden and were started again.", {"task": ("reader",)}
    ),
    "started_timestamp_seconds": Described("gauge", "When this process started."),
    "build_info": Described("gauge", "Always 1; the version is a label.", {"version": ()}),
    "tenants": Described("gauge", "Tenants by state.", {"state": _STATES}),
    "tenants_registered": Described(
        "gauge",
        "Tenants registered in the shards that are placed here; should equal the sum of `tenants`.",
    ),
    "freshness_tenants": Described(
        "gauge",
        "Tenants whose last complete reading is at most that many seconds old.",
        {"within_seconds": ()},
    ),
    "reconciled_tenants": Described(
        "gauge",
        "Tenants whose last complete reconciling reading is at most that many seconds old.",
        {"within_seconds": ()},
    ),
    "freshness_max_seconds": Described(
        "gauge", "Age of the oldest last complete reading; tenants never read count from start."
    ),
    "remembered_alerts": Described("gauge", "Alerts remembered, over all tenants."),
    "tenant_state_since_timestamp_seconds": Described(
        "gauge",
        "Since when a tenant that is not healthy is in its state. Only such tenants have it.",
        {"tenant": (), "name": (), "state": (), "code": (), "must_act": ()},
    ),
    "tenant_fresh_timestamp_seconds": Described(
        "gauge",
        "Start of the last complete reading of a tenant that is not healthy.",
        {"tenant": ()},
    ),
}


def _counter(registry: CollectorRegistry, name: str) -> Counter:
    described = CATALOGUE[name]
    labels = described.labels or {}
    counter = Counter(PREFIX + name, described.text, tuple(labels), registry=registry)
    _create(counter, labels)
    return counter


def _gauge(registry: CollectorRegistry, name: str) -> Gauge:
    described = CATALOGUE[name]
    return Gauge(PREFIX + name, described.text, tuple(described.labels or {}), registry=registry)


def _histogram(registry: CollectorRegistry, name: str) -> Histogram:
    described = CATALOGUE[name]
    labels = described.labels or {}
    histogram = Histogram(
        PREFIX + name,
        described.text,
        tuple(labels),
        buckets=described.buckets,
        registry=registry,
    )
    _create(histogram, labels)
    return histogram


def _create(metric: Counter | Histogram, labels: Mapping[str, tuple[str, ...]]) -> None:
    combinations: list[tuple[str, ...]] = [()]
    for values in labels.values():
        combinations = [(*done, value) for done in combinations for value in values]
    for combination in combinations:
        if combination:
            metric.labels(*combination)


class PipelineMetrics:
    """Counts what was decided; the conservation law of alerts holds over its counters."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._received = _counter(registry, "alerts_received_total")
        published = _counter(registry, "alerts_published_total")
        self._published = {kind: published.labels(str(kind)) for kind in Kind}
        self._duplicates = _counter(registry, "alerts_duplicates_total")
        stale = _counter(registry, "alerts_stale_total")
        self._stale = {r: stale.labels(str(r)) for r in (Reason.STALE, Reason.BEYOND)}
        self._quarantined = _counter(registry, "alerts_quarantined_total")
        self._late = _counter(registry, "alerts_late_total")
        self._future = _counter(registry, "alerts_future_total")
        self._silent = _counter(registry, "alerts_silent_total")
        self._flapping = _counter(registry, "alerts_flapping_total")
        self._sweeps = _counter(registry, "sweeps_total")
        self._seconds = _histogram(registry, "sweep_seconds")
        self._doubts = _counter(registry, "sweep_doubts_total")
        self._transitions = _counter(registry, "state_transitions_total")

    def judged(self, judgement: Judgement) -> None:
        """Count one judgement whose records are committed."""
        self._received.inc(judgement.received)
        # Counted first: each call to a counter takes its lock.
        for kind, count in CountOf(verdict.kind for verdict in judgement.published).items():
            self._published[kind].inc(count)
        self._duplicates.inc(judgement.duplicates)
        for reason, counter in self._stale.items():
            counter.inc(judgement.reasons[reason])
        for item in judgement.quarantined:
            self._quarantined.labels(item.reason).inc()
        self._late.inc(judgement.late)
        self._future.inc(judgement.future)
        self._silent.inc(judgement.reasons[Reason.SILENT])
        self._flapping.inc(judgement.reasons[Reason.FLAPPING])

    def swept(self, tier: Tier, *, outcome: str, seconds: float, doubts: int) -> None:
        """Count one reading that ended."""
        self._sweeps.labels(str(tier), outcome).inc()
        self._seconds.labels(str(tier)).observe(seconds)
        self._doubts.inc(doubts)

    def transition(self, state: State) -> None:
        """Count a tenant entering a state."""
        self._transitions.labels(str(state)).inc()


class SourceMetrics:
    """Counts calls to the alert API."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = _counter(registry, "source_requests_total")
        self._seconds = _histogram(registry, "source_request_seconds")
        self._records = _counter(registry, "source_records_total")
        self._bytes = _counter(registry, "source_bytes_total")
        self._waited = _counter(registry, "source_budget_wait_seconds_total")
        self._throttled = _counter(registry, "source_throttled_seconds_total")
        self._links = _counter(registry, "source_links_refused_total")
        self._memory = _gauge(registry, "source_memory_bytes")

    def request(self, *, outcome: str, seconds: float, size: int = 0, records: int = 0) -> None:
        """Count one call that ended."""
        self._requests.labels(outcome).inc()
        self._seconds.observe(seconds)
        self._bytes.inc(size)
        self._records.inc(records)

    def waited(self, seconds: float) -> None:
        """Count what a call waited for its tenant's budget."""
        self._waited.inc(seconds)

    def throttled(self, seconds: float) -> None:
        """Count the pause that the API asked for."""
        self._throttled.inc(seconds)

    def link_refused(self) -> None:
        """Count a `nextLink` that leads elsewhere."""
        self._links.inc()

    def memory(self, size: int) -> None:
        """Say how many bytes of answers are in memory."""
        self._memory.set(size)


class IdentityMetrics:
    """Counts token requests."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = _counter(registry, "token_requests_total")
        self._seconds = _histogram(registry, "token_request_seconds")
        self._rejected = _gauge(registry, "credential_rejected")
        self._ends = _gauge(registry, "credential_expires_timestamp_seconds")

    def request(self, *, outcome: str, seconds: float) -> None:
        """Count one token request that ended."""
        self._requests.labels(outcome).inc()
        self._seconds.observe(seconds)

    def credential(self, *, rejected: bool) -> None:
        """Say whether our credential is refused for more than one tenant."""
        self._rejected.set(int(rejected))

    def credential_ends(self, kind: str, unix: float | None) -> None:
        """Say when our credential expires."""
        self._ends.clear()
        if unix is not None:
            self._ends.labels(kind).set(unix)


class ConsentMetrics:
    """Counts visits to the consent page."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._outcomes = _counter(registry, "consents_total")

    def came_to(self, outcome: str) -> None:
        """Count what came of one."""
        self._outcomes.labels(outcome).inc()


class SinkMetrics:
    """Counts transactions."""

    def __init__(self, registry: CollectorRegistry) -> None:
        transactions = _counter(registry, "transactions_total")
        self._committed = transactions.labels("committed")
        self._aborted = transactions.labels("aborted")
        self._seconds = _histogram(registry, "commit_seconds")
        self._records = _counter(registry, "records_committed_total")
        self._placed = _gauge(registry, "shards_placed")
        self._placements = _counter(registry, "shard_placements_total")
        self._ready = _gauge(registry, "shards_ready")
        self._restarts = _counter(registry, "shard_restarts_total")

    def committed(self, *, records: int, seconds: float) -> None:
        """Count a transaction that is committed."""
        self._committed.inc()
        self._records.inc(records)
        self._seconds.observe(seconds)

    def aborted(self) -> None:
        """Count a transaction that is not."""
        self._aborted.inc()

    def placed(self, shards: int) -> None:
        """Say how many shards the group has placed here, each time that it does."""
        self._placed.set(shards)
        self._placements.inc()

    def shard_ready(self) -> None:
        """Count a shard in."""
        self._ready.inc()

    def shard_lost(self) -> None:
        """Count a shard out: it goes back to its checkpoint."""
        self._ready.dec()
        self._restarts.inc()


class RuntimeMetrics:
    """Counts what the process does of itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._restarts = _counter(registry, "tasks_restarted_total")
        self._started = _gauge(registry, "started_timestamp_seconds")
        _gauge(registry, "build_info").labels(__version__).set(1)

    def started(self, unix: float) -> None:
        """Say when the process started, in Unix seconds."""
        self._started.set(unix)

    def task_restarted(self, task: str) -> None:
        """Count a task that ended unbidden."""
        self._restarts.labels(task).inc()


class FleetCollector(Collector):
    """Renders all tenants at each scrape: counts by state and by age, series only for the unwell.

    Args:
        snapshot: how every feed is doing.
        registered: how many tenants are registered here, whatever became of them.
        unix: Unix seconds.
        per_tenant: whether tenants that are not healthy get series of their own.
    """

    def __init__(
        self,
        snapshot: Callable[[], Iterable[FeedStatus]],
        registered: Callable[[], int],
        unix: Callable[[], float],
        *,
        per_tenant: bool,
    ) -> None:
        self._snapshot = snapshot
        self._registered = registered
        self._unix = unix
        self._per_tenant = per_tenant

    def describe(self) -> Iterable[Metric]:
        """Promise nothing beforehand: collecting at registration would be too early."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the fleet's metrics as of now."""
        statuses = list(self._snapshot())
        now = self._unix()
        states = dict.fromkeys(State, 0)
        fresh: list[float] = []
        reconciled: list[float] = []
        oldest = 0.0
        for status in statuses:
            states[status.state] += 1
            if status.fresh_at is not None:
                fresh.append(now - status.fresh_at)
            if status.reconciled_at is not None:
                reconciled.append(now - status.reconciled_at)
            oldest = max(oldest, now - (status.fresh_at or status.since))
        by_state = _family("tenants")
        for state, count in states.items():
            by_state.add_metric((str(state),), count)
        yield by_state
        yield _family("tenants_registered", self._registered())
        yield _ages("freshness_tenants", fresh)
        yield _ages("reconciled_tenants", reconciled)
        yield _family("freshness_max_seconds", oldest)
        yield _family("remembered_alerts", sum(status.remembered for status in statuses))
        if self._per_tenant:
            yield from _unwell(statuses)


def _unwell(statuses: Iterable[FeedStatus]) -> Iterator[Metric]:
    unwell = [status for status in statuses if status.state is not State.HEALTHY]
    # The quiet last: there may be many, and nobody has to act.
    unwell.sort(key=lambda status: (status.state is State.QUIET, status.since))
    since = _family("tenant_state_since_timestamp_seconds")
    fresh = _family("tenant_fresh_timestamp_seconds")
    for status in unwell[:_SERIES]:
        tenant = status.feed.tenant
        labels = (tenant, status.name, str(status.state), status.code, status.blame.value)
        since.add_metric(labels, status.since)
        if status.fresh_at is not None:
            fresh.add_metric((tenant,), status.fresh_at)
    yield since
    yield fresh


def _family(name: str, value: float | None = None) -> GaugeMetricFamily:
    described = CATALOGUE[name]
    labels = tuple(described.labels or {})
    return GaugeMetricFamily(PREFIX + name, described.text, value=value, labels=labels or None)


def _ages(name: str, ages: list[float]) -> GaugeMetricFamily:
    family = _family(name)
    ages.sort()
    at = 0
    for bound in _AGES:
        while at < len(ages) and ages[at] <= bound:
            at += 1
        family.add_metric((f"{bound:g}",), at)
    family.add_metric(("+Inf",), len(ages))
    return family

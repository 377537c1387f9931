"""One small class per component that counts on the metrics of the catalogue.

All label sets that are known beforehand are created at start, so that `rate()` works from the first event.
"""

from collections import Counter as CountOf
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ingest import __version__
from ingest.model.memory import Judgement, Kind, Reason
from ingest.model.status import State
from ingest.model.window import Tier
from ingest.telemetry.catalogue import CATALOGUE, PREFIX


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

"""The metrics of all tenants, made anew at each scrape."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ingest.model.status import FeedStatus, State
from ingest.telemetry.catalogue import CATALOGUE, PREFIX

_AGES = (30.0, 60.0, 90.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21600.0, 86400.0)
_SERIES = 1_000
"""Tenants that get series of their own at most, the longest unwell first: bounds a scrape."""


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

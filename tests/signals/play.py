"""A run in trouble and at rest, with what Prometheus said of both and what others know of it."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass

from ingest.simulator.audit import Observed, Where
from ingest.simulator.trial import Trial
from ingest.simulator.verdict import Verdict
from ingest.telemetry.catalogue import PREFIX
from tests.harness.prometheus import DASHBOARD, Labels, Prometheus, filled_in
from tests.harness.watched import Watched

TENANTS, SHARDS, MALFORMED, LATE = 12, 8, 3, 6
THROTTLED_SECONDS = 45
WHOLE_RUN = 600
"""Seconds that rates are taken over: more than the run takes, so that times them they are counts."""

Vector = list[tuple[Labels, float]]
PANELS = {
    panel["title"]: panel
    for panel in json.loads(DASHBOARD.read_text())["panels"]
    if panel["type"] != "row"
}


@dataclass
class Moment:
    """What Prometheus said at one time: of each panel its queries' vectors, and what fires."""

    panels: dict[str, list[Vector]]
    alerts: dict[tuple[str, str], float]

    @classmethod
    def of(cls, prometheus: Prometheus) -> "Moment":
        at = time.time()
        panels = {
            title: [
                prometheus.query(filled_in(target["expr"], interval=f"{WHOLE_RUN}s"), at)
                for target in panel["targets"]
            ]
            for title, panel in PANELS.items()
        }
        return cls(panels, prometheus.alerts())

    def value(self, title: str, query: int = 0) -> float:
        ((_, value),) = self.panels[title][query]
        return value

    def by(self, title: str, label: str, query: int = 0) -> dict[str, float]:
        return {labels[label]: value for labels, value in self.panels[title][query]}

    def counts(self, title: str, label: str) -> dict[str, float]:
        """Return a rate's counts by a label, without those that are zero."""
        return {key: rate * WHOLE_RUN for key, rate in self.by(title, label).items() if rate}


@dataclass
class Seen:
    """The run: two moments of it, and what others than Prometheus know of it."""

    verdict: Verdict
    moments: dict[str, Moment]
    raw: dict[str, float]
    observed: list[Observed]
    parked: str
    throttled: str
    calls: tuple[int, int]
    tokens: int
    seconds: float
    log: str

    @property
    def trouble(self) -> Moment:
        return self.moments["trouble"]

    @property
    def rest(self) -> Moment:
        return self.moments["rest"]

    def headers(self, where: Where, name: str) -> Counter[str]:
        found = [dict(one.headers).get(name) for one in self.observed if one.where is where]
        return Counter(value.decode() for value in found if value is not None)

    @property
    def published(self) -> Counter[str]:
        kinds = self.headers(Where.ALERTS, "ce_type")
        return Counter({name.split(".")[2]: count for name, count in kinds.items()})

    @property
    def quarantined(self) -> Counter[str]:
        return self.headers(Where.QUARANTINE, "ce_reason")

    @property
    def late(self) -> int:
        return self.headers(Where.ALERTS, "ce_late").total()

    def logged(self, event: str, key: str) -> Counter[str]:
        """Count what the replicas have logged under an event, by one of its keys."""
        lines = map(json.loads, self.log.splitlines())
        return Counter(str(line[key]) for line in lines if line["event"] == event)


def _without_reasons(alerts: dict[tuple[str, str], float]) -> set[tuple[str, str]]:
    return {(name, "" if name.endswith("Growing") else about) for name, about in alerts}


async def play(run: Watched) -> Seen:
    began = time.time()
    ask, observed = run.prometheus, []
    healthy = f'sum({PREFIX}tenants{{state="healthy"}}) == {TENANTS}'
    ready = f"sum({PREFIX}shards_ready) == {SHARDS}"
    moments = {}
    parked, throttled, odd, late = (one for one in run.cloud.tenants()[:4])
    async with Trial(subject=run.subject, cloud=run.cloud, watch=observed.extend) as trial:
        await run.until(lambda: bool(ask.query(healthy) and ask.query(ready)), what="all are read")
        await trial.find_topics()
        run.cloud.post("faults", tenant=parked["id"], kind="consent_revoked", seconds=3600)
        run.cloud.post(
            "faults", tenant=throttled["id"], kind="throttle429", retry_after=THROTTLED_SECONDS
        )
        run.cloud.post("faults", tenant=odd["id"], kind="malformed", count=MALFORMED)
        run.cloud.post("faults", tenant=late["id"], kind="late", count=LATE, by=600)
        wanted = {
            ("DefenderIngestTenantDark", parked["name"]),
            ("DefenderIngestThrottledForLong", throttled["name"]),
            ("DefenderIngestQuarantineGrowing", ""),
            ("DefenderIngestLateAlertsFound", ""),
        }
        # Those that were starting a moment ago are still told dark by the quick rules.
        await run.until(lambda: _without_reasons(ask.alerts()) == wanted, what="alerts")
        moments["trouble"] = Moment.of(ask)
        assert await trial.drain(at_most=120) == 0
        while await trial.behind():
            await trial.follow(seconds=0.5)
        alerts = sum(one.where is Where.ALERTS for one in observed)
        reconciled = f'sum({PREFIX}reconciled_tenants{{within_seconds="7200"}}) == {TENANTS}'
        settled = f"sum({PREFIX}alerts_published_total) == {alerts} and {healthy} and {reconciled}"
        dark = "DefenderIngestTenantDark"
        await run.until(
            lambda: bool(ask.query(settled)) and dark not in {name for name, _ in ask.alerts()},
            what="rest",
        )
        before = run.cloud.summary()
        moments["rest"] = Moment.of(ask)
        after = run.cloud.summary()
        raw = {
            name: run.value(f"sum({PREFIX}{name})")
            for name in (
                "alerts_published_total",
                "alerts_quarantined_total",
                "alerts_late_total",
                "shard_placements_total",
                "token_requests_total",
            )
        }
        verdict = await trial.judge()
    for replica in run.replicas:
        assert await asyncio.to_thread(replica.stop) == 0
    await run.until(lambda: ("DefenderIngestDown", "") in ask.alerts(), what="that all are down")
    return Seen(
        verdict=verdict,
        moments=moments,
        raw=raw,
        observed=observed,
        parked=parked["name"],
        throttled=throttled["name"],
        calls=(before["calls"], after["calls"]),
        tokens=after["tokens"],
        seconds=time.time() - began,
        log=run.log(),
    )

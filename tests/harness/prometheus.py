"""Prometheus itself and its `promtool`, as Debian's package `prometheus` has them."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from ingest.simulator.broker import free_port
from ingest.simulator.processes import Child
from ingest.telemetry.catalogue import PREFIX, Described

ROOT = Path(__file__).parents[2]
RULES = ROOT / "helm" / "defender-ingest" / "files" / "rules.yaml"
DASHBOARD = ROOT / "helm" / "defender-ingest" / "files" / "dashboard.json"
_START_SECONDS = 60

Labels = dict[str, str]


def missing() -> list[str]:
    """Return which of the two this machine lacks."""
    return [name for name in ("prometheus", "promtool") if shutil.which(name) is None]


def series_of(catalogue: Mapping[str, Described]) -> set[str]:
    """Return the names that the metrics of a catalogue have in Prometheus."""
    names = set()
    for name, one in catalogue.items():
        parts = ("_bucket", "_count", "_sum") if one.kind == "histogram" else ("",)
        names |= {f"{PREFIX}{name}{part}" for part in parts}
    return names


def filled_in(query: str, *, interval: str = "1m") -> str:
    """Return a query of the dashboard with Grafana's variables replaced, for all jobs."""
    return query.replace("$job", ".+").replace("$__rate_interval", interval)


def promtool(*words: str | Path) -> str:
    """Run promtool; return what it says if it is not content, nothing if it is."""
    done = subprocess.run(
        ["promtool", *map(str, words)], capture_output=True, text=True, timeout=60, check=False
    )
    return f"exit {done.returncode}: {done.stdout}{done.stderr}" if done.returncode else ""


class Prometheus:
    """A server on loopback that scrapes once a second; it ends with the context.

    Args:
        folder: where its configuration and data are.
        targets: HOST:PORT of what is scraped.
        rules: a file of rules; they are evaluated once a second.
        job: the label of what is scraped.
    """

    def __init__(
        self,
        folder: Path,
        targets: Sequence[str],
        *,
        rules: Path | None = None,
        job: str = "defender-ingest",
    ) -> None:
        config = {
            "global": {
                "scrape_interval": "1s",
                "scrape_timeout": "1s",
                "evaluation_interval": "1s",
            },
            "rule_files": [str(rules)] if rules else [],
            "scrape_configs": [{"job_name": job, "static_configs": [{"targets": list(targets)}]}],
        }
        file = folder / "prometheus.yaml"
        file.write_text(yaml.safe_dump(config))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [
            *("prometheus", f"--config.file={file}", f"--web.listen-address=127.0.0.1:{port}"),
            f"--storage.tsdb.path={folder / 'prometheus-data'}",
        ]
        self._child = Child(name="prometheus", command=command, folder=folder)

    def __enter__(self) -> Self:
        self._child.start()
        self._child.wait_until(self._is_ready, what="readiness", timeout=_START_SECONDS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._child.stop()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:  # noqa: S310
                return answer.status == 200
        except OSError:
            return False

    def query(self, expression: str, at: float | None = None) -> list[tuple[Labels, float]]:
        """Return an instant query's vector (a scalar is one without labels)."""
        found = self._ask("query", query=expression, time=at or time.time())
        if found["resultType"] == "scalar":
            return [({}, float(found["result"][1]))]
        return [(one["metric"], float(one["value"][1])) for one in found["result"]]

    def series(
        self, expression: str, *, since: float, until: float, step: float
    ) -> list[tuple[Labels, list[tuple[float, float]]]]:
        """Return a range query's matrix: for each set of labels the points in time."""
        found = self._ask("query_range", query=expression, start=since, end=until, step=step)
        return [
            (one["metric"], [(at, float(value)) for at, value in one["values"]])
            for one in found["result"]
        ]

    def alerts(self) -> dict[tuple[str, str], float]:
        """Return each alert that fires now, with whom or what it is about, and its value."""
        return {
            (labels["alertname"], labels.get("name") or labels.get("reason", "")): float(
                one["value"]
            )
            for one in self._ask("alerts")["alerts"]
            if one["state"] == "firing"
            for labels in [one["labels"]]
        }

    def _ask(self, path: str, **words: Any) -> Mapping[str, Any]:
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(words)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - our own, on loopback
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{words}: {error.read().decode()}") from None

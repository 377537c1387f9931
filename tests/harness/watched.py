"""A run that Prometheus watches: Kafka, the simulated cloud, three replicas, and the rules."""

import asyncio
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from ingest.simulator.broker import free_port
from ingest.simulator.processes import Child
from ingest.simulator.remote import RemoteCloud
from ingest.simulator.trial import Subject
from ingest.telemetry.catalogue import PREFIX
from tests.harness.prometheus import RULES, Prometheus
from tests.harness.stage import PROGRAM, Stage, stage

REPLICAS = 3


class Watched:
    """The run: its parts, and how to wait for what Prometheus says."""

    def __init__(self, run: Stage, prometheus: Prometheus, replicas: list[Child]) -> None:
        self.prometheus = prometheus
        self.replicas = replicas
        self.cloud = RemoteCloud(url=run.ready["url"], ca_file=Path(run.ready["ca_file"]))
        self.subject = Subject.of(run.config)

    async def until(self, holds: Callable[[], bool], *, what: str, at_most: float = 90) -> None:
        """Wait until something holds."""
        end = time.monotonic() + at_most
        while not await asyncio.to_thread(holds):
            if time.monotonic() > end:
                alerts = self.prometheus.alerts()
                raise AssertionError(f"not within {at_most:g} s: {what}; firing: {alerts}")
            await asyncio.sleep(0.2)

    def value(self, expression: str) -> float:
        """Return the only value of a query; none is NaN."""
        found = self.prometheus.query(expression)
        return found[0][1] if found else float("nan")

    def log(self) -> str:
        """Return what all replicas have logged."""
        return "".join(replica.out.read_text() for replica in self.replicas)


def quick(rules: Path, folder: Path) -> Path:
    """Return a copy of the rules that fire after a second: all but how long they wait stays the same."""
    text = re.sub(r"for: \w+", "for: 1s", rules.read_text())
    # What bridges a missed scrape must not outlast what it bridges.
    text = re.sub(r"(max_over_time\(.*)\[\d+m\]", r"\1[10s]", text)
    file = folder / "rules.yaml"
    file.write_text(text)
    return file


@contextmanager
def watched(
    folder: Path, *flags: str, changes: Mapping[str, Mapping[str, Any]]
) -> Iterator[Watched]:
    """Start all of it; tenants are registered once every replica was scraped, its counters at zero.

    Args:
        folder: for files.
        flags: of `simulate`.
        changes: of the replicas' configuration, by section.
    """
    with ExitStack() as stack:
        run = stack.enter_context(stage(*flags, folder=folder))
        content = yaml.safe_load(run.config.read_text())
        tenants = folder / "tenants.yaml"
        tenants.write_text(yaml.safe_dump(content.pop("tenants")))
        for section, values in changes.items():
            content[section] = content.get(section, {}) | values
        run.config.write_text(yaml.safe_dump(content))
        ports = [free_port() for _ in range(REPLICAS)]
        targets = [f"127.0.0.1:{port}" for port in ports]
        prometheus = stack.enter_context(Prometheus(folder, targets, rules=quick(RULES, folder)))
        replicas = [
            stack.enter_context(run.daemon(f"replica-{number}", LISTEN__PORT=str(port)))
            for number, port in enumerate(ports, start=1)
        ]
        known = f"count({PREFIX}build_info) == {REPLICAS}"
        replicas[0].wait_until(lambda: bool(prometheus.query(known)), what="scrapes", timeout=90)
        apply = [*PROGRAM, "tenants", "apply", str(tenants), "--config", str(run.config)]
        subprocess.run(apply, check=True, capture_output=True, timeout=60)
        yield Watched(run, prometheus, replicas)

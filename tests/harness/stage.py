"""What a measured run needs: Apache Kafka, the simulator and the daemon, and a reader beside them."""

import asyncio
import hashlib
import json
import ssl
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml
from aiokafka import AIOKafkaConsumer

from ingest.simulator.processes import Child
from tests.kafka.apache import ApacheKafka
from tests.kafka.secured import Admin, Secured

PROGRAM = (sys.executable, "-m", "ingest")


@dataclass
class Stage:
    """A running simulator on a running Kafka, and the configuration for a daemon on both."""

    folder: Path
    kafka: ApacheKafka
    simulator: Child
    ready: dict[str, Any]

    @property
    def config(self) -> Path:
        return Path(self.ready["config"])

    def admin(self, path: str, body: Any = None) -> bytes:
        request = urllib.request.Request(  # noqa: S310 - loopback, our own simulator
            f"{self.ready['url']}/admin/{path}",
            data=None if body is None else json.dumps(body).encode(),
            method="GET" if body is None else "POST",
        )
        context = ssl.create_default_context(cafile=self.ready["ca_file"])
        with urllib.request.urlopen(request, context=context, timeout=120) as answer:  # noqa: S310
            return answer.read()

    def versions(self) -> Iterator[dict[str, Any]]:
        for line in self.admin("record").splitlines():
            yield json.loads(line)

    def daemon(self, name: str = "daemon", **env: str) -> Child:
        return Child(
            name=name,
            command=[*PROGRAM, "run", "--config", str(self.config)],
            folder=self.folder,
            env={f"DEFENDER_INGEST_{key}": value for key, value in env.items()},
        )


@contextmanager
def stage(
    *flags: str, folder: Path | None = None, secured: Secured | None = None
) -> Iterator[Stage]:
    """Start Kafka and the simulator with these flags; everything ends with the context.

    Args:
        flags: of `simulate`.
        folder: for files; a temporary one if none is given.
        secured: the way that daemons take to the brokers, where it is not the plain one.
    """
    with tempfile.TemporaryDirectory(prefix="defender-bench-") as temporary:
        root = folder or Path(temporary)
        if secured is not None:
            with _secured(flags, root, secured) as made:
                yield made
            return
        with ApacheKafka(heap="1g") as kafka:
            simulator = Child(
                name="simulator",
                command=[
                    *(*PROGRAM, "simulate", "--port", "0", "--kafka", kafka.bootstrap),
                    *(
                        "--write-config",
                        str(root / "daemon.yaml"),
                        "--state-dir",
                        str(root),
                        *flags,
                    ),
                ],
                folder=root,
            )
            with simulator:
                ready = json.loads(simulator.first_line(timeout=120))
                yield Stage(folder=root, kafka=kafka, simulator=simulator, ready=ready)


@contextmanager
def _secured(flags: tuple[str, ...], root: Path, secured: Secured) -> Iterator[Stage]:
    """Start the simulator and then Kafka, which may ask it for the keys of its tokens."""
    simulator = Child(
        name="simulator",
        command=[
            *(*PROGRAM, "simulate", "--port", "0", "--kafka", secured.bootstrap),
            *("--write-config", str(root / "daemon.yaml"), "--state-dir", str(root), *flags),
        ],
        folder=root,
    )
    with simulator:
        ready = json.loads(simulator.first_line(timeout=120))
        config = Path(ready["config"])
        content = yaml.safe_load(config.read_text())
        with ApacheKafka(heap="1g", **secured.cluster(root, content)) as kafka:
            secured.prepare(Admin(kafka.bootstrap))
            content["kafka"] |= secured.section
            config.write_text(yaml.safe_dump(content))
            yield Stage(folder=root, kafka=kafka, simulator=simulator, ready=ready)


class Arrivals:
    """Reads the alerts topic as a `read_committed` consumer does, and notes when each came."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self.seen: dict[tuple[str, str], float] = {}
        self.count = 0
        self.last = 0.0

    async def run(self, until: asyncio.Event) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=None,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
            metadata_max_age_ms=1000,
        )
        await consumer.start()
        try:
            while not until.is_set() and self._topic not in await consumer.topics():
                await asyncio.sleep(0.2)
            consumer.subscribe([self._topic])
            while not until.is_set():
                polled = await consumer.getmany(timeout_ms=200)
                now = time.time()
                for records in polled.values():
                    self.count += len(records)
                    self.last = now
                    for record in records:
                        digest = hashlib.sha256(record.value).hexdigest()
                        self.seen.setdefault((record.key.decode().split("/", 1)[0], digest), now)
        finally:
            await consumer.stop()


@dataclass
class Usage:
    """CPU seconds and memory of one process, sampled."""

    process: psutil.Process
    rss: list[int] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    cpu_at_start: float = 0.0

    def __post_init__(self) -> None:
        self.cpu_at_start = self.cpu()

    def cpu(self) -> float:
        times = self.process.cpu_times()
        return times.user + times.system

    def sample(self) -> None:
        self.rss.append(self.process.memory_info().rss)

    def share(self) -> float:
        return (self.cpu() - self.cpu_at_start) / (time.monotonic() - self.began)


def delays(
    stage: Stage, arrivals: Arrivals, *, since: float, tenants: set[str] | None = None
) -> list[float]:
    """Return, sorted, the seconds from visible to readable of versions that appeared after `since`."""
    found = []
    for version in stage.versions():
        if version["from"] < since or (tenants is not None and version["tenant"] not in tenants):
            continue
        times = [
            arrivals.seen[version["tenant"], digest]
            for digest in version["sha256"]
            if (version["tenant"], digest) in arrivals.seen
        ]
        if times:
            found.append(min(times) - version["from"])
    return sorted(found)


def percentile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def recorded_answers(folder: Path) -> list[bytes]:
    """Return the bytes of each distinct alert in the recorded `/api/alerts` answers."""
    found: dict[bytes, None] = {}
    decoder = json.JSONDecoder()
    for file in sorted(folder.glob("mde_*.json")):
        text = file.read_text()
        at = text.index("[", text.index('"value"')) + 1
        while (at := _next_object(text, at)) >= 0:
            _, end = decoder.raw_decode(text, at)
            found.setdefault(text[at:end].encode())
            at = end
    return list(found)


def _next_object(text: str, at: int) -> int:
    brace, bracket = text.find("{", at), text.find("]", at)
    return brace if brace >= 0 and brace < bracket else -1

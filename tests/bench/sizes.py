"""How much room alerts and checkpoints take on a broker's disk: `python -m tests.bench.sizes`.

Twice: a backlog that comes in whole pages, and alerts that come one by one, where a batch holds few and
compresses less. Prints bytes per version as Kafka's segments hold them (zstd, headers, batches, markers of
transactions), one copy of them, before compaction.
"""

import argparse
import asyncio
import re
import time
import urllib.request

from aiokafka import AIOKafkaConsumer

from tests.harness.stage import Stage, stage

_PUBLISHED = re.compile(r"^defender_ingest_alerts_published_total\{[^}]*\} (\S+)$", re.MULTILINE)
_LISTENING = re.compile(r'"listening": ?"([^"]+)"')
_LIMITS = {"SOURCE__CALLS_PER_MINUTE": "1000000", "SOURCE__CALLS_PER_HOUR": "60000000"}
_PATIENCE_SECONDS = 180


def on_disk(run: Stage, topic: str) -> int:
    folders = run.kafka.data_of(0).glob(f"defender.{topic}-*")
    return sum(file.stat().st_size for one in folders for file in one.glob("*.log"))


def published(url: str) -> int:
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:  # noqa: S310 - our own
        return sum(int(float(value)) for value in _PUBLISHED.findall(answer.read().decode()))


def measure(name: str, tenants: int, *, pages: int, seconds: float, births: float) -> None:
    flags = [
        *("--tenants", str(tenants), "--backlog", "0", "--births-per-minute", str(births)),
        *("--faults", "none", "--no-limits", "--poll-interval", "5"),
    ]
    with stage(*flags) as run, run.daemon("daemon", **_LIMITS) as child:
        child.wait_until(lambda: "started" in child.tail(), what="started event", timeout=60)
        found = _LISTENING.search(child.tail())
        assert found
        url = found.group(1)
        if pages:
            run.admin("burst", {"alerts": pages, "seconds": 60})
        wanted, deadline = tenants * pages, time.monotonic() + _PATIENCE_SECONDS
        time.sleep(seconds)
        while (count := published(url)) < wanted:
            assert time.monotonic() < deadline, f"{count} of {wanted}"
            time.sleep(1)
        child.stop()
        versions, raw = asyncio.run(_read(run.kafka.bootstrap))
        sizes = {name: on_disk(run, name) for name in ("alerts", "checkpoints", "tenant-status")}
    each = " ".join(f"{topic}={size / versions:.0f}" for topic, size in sizes.items())
    print(f"sizes: {name} versions={versions} raw={raw / versions:.0f} {each}", flush=True)


async def _read(bootstrap: str) -> tuple[int, int]:
    """Return how many versions are published, and how many bytes the API answered for them."""
    consumer = AIOKafkaConsumer(
        "defender.alerts",
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    await consumer.start()
    count = size = 0
    try:
        while polled := await consumer.getmany(timeout_ms=2000):
            for records in polled.values():
                count += len(records)
                size += sum(len(record.value or b"") for record in records)
    finally:
        await consumer.stop()
    return count, size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=50)
    arguments = parser.parse_args()
    measure("pages of 200", arguments.tenants, pages=200, seconds=0, births=0)
    measure("one by one", arguments.tenants, pages=0, seconds=60, births=600)


if __name__ == "__main__":
    main()

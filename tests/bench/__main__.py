"""`make bench`: the daemon on a full backlog beside a bare loop, on Apache Kafka, in one run.

Prints `bench: daemon=N bare=N ratio=0.NN` in alerts per CPU-second of the client process: machines
are noisy, and the two run on the same one, in turn, on the same alerts. Both hold their tokens when the
clock starts; each tenant then has one page of new alerts, of the size that facts of the field gave
(about 840 KB). Whoever waits for the daemon asks it how far it is, and reads nothing beside it.
"""

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import sys
import time
import urllib.request

import psutil
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.bench.bare import PARTITIONS
from tests.harness.stage import Arrivals, Stage, stage
from tests.kafka.secured import ByScram

ENCODINGS = ("raw", "cloudevents-structured")
_PATIENCE_SECONDS = 180
_POLL_SECONDS = 60
"""The daemon is held still for so long, so that every tenant is overdue when it goes on; and nobody is read a
second time while the last ones still have their backlog."""
_SETTLE_SECONDS = 3
"""Within this first readings commit their watermarks. Whoever is held still in the middle of one has its
next turn an interval after all others."""
_BURST_SECONDS = 60
_LOOK_SECONDS = (0.2, 5.0)
"""The least and the most between two looks at how far it is: each costs the daemon some milliseconds, and
what it does after its last alert is no part of the backlog."""
_PUBLISHED = re.compile(r"^defender_ingest_alerts_published_total\{[^}]*\} (\S+)$", re.MULTILINE)
_RECEIVED = re.compile(r"^defender_ingest_alerts_received_total (\S+)$", re.MULTILINE)
_HEALTHY = re.compile(r'^defender_ingest_tenants\{state="healthy"\} (\S+)$', re.MULTILINE)
_LISTENING = re.compile(r'"listening": ?"([^"]+)"')


def bare(run: Stage) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.bare", "--config", str(run.config)],
        capture_output=True,
        text=True,
        check=True,
        timeout=_PATIENCE_SECONDS,
    )
    said = json.loads(done.stdout)
    return said["alerts"] / said["cpu_seconds"]


class Watch:
    """How far the daemon says that it is."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/metrics"

    def sum(self, pattern: re.Pattern[str]) -> int:
        with urllib.request.urlopen(self._url, timeout=30) as answer:  # noqa: S310 - our own, loopback
            return sum(int(float(value)) for value in pattern.findall(answer.read().decode()))

    def until(self, pattern: re.Pattern[str], wanted: int) -> None:
        began = time.monotonic()
        least, most = _LOOK_SECONDS
        while (found := self.sum(pattern)) < wanted:
            passed = time.monotonic() - began
            if passed > _PATIENCE_SECONDS:
                raise SystemExit(f"bench: {found} of {wanted}")
            # Half of the time that the rest will take, as it looks now.
            left = passed * (wanted - found) / max(1, found)
            time.sleep(min(most, max(least, left / 2)))


async def daemon(run: Stage, tenants: int, alerts: int, **env: str) -> float:
    """Return alerts per CPU-second from the burst to the commit of its last alert."""
    settings = {
        "SOURCE__CALLS_PER_MINUTE": "1000000",
        "SOURCE__CALLS_PER_HOUR": "60000000",
        "KAFKA__SESSION_TIMEOUT_SECONDS": "120",  # it is held still, and is no zombie
        "POLL__RECONCILE_INTERVAL_SECONDS": "86400",  # a second reading of it all is another matter
    } | env
    with run.daemon("daemon", **settings) as child:
        child.wait_until(
            lambda: "started" in child.tail(), what="started event", timeout=_PATIENCE_SECONDS
        )
        watch = Watch(_LISTENING.search(child.tail()).group(1))
        watch.until(_HEALTHY, tenants)
        process = psutil.Process(child.pid)
        time.sleep(_SETTLE_SECONDS)
        # The simulator makes all alerts in one go and answers nobody meanwhile.
        process.suspend()
        run.admin("burst", {"alerts": alerts, "seconds": _BURST_SECONDS})
        time.sleep(_POLL_SECONDS + 1)
        before = sum(process.cpu_times()[:2])
        process.resume()
        watch.until(_PUBLISHED, tenants * alerts)
        spent = sum(process.cpu_times()[:2]) - before
        read = watch.sum(_RECEIVED) / (tenants * alerts)
        print(f"the daemon read each alert {read:.2f} times", flush=True)
    done = asyncio.Event()
    arrivals = Arrivals(run.kafka.bootstrap, "defender.alerts")
    reading = asyncio.create_task(arrivals.run(done))
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while arrivals.count < tenants * alerts and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    done.set()
    await reading
    if arrivals.count != tenants * alerts:
        raise SystemExit(f"bench: {arrivals.count} of {tenants * alerts} alerts are in the topic")
    return tenants * alerts / spent


async def once(tenants: int, alerts: int, *, secure: bool, encoding: str) -> tuple[float, float]:
    flags = [
        *("--tenants", str(tenants), "--backlog", "0", "--births-per-minute", "0"),
        *("--faults", "none", "--no-limits", "--poll-interval", str(_POLL_SECONDS)),
    ]
    with stage(*flags, secured=ByScram() if secure else None) as run:
        admin = AIOKafkaAdminClient(bootstrap_servers=run.kafka.bootstrap)
        await admin.start()
        await admin.create_topics(
            [NewTopic(name="bare.alerts", num_partitions=PARTITIONS, replication_factor=1)]
        )
        await admin.close()
        ours = await daemon(run, tenants, alerts, KAFKA__ENCODING=encoding)
        bare(run)  # warms the broker's side of the bare loop
        return ours, bare(run)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=1200)
    parser.add_argument("--alerts", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--secure", action="store_true", help="TLS and SASL to the broker, for both"
    )
    parser.add_argument(
        "--encoding", nargs="+", choices=ENCODINGS, default=["raw"], help="of alerts, in turn"
    )
    arguments = parser.parse_args()
    rounds = {encoding: [] for encoding in arguments.encoding}
    for number in range(arguments.rounds):
        for encoding, found in rounds.items():
            found.append(
                await once(
                    arguments.tenants, arguments.alerts, secure=arguments.secure, encoding=encoding
                )
            )
            ours, theirs = found[-1]
            print(
                f"round {number + 1}, {encoding}: daemon={ours:.0f} bare={theirs:.0f}", flush=True
            )
    how = "bench over TLS" if arguments.secure else "bench"
    ratios = {}
    for encoding, found in rounds.items():
        ours = statistics.median(one for one, _ in found)
        theirs = statistics.median(other for _, other in found)
        ratios[encoding] = ours / theirs
        named = how if encoding == "raw" else f"{how}, {encoding}"
        print(f"{named}: daemon={ours:.0f} bare={theirs:.0f} ratio={ratios[encoding]:.2f}")
    if len(ratios) > 1:
        first, *others = ratios
        for other in others:
            print(f"{other} is {ratios[other] / ratios[first]:.2f} of {first}")


if __name__ == "__main__":
    asyncio.run(main())

"""The dashboard's pictures in the documents, made from a real run: `python -m tests.signals.picture`.

Three replicas read sixty simulated customers into Apache Kafka, and a few things happen: a customer
revokes the consent, others are throttled or answer errors, alerts come in a burst, a replica is killed
and comes back.
"""

import argparse
import asyncio
import datetime as dt
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.harness.prometheus import DASHBOARD, ROOT
from tests.harness.watched import Watched, watched
from tests.signals.drawing import Span, draw

_FOLDER = ROOT / "docs" / "images"
_FIRST = ("Are all customers read?", "How late are they?")


async def happen(run: Watched, minutes: float) -> None:
    """Let a few things happen, in shares of the time that there is."""
    tenants = run.cloud.tenants()
    began, whole = time.monotonic(), minutes * 60

    async def at(share: float) -> None:
        await asyncio.sleep(max(0.0, began + share * whole - time.monotonic()))

    def fault(number: int, kind: str, **options: object) -> None:
        run.cloud.post("faults", tenant=tenants[number]["id"], kind=kind, **options)

    await at(0.2)
    for number in range(20, 32):
        fault(number, "throttle429", retry_after=round(0.15 * whole))
    await at(0.4)
    fault(7, "consent_revoked", seconds=whole)
    for number in (11, 12):
        fault(number, "malformed", count=2)
    await at(0.5)
    run.cloud.post("burst", alerts=30, seconds=30)
    await at(0.6)
    run.replicas[0].kill()
    await at(0.72)
    run.replicas[0].start()
    await at(0.8)
    fault(40, "http_5xx", seconds=whole, status=503)
    fault(3, "late", by=600, count=3)
    fault(33, "throttle429", retry_after=round(0.3 * whole))
    await at(1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.signals.picture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--folder", type=Path, default=_FOLDER)
    arguments = parser.parse_args()
    flags = [
        *("--tenants", "60", "--faults", "none", "--seed", "3", "--shards", "12"),
        *("--poll-interval", "10", "--backlog", "20", "--births-per-minute", "120"),
        *("--version-seconds", "60", "--no-limits"),
    ]
    expires = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=90)
    changes = {
        "source": {"calls_per_minute": 600, "calls_per_hour": 3600},
        "entra": {"client_secret_expires": expires.isoformat()},
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        watched(Path(folder), *flags, changes=changes) as run,
    ):
        since = time.time()
        asyncio.run(happen(run, arguments.minutes))
        span = Span(since, time.time(), interval="20s")
        board = json.loads(DASHBOARD.read_text())
        arguments.folder.mkdir(exist_ok=True)
        for name, rows in {"customers": _FIRST, "dashboard": ()}.items():
            file = arguments.folder / f"{name}.svg"
            file.write_text(draw(board, run.prometheus, span, rows=rows))
            print(f"{file}: {file.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())

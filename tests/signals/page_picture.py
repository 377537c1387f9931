"""The status page's picture in the documents, made from a real run: `python -m tests.signals.page_picture`.

One replica reads two hundred simulated customers, with the demo's faults; Chromium shows its page.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from ingest.simulator.broker import EmbeddedBroker, free_port
from ingest.simulator.processes import Child
from tests.harness.browser import Browser
from tests.harness.documented import ROOT
from tests.harness.installation import PROGRAM

_FILE = ROOT / "docs" / "images" / "status-page.png"
_SIZE = (1120, 700)


async def take(port: int, folder: Path, file: Path) -> None:
    async with Browser.open(folder / "profile") as browser:
        await browser.size(*_SIZE)
        await browser.scheme("light")
        await browser.open_page(f"http://127.0.0.1:{port}/")
        await browser.screenshot(file)


async def picture(folder: Path, file: Path, seconds: float) -> None:
    port, config = free_port(), folder / "daemon.yaml"
    with EmbeddedBroker(logs=folder) as broker:
        simulate = [
            *(*PROGRAM, "simulate", "--port", "0", "--tenants", "200", "--faults", "default"),
            *("--kafka", broker.bootstrap, "--write-config", str(config)),
            *("--state-dir", str(folder), "--shards", "4", "--no-limits"),
        ]
        with Child(name="simulator", command=simulate, folder=folder) as cloud:
            cloud.first_line(timeout=60)
            run = [*PROGRAM, "run", "--config", str(config)]
            env = {"DEFENDER_INGEST_ADMIN__PORT": str(port)}
            with Child(name="daemon", command=run, folder=folder, env=env) as daemon:
                await asyncio.sleep(seconds)
                await take(port, folder, file)
                daemon.stop()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.signals.page_picture", description=__doc__
    )
    parser.add_argument("--seconds", type=float, default=90, help="before the picture is taken")
    parser.add_argument("--file", type=Path, default=_FILE)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="defender-picture-") as folder:
        asyncio.run(picture(Path(folder), arguments.file, arguments.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())

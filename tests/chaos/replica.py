"""One replica of the daemon, with a network and a clock of its own."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from ingest.simulator.broker import free_port
from ingest.simulator.processes import Child
from tests.chaos.clock import Clock, library
from tests.chaos.gate import Gate
from tests.harness.stage import PROGRAM

_STARTED = b'"started"'
_STOP_SECONDS = 40
_LINE = 400
_HANDLES_SIGNALS_SECONDS = 3.0
"""After so long a process has its handlers; before it a SIGTERM ends the interpreter itself."""


@dataclass
class Replica:
    """One slot: a configuration, gates and a clock of its own, and a process or none."""

    slot: int
    child: Child
    clock: Clock
    brokers: list[Gate]
    api: Gate
    wanted: bool = False
    since: float = 0.0
    said_before: int = 0
    ends: list[int] = field(default_factory=list)

    @property
    def gates(self) -> list[Gate]:
        return [*self.brokers, self.api]

    def start(self) -> None:
        self.wanted = True
        if not self.child.running:
            self.since = time.monotonic()
            self.said_before = self.child.out.stat().st_size if self.child.out.exists() else 0
            self.child.start()

    def kill(self) -> None:
        self.wanted = False
        self.child.kill()

    async def stop(self) -> int | None:
        """Stop it in good order; return its exit code, None where it had ended by itself."""
        self.wanted = False
        age = time.monotonic() - self.since
        await asyncio.sleep(max(0.0, _HANDLES_SIGNALS_SECONDS - age) if self.child.running else 0)
        if self.child.exit_code is not None:
            self.ends.append(self.child.exit_code)
        if not self.child.running:
            return None
        return await asyncio.to_thread(self.child.stop, timeout=_STOP_SECONDS)

    def last_words(self) -> str:
        """Return the last line of its log, or of what it could not log."""
        lines = self.child.tail().splitlines()
        return lines[-1][:_LINE] if lines else ""

    async def started(self, *, at_most: float) -> None:
        """Wait until this start of it says that it serves."""
        await asyncio.to_thread(
            self.child.wait_until,
            lambda: _STARTED in self.child.out.read_bytes()[self.said_before :],
            what="start",
            timeout=at_most,
        )


def prepared(
    slot: int, doors: Sequence[tuple[int, int]], content: dict[str, Any], url: str, folder: Path
) -> Replica:
    """Return a replica that is not running, whose way to everything leads through gates.

    Args:
        slot: its number.
        doors: for each broker the port of this slot's listener, and the one that it names.
        content: the configuration of all.
        url: the simulated cloud's address in it.
        folder: where its files are.
    """
    brokers = [Gate(port=port, upstream=upstream) for upstream, port in doors]
    api = Gate(port=free_port(), upstream=urlsplit(url).port or 0)
    own = json.loads(json.dumps(content).replace(url, f"https://127.0.0.1:{api.port}"))
    own["kafka"]["bootstrap_servers"] = [f"127.0.0.1:{gate.port}" for gate in brokers]
    config = folder / f"replica-{slot}.yaml"
    config.write_text(yaml.safe_dump(own))
    clock = Clock(file=folder / f"clock-{slot}", library=library(folder))
    child = Child(
        name=f"replica-{slot}",
        command=[*PROGRAM, "run", "--config", str(config)],
        folder=folder,
        env=clock.env,
    )
    return Replica(slot=slot, child=child, clock=clock, brokers=brokers, api=api)

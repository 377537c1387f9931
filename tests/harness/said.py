"""What a child process said from some moment on."""

import asyncio
import json
import time

from ingest.simulator.processes import Child


class Said:
    """Lines of a child's log and of its last words, from now on."""

    def __init__(self, child: Child) -> None:
        self._files = (child.out, child.err)
        self._from = [file.stat().st_size if file.exists() else 0 for file in self._files]

    def lines(self) -> list[str]:
        return [
            line
            for file, start in zip(self._files, self._from, strict=True)
            if file.exists()
            for line in file.read_bytes()[start:].decode(errors="replace").splitlines()
        ]

    def events(self, name: str) -> list[dict[str, object]]:
        whole = (line for line in self.lines() if line.startswith("{") and line.endswith("}"))
        return [event for event in map(json.loads, whole) if event["event"] == name]

    def has(self, *words: str) -> bool:
        return any(all(word in line for word in words) for line in self.lines())


async def until(holds, *, what: str, seconds: float = 60):
    """Wait until something holds, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.1)
    return found

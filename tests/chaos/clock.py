"""Clocks that jump: a process's wall clock, moved from outside while it runs.

Its monotonic clock goes on as it is, as on a machine whose time is set. libfaketime can do this too, but
it also wraps what waits with a time-out: Python's interpreter lock spins under it.
"""

import os
import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

_SOURCE = Path(__file__).with_name("clock.c")


def lacks() -> str:
    """Return why no clock can be moved here; nothing where it can."""
    return "" if shutil.which("cc") else "a C compiler"


def library(folder: Path) -> Path | None:
    """Return what processes are to load, made in this folder; None where it cannot be made."""
    if lacks():
        return None
    made = folder / "clock.so"
    if not made.exists():
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", made, _SOURCE, "-ldl"], check=True)
    return made


class Clock:
    """The wall clock of one process that is started with `env`."""

    def __init__(self, *, file: Path, library: Path | None) -> None:
        self._file = file
        self._library = library
        file.write_bytes(struct.pack("=q", 0))

    @property
    def env(self) -> Mapping[str, str]:
        """What the process is to be started with; nothing where its clock cannot be moved."""
        if self._library is None:
            return {}
        return {"LD_PRELOAD": str(self._library), "CHAOS_CLOCK": str(self._file)}

    def jump(self, seconds: int) -> None:
        """Set how far it is ahead of the right time."""
        # In place: the process has the file in its memory.
        with self._file.open("r+b") as file:
            os.pwrite(file.fileno(), struct.pack("=q", seconds), 0)

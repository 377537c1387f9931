"""Child processes of the demo and of the test harnesses: started, awaited, paused, ended by pid.

Output goes to files, never to pipes: nothing can fill up, and what a child said outlives it.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_LOOK_SECONDS = 0.05
_TAIL_LINES = 20
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class ChildFailed(Exception):
    """A child did not start, or ended by itself; the message has the end of its log."""


def _die_with_parent() -> None:
    # A demo or a test that is killed must not leave a broker behind.
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """One process in a session of its own, so that Ctrl-C reaches only whoever started it.

    Args:
        name: what to call it in messages; also names its log files.
        command: program and arguments.
        folder: where `NAME.out` and `NAME.err` are written, appended to over restarts.
        env: variables on top of the present environment.
    """

    def __init__(
        self,
        *,
        name: str,
        command: Sequence[str],
        folder: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.out = folder / f"{name}.out"
        self.err = folder / f"{name}.err"
        self._env = dict(env or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._said_before = 0

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    @property
    def pid(self) -> int:
        """The process id; the child must have been started."""
        if self._process is None:
            raise ChildFailed(f"{self.name} was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The exit code, None while it lives or was never started; negative after a signal."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start the process; does not wait until it is ready."""
        if self.running:
            raise ChildFailed(f"{self.name} is running already")
        self._said_before = self.out.stat().st_size if self.out.exists() else 0
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self._process = subprocess.Popen(  # noqa: S603 - commands of our own
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, **self._env},
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, loaded before
            )

    def wait_until(self, check: Callable[[], bool], *, what: str, timeout: float) -> None:
        """Return as soon as `check` holds.

        Raises:
            ChildFailed: if the process ends before, or `timeout` seconds pass.
        """
        deadline = time.monotonic() + timeout
        while not check():
            if not self.running:
                code = self.exit_code
                raise ChildFailed(f"{self.name} ended with {code} before {what}\n{self.tail()}")
            if time.monotonic() > deadline:
                raise ChildFailed(f"{self.name}: no {what} in {timeout:g} s\n{self.tail()}")
            time.sleep(_LOOK_SECONDS)

    def first_line(self, *, timeout: float) -> str:
        """Return the first line that it writes to stdout after its latest start."""
        self.wait_until(lambda: b"\n" in self._said(), what="first line", timeout=timeout)
        return self._said().split(b"\n", 1)[0].decode()

    def _said(self) -> bytes:
        with self.out.open("rb") as file:
            file.seek(self._said_before)
            return file.read(65_536)

    def tail(self) -> str:
        """Return the last lines that it wrote, and where all of them are."""
        lines = [
            line
            for file in (self.out, self.err)
            if file.exists()
            for line in file.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        ]
        return "\n".join([f"(log: {self.err})", *lines])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; does nothing if the process has ended."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def pause(self) -> None:
        """Freeze it: it keeps its connections and answers nothing."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Wake it after `pause`."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as `kill -9` does, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def wait(self, *, timeout: float) -> int | None:
        """Return the exit code, or None if it still runs after `timeout` seconds."""
        if self._process is None:
            return None
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, *, timeout: float = 30) -> int | None:
        """Ask it to end and return its exit code; it is killed if it takes too long."""
        self.resume()
        self.signal(signal.SIGTERM)
        if self.wait(timeout=timeout) is None:
            self.kill()
        return self.exit_code

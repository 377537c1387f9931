"""A clock that is moved from outside: the wall clock jumps, and everything else goes on."""

import sys
import time

import pytest

from ingest.simulator.processes import Child
from tests.chaos.clock import Clock, library

PROGRAM = """
import threading, time
while True:
    began = time.monotonic()
    time.sleep(0.005)
    threading.Event().wait(0.005)
    print(int(time.time()), time.monotonic() - began < 5, flush=True)
"""


@pytest.mark.compiler
def test_the_wall_clock_jumps_there_and_back_and_waiting_goes_on(tmp_path):
    clock = Clock(file=tmp_path / "clock", library=library(tmp_path))
    child = Child(
        name="child", command=[sys.executable, "-c", PROGRAM], folder=tmp_path, env=clock.env
    )

    def latest():
        lines = child.out.read_text().split("\n")
        return lines[-2] if len(lines) > 1 else "0 True"

    def is_ahead(seconds):
        said, well = latest().split()
        return well == "True" and abs(int(said) - time.time() - seconds) < 60

    with child:
        for seconds in (0, 7200, -7200, 0):
            clock.jump(seconds)
            child.wait_until(lambda: is_ahead(seconds), what=f"jump of {seconds} s", timeout=20)  # noqa: B023

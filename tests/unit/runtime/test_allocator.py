"""The allocator is told once, and where it cannot be told all goes on."""

import ctypes
import platform
import subprocess
import sys

from ingest.runtime import allocator

FAULTS = """
import resource, sys
from ingest.runtime.allocator import keep_freed_pages
if sys.argv[1] == "kept":
    keep_freed_pages()
def page():
    return [bytes(3700) for _ in range(200)]
page()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    page()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    command = [sys.executable, "-c", FAULTS, how]
    return int(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)


def test_pages_that_come_and_go_are_not_faulted_in_again_and_again():
    if platform.libc_ver()[0] != "glibc":
        assert not allocator.keep_freed_pages()
        return
    assert faults("kept") < faults("as it stands") / 10


def test_a_c_library_that_cannot_be_told_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert allocator.keep_freed_pages() is False


def test_another_system_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert allocator.keep_freed_pages() is False

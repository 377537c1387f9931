"""Child processes: started, awaited, paused, ended, and gone with whoever started them."""

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from ingest.simulator.processes import Child, ChildFailed

Start = Callable[[str], Child]


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Start]:
    started: list[Child] = []

    def make(program: str) -> Child:
        made = Child(name="child", command=[sys.executable, "-c", program], folder=tmp_path)
        started.append(made)
        made.start()
        return made

    yield make
    for one in started:
        one.kill()


LIVES = "import time; print('ready', flush=True); time.sleep(100)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {LIVES}"
POLITE = f"import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); {LIVES}"


def test_the_first_line_is_awaited(child: Start) -> None:
    assert child(LIVES).first_line(timeout=20) == "ready"


def test_a_child_that_ends_before_it_is_ready_is_told_with_its_last_words(child: Start) -> None:
    with pytest.raises(ChildFailed, match=r"ended with 3 before first line(.|\n)*last words"):
        child("import sys; print('last words', file=sys.stderr); sys.exit(3)").first_line(
            timeout=20
        )


def test_a_child_that_is_never_ready_is_told(child: Start) -> None:
    with pytest.raises(ChildFailed, match="no first line in"):
        child("import time; time.sleep(100)").first_line(timeout=0.2)


def test_a_child_is_asked_to_end_and_its_exit_code_returned(child: Start) -> None:
    polite = child(POLITE)
    polite.first_line(timeout=20)
    assert (polite.stop(), polite.running) == (7, False)


def test_a_child_that_will_not_end_is_killed(child: Start) -> None:
    stubborn = child(STUBBORN)
    stubborn.first_line(timeout=20)
    assert stubborn.stop(timeout=0.2) == -signal.SIGKILL


def test_a_frozen_child_is_woken_to_end(child: Start) -> None:
    polite = child(POLITE)
    polite.first_line(timeout=20)
    polite.pause()
    assert polite.stop() == 7


def test_a_restarted_child_is_awaited_anew(child: Start) -> None:
    again = child(LIVES)
    again.first_line(timeout=20)
    again.kill()
    again.start()
    assert again.first_line(timeout=20) == "ready"
    assert again.out.read_text() == "ready\nready\n"


def test_a_running_child_is_not_started_twice(child: Start) -> None:
    with pytest.raises(ChildFailed, match="running already"):
        child(LIVES).start()


def test_a_child_is_gone_with_whoever_started_it(child: Start, tmp_path: Path) -> None:
    parent = child(
        "import sys; from pathlib import Path; from ingest.simulator.processes import Child;"
        f"inner = Child(name='inner', command=[sys.executable, '-c', {LIVES!r}],"
        f" folder=Path({str(tmp_path)!r}));"
        "inner.start(); inner.first_line(timeout=20); print(inner.pid, flush=True);"
        "import time; time.sleep(100)"
    )
    inner = psutil.Process(int(parent.first_line(timeout=20)))
    parent.kill()
    psutil.wait_procs([inner], timeout=20)
    assert not inner.is_running() or inner.status() == psutil.STATUS_ZOMBIE

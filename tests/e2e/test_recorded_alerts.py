"""Real input: recorded answers of the API, through the daemon, into Apache Kafka, out with kcat."""

import json
import shutil
import subprocess
import time

import pytest

from tests.harness.stage import recorded_answers, stage

pytestmark = [pytest.mark.kafka, pytest.mark.consumers, pytest.mark.timeout(240)]


def _read(bootstrap: str) -> list[bytes]:
    assert shutil.which("kcat"), "kcat is needed: apt-get install kcat"
    done = subprocess.run(
        [
            *("kcat", "-b", bootstrap, "-C", "-t", "defender.alerts", "-e", "-q"),
            *("-X", "isolation.level=read_committed", "-f", "%S\\n%s"),
        ],
        capture_output=True,
        check=True,
        timeout=60,
    )
    values, rest = [], done.stdout
    while rest:
        size, rest = rest.split(b"\n", 1)
        values.append(rest[: int(size)])
        rest = rest[int(size) :]
    return values


def _wait_for(bootstrap: str, count: int, seconds: float = 60) -> list[bytes]:
    deadline = time.monotonic() + seconds
    while True:
        values = _read(bootstrap)
        if len(values) >= count or time.monotonic() > deadline:
            return values
        time.sleep(0.5)


def _calls(run) -> int:
    return sum(one["total"] for one in json.loads(run.admin("calls")).values())


def test_each_recorded_alert_is_printed_once_and_a_touched_one_a_second_time(samples):
    recorded = recorded_answers(samples)
    assert len(recorded) >= 5
    with stage("--from", str(samples), "--poll-interval", "1") as run, run.daemon() as daemon:
        daemon.wait_until(lambda: "started" in daemon.tail(), what="started event", timeout=60)
        values = _wait_for(run.kafka.bootstrap, len(recorded))
        assert sorted(values) == sorted(recorded)

        version = next(v for v in run.versions() if v["to"] is None)
        run.admin("touch", {"tenant": version["tenant"], "alert": version["alert"]})
        values = _wait_for(run.kafka.bootstrap, len(recorded) + 1)
        assert len(values) == len(recorded) + 1
        again = [value for value in values if value not in recorded]
        assert [json.loads(value)["id"] for value in again] == [version["alert"]]
        # Nothing more comes: a few more polls find what is there already.
        before, deadline = _calls(run), time.monotonic() + 60
        while _calls(run) < before + 4 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(_read(run.kafka.bootstrap)) == len(recorded) + 1
        assert daemon.stop() == 0, daemon.tail()

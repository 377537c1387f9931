"""The Dockerfile's own steps, performed in a clean root, and what comes of them, run as a cluster would.

No container engine is needed, and no base image: see `clean_root`.
"""

import json
import os
import re
import shutil
import stat
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from ingest import __version__
from ingest.settings.models import Shutdown
from ingest.simulator.broker import EmbeddedBroker, free_port
from ingest.simulator.processes import Child
from tests.container.clean_root import BASE_ENV, UNREADY_SECONDS, CleanRoot
from tests.container.dockerfile import Stage, context, stages
from tests.integration.test_promtool import PROGRAM, get

ROOT = Path(__file__).parents[2]
TMP_BYTES = 4 * 1024 * 1024

pytestmark = [
    pytest.mark.container,
    pytest.mark.timeout(400),
    pytest.mark.slow,
]


@dataclass(frozen=True)
class Image:
    root: CleanRoot
    stage: Stage

    def command(self, *words: str, config: Path | None = None) -> list[str]:
        return self.root.command(
            [*self.stage.entry, *(words or self.stage.command)],
            self.stage.env,
            user=self.stage.user,
            tmp_bytes=TMP_BYTES,
            mounts={"/etc/defender-ingest": config} if config else {},
        )

    def run(self, *words: str, config: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words, config=config),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Perform every step of every stage; the last root is the image."""
    folder = tmp_path_factory.mktemp("image")
    made: dict[str, CleanRoot] = {}
    built = stages((ROOT / "Dockerfile").read_text(), args={}, base_env=BASE_ENV)
    for name, stage in built.items():
        made[name] = CleanRoot(folder / name)
        made[name].perform(stage, ROOT, context(ROOT), made)
    shutil.rmtree(made["build"].folder)
    yield Image(made["final"], built["final"])
    shutil.rmtree(made["final"].folder)


@dataclass(frozen=True)
class Cloud:
    """A simulated cloud, and the folder that a cluster would mount for daemons that read it."""

    url: str
    ca_file: str
    config: Path
    ports: tuple[int, int]

    def settings_of(self, port: int) -> Path:
        """Return the folder with the configuration of the daemon that listens on a port."""
        return self.config.with_name(f"config-{port}")


@pytest.fixture
def cloud(embedded_kafka: EmbeddedBroker, image: Image, tmp_path: Path) -> Iterator[Cloud]:
    written = tmp_path / "daemon.yaml"
    simulate = [
        *(*PROGRAM, "simulate", "--port", "0", "--tenants", "4", "--backlog", "5", "--no-limits"),
        *("--kafka", embedded_kafka.bootstrap, "--prefix", f"t{uuid.uuid4().hex[:8]}"),
        *("--shards", "4", "--poll-interval", "0.5", "--write-config", str(written)),
        *("--state-dir", str(tmp_path)),
    ]
    ports = free_port(), free_port()
    with Child(name="simulator", command=simulate, folder=tmp_path) as simulator:
        ready = json.loads(simulator.first_line(timeout=60))
        found = Cloud(ready["url"], ready["ca_file"], written, ports)
        for port in ports:
            _mounted(
                yaml.safe_load(written.read_text()), found.settings_of(port), port, image.stage
            )
        yield found


def _mounted(content: dict[str, Any], folder: Path, port: int, stage: Stage) -> None:
    """Lay out what a cluster mounts: files of root, which the group of the user may read."""
    folder.mkdir()
    files = {"client-secret": content["entra"]["client_secret_file"], "ca.pem": content["ca_file"]}
    for name, source in files.items():
        shutil.copy(source, folder / name)
    content["entra"]["client_secret_file"] = "/etc/defender-ingest/client-secret"
    content["ca_file"] = "/etc/defender-ingest/ca.pem"
    content["listen"] = {"host": "127.0.0.1", "port": port}
    (folder / "daemon.yaml").write_text(yaml.safe_dump(content))
    for one in folder.iterdir():
        os.chown(one, 0, int(stage.user.partition(":")[2]))
        one.chmod(0o440)


def _replica(image: Image, cloud: Cloud, port: int) -> Child:
    return Child(
        name=f"replica-{port}",
        command=image.command(config=cloud.settings_of(port)),
        folder=cloud.config.parent,
    )


def _process(child: Child) -> psutil.Process:
    """Return the daemon itself, the first process of its container."""
    (inner,) = psutil.Process(child.pid).children()
    return inner


def _answers(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code
    except OSError:
        return 0


def _healthy(port: int) -> int:
    if _answers(port, "/livez") != 200:
        return 0
    return json.loads(get(f"http://127.0.0.1:{port}/status"))["states"]["healthy"]


def _events(child: Child) -> list[dict[str, Any]]:
    return [json.loads(line) for line in child.out.read_text().splitlines()]


def _stop(child: Child) -> int | None:
    """Do as a cluster does at the end of a pod; return the exit code."""
    _process(child).terminate()
    return child.wait(timeout=Shutdown().grace_seconds)


def test_the_image_has_what_is_locked_and_nothing_else(image):
    lock = (ROOT / "requirements" / "run.txt").read_text()
    locked = {name.replace("-", "_") for name in re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE)}
    found = {
        re.split(r"-\d", one.name)[0].lower().replace("-", "_").replace(".", "_")
        for one in image.root.at("/opt/defender-ingest").rglob("*.dist-info")
    }
    assert "defender_ingest" in found
    assert found - {"defender_ingest"} <= locked
    # Some of the lock are for other interpreters and systems.
    assert len(locked - found) <= 3, locked - found


def test_nobody_but_root_could_change_what_is_in_the_image(image):
    def open_to_others(path: Path) -> bool:
        mode = path.lstat().st_mode
        loose = stat.S_IWGRP | stat.S_IWOTH | stat.S_ISUID | stat.S_ISGID
        return not stat.S_ISLNK(mode) and bool(mode & loose)

    assert not [one for one in image.root.at("/opt").rglob("*") if open_to_others(one)]


def test_modules_are_compiled_since_a_read_only_root_never_will_be(image):
    (package,) = image.root.at("/opt/defender-ingest/lib").glob("*/site-packages/ingest")
    modules = {one.stem for one in package.glob("*.py")}
    assert {one.name.partition(".")[0] for one in (package / "__pycache__").iterdir()} == modules


def test_everything_of_the_package_is_in_the_image(image):
    (package,) = image.root.at("/opt/defender-ingest/lib").glob("*/site-packages/ingest")
    there = {one.relative_to(package) for one in package.rglob("*") if one.is_file()}
    ours = {one.relative_to("ingest") for one in context(ROOT) if one.parts[0] == "ingest"}
    assert {one.suffix for one in ours} > {".py"}
    assert ours <= there


def test_the_image_tells_its_version(image):
    done = image.run("version")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, __version__, "")


def test_a_missing_configuration_is_told_in_a_line_and_by_the_exit_code(image):
    done = image.run()
    assert done.returncode == os.EX_CONFIG
    assert "/etc/defender-ingest/daemon.yaml: cannot be read" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_reads_as_a_user_without_rights_on_a_read_only_root(image, cloud):
    port = cloud.ports[0]
    with _replica(image, cloud, port) as replica:
        replica.wait_until(lambda: _healthy(port) == 4, what="four healthy tenants", timeout=60)
        inside = _process(replica)
        assert set(inside.uids()) | set(inside.gids()) == {10001}
        status = Path(f"/proc/{inside.pid}/status").read_text()
        assert set(re.findall(r"Cap\w+:\s+(\w+)", status)) == {"0" * 16}
        assert re.search(r"NoNewPrivs:\s+1", status)
        assert Path(f"/proc/{inside.pid}/mounts").read_text().splitlines()[0].split()[1] == "/"
        tmp = Path(f"/proc/{inside.pid}", "root", "tmp")
        assert shutil.disk_usage(tmp).total == TMP_BYTES
        assert not list(tmp.iterdir())
        assert _stop(replica) == 0
    said = _events(replica)
    assert not [one for one in said if one["level"] in ("warning", "error", "critical")]
    assert said[-1]["event"] == "stopping"
    assert replica.err.read_text() == ""


def test_all_replicas_stay_ready_while_each_is_replaced(image, cloud):
    first, second = cloud.ports
    replicas = {port: _replica(image, cloud, port) for port in (first, second)}

    def ready(port: int, stays: int) -> bool:
        # Whoever takes a shard over says so until it serves it: an orchestrator looks more than once.
        began = time.monotonic()
        while _answers(stays, "/readyz") != 200:
            assert time.monotonic() - began < UNREADY_SECONDS, replicas[stays].tail()
            time.sleep(0.05)
        return _answers(port, "/readyz") == 200

    with replicas[first], replicas[second]:
        for port, stays in ((first, first), (second, first)):
            replicas[port].wait_until(partial(ready, port, stays), what="ready", timeout=60)
        for port, stays in ((first, second), (second, first)):
            assert _stop(replicas[port]) == 0
            replicas[port].start()
            replicas[port].wait_until(partial(ready, port, stays), what="ready again", timeout=60)
        for child in replicas.values():
            assert _stop(child) == 0
    said = [entry for child in replicas.values() for entry in _events(child)]
    assert not [entry for entry in said if entry["level"] in ("error", "critical")]

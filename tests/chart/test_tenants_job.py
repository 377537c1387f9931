"""The command of the chart's Job, with its words, on a broker: at the first install, and later."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import yaml

from ingest.simulator.broker import EmbeddedBroker
from tests.chart.helm import one_of, render

PROGRAM = (sys.executable, "-m", "ingest")


class Release:
    """What one release renders, laid out in a folder as the Job's mounts would be."""

    def __init__(self, bootstrap: str, folder: Path, *sets: str) -> None:
        prefix = f"t{uuid.uuid4().hex[:8]}"
        brokers = {"bootstrap_servers": [bootstrap], "prefix": prefix, "shards": 2}
        own = (
            f"config.kafka={json.dumps(brokers | {'replication_factor': 1})}",
            'kafka.keys={"ca": "", "certificate": "", "certificateKey": ""}',
        )
        objects = render("mutual-tls", *own, *sets)
        (self._job,) = one_of(objects, "Job")["spec"]["template"]["spec"]["containers"]
        self.refused = one_of(objects, "Job")["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]
        self._folder = folder
        text = one_of(objects, "ConfigMap", "alerts")["data"]["daemon.yaml"]
        (folder / "client-secret").write_text("a" * 40)
        text = text.replace("/run/secrets/defender-ingest/entra", str(folder))
        (folder / "daemon.yaml").write_text(text)
        tenants = one_of(objects, "ConfigMap", "-tenants")["data"]["tenants.yaml"]
        (folder / "tenants.yaml").write_text(tenants)

    def apply(self) -> subprocess.CompletedProcess[str]:
        folders = ("/etc/defender-ingest-tenants", "/etc/defender-ingest")
        words = list(self._job["args"])
        for folder in folders:
            words = [one.replace(f"{folder}/", f"{self._folder}/") for one in words]
        return self.command(*words)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROGRAM, *words], capture_output=True, text=True, timeout=60, check=False
        )

    def listed(self) -> dict[str, str]:
        words = ("tenants", "list", "--json", "--config", str(self._folder / "daemon.yaml"))
        lines = map(json.loads, self.command(*words).stdout.splitlines())
        return {one["name"]: one["by"] for one in lines}


@pytest.fixture
def release(embedded_kafka: EmbeddedBroker, tmp_path: Path) -> Release:
    return Release(embedded_kafka.bootstrap, tmp_path)


def test_the_first_install_registers_every_tenant_in_the_name_of_the_release(release):
    done = release.apply()
    assert done.returncode == 0, done.stdout + done.stderr
    by = "helm release default/rel"
    assert release.listed() == {"contoso": by, "fabrikam": by}


def test_an_upgrade_that_changes_nothing_writes_nothing(release):
    assert release.apply().returncode == 0
    done = release.apply()
    assert done.returncode == 0
    assert "tenant_registered" not in done.stderr


def test_what_is_refused_is_not_tried_again(embedded_kafka, tmp_path):
    tenant = {"id": "aaaaaaaa-0000-0000-0000-000000000001", "name": "contoso", "region": "nowhere"}
    release = Release(embedded_kafka.bootstrap, tmp_path, f"tenants.list={json.dumps([tenant])}")
    done = release.apply()
    assert done.returncode in release.refused["values"], done.stdout + done.stderr
    assert "tenants[0].region (tenant contoso): is not a key of regions" in done.stderr


def test_a_broker_that_is_away_is_asked_again(tmp_path):
    release = Release("127.0.0.1:1", tmp_path)
    config = yaml.safe_load((tmp_path / "daemon.yaml").read_text())
    config["kafka"]["request_timeout_seconds"] = 1
    (tmp_path / "daemon.yaml").write_text(yaml.safe_dump(config))
    done = release.apply()
    assert done.returncode == os.EX_TEMPFAIL, done.stdout + done.stderr
    assert done.returncode not in release.refused["values"]

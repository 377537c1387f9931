"""A customer's whole life from a shell, beside a running daemon that is never restarted."""

import json
import os
import subprocess
import sys
import time
import uuid

import pytest
import yaml

from ingest.simulator.processes import Child

PROGRAM = (sys.executable, "-m", "ingest")
DOMAIN = "contosobank1.onmicrosoft.com"


class Shell:
    def __init__(self, config) -> None:
        self.config = config

    def run(self, *words, code=0):
        done = subprocess.run(
            [*PROGRAM, "tenants", *words, "--config", str(self.config)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=os.environ | {"NO_PROXY": "127.0.0.1"},
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def states(self):
        lines = self.run("list", "--json").stdout.splitlines()
        return {row["name"]: row["state"] for row in map(json.loads, lines)}

    def wait_for(self, **states):
        deadline = time.monotonic() + 60
        while (found := self.states()) != states:
            assert time.monotonic() < deadline, found
            time.sleep(0.1)


@pytest.fixture
def simulated(embedded_kafka, tmp_path):
    """Return a simulated cloud of two customers, and a configuration that names none of them."""
    config = tmp_path / "daemon.yaml"
    words = ["simulate", "--port", "0", "--tenants", "2", "--no-limits", "--poll-interval", "1"]
    words += ["--kafka", embedded_kafka.bootstrap, "--prefix", f"t{uuid.uuid4().hex[:8]}"]
    words += ["--shards", "2", "--backlog", "3", "--write-config", str(config)]
    words += ["--state-dir", str(tmp_path)]
    with Child(name="simulator", command=[*PROGRAM, *words], folder=tmp_path) as simulator:
        simulator.first_line(timeout=30)
        content = yaml.safe_load(config.read_text())
        named, content["tenants"] = content["tenants"], []
        config.write_text(yaml.safe_dump(content))
        yield config, named


@pytest.fixture
def daemon(simulated, tmp_path):
    config, _ = simulated
    run = [*PROGRAM, "run", "--config", str(config)]
    with Child(name="daemon", command=run, folder=tmp_path) as started:
        yield started


def says(daemon, event):
    daemon.wait_until(
        lambda: f'"event": "{event}"' in daemon.out.read_text(), what=event, timeout=60
    )


@pytest.mark.slow
def test_a_customer_is_added_by_its_domain_and_followed_by_a_running_daemon(simulated, daemon):
    config, named = simulated
    shell = Shell(config)
    says(daemon, "started")
    assert shell.run("list").stdout == "0 tenants\n"

    done = shell.run("add", DOMAIN, "--name", "Contoso")
    assert done.stdout.startswith(f"{DOMAIN} is tenant {named[0]['id']}\n")
    assert "region simulated: added" in done.stdout
    (event,) = map(json.loads, done.stderr.splitlines())
    assert (event["event"], event["tenant"]) == ("tenant_registered", named[0]["id"])
    shell.wait_for(Contoso="healthy")

    file = config.with_name("tenants.yaml")
    file.write_text(yaml.safe_dump([{**named[1], "name": "Fabrikam"}]))
    shell.run("apply", str(file))
    shell.wait_for(Contoso="healthy", Fabrikam="healthy")

    shell.run("rewind", "contoso", "--since", "2020-01-01T00:00:00Z")
    says(daemon, "rewound")
    shell.run("refetch", "contoso", "no such alert")
    says(daemon, "refetched")

    shell.run("pause", "contoso")
    shell.wait_for(Contoso="paused", Fabrikam="healthy")
    shell.run("resume", "contoso")
    shell.wait_for(Contoso="healthy", Fabrikam="healthy")
    shell.run("remove", "contoso")
    says(daemon, "tenant_forgotten")
    shell.wait_for(Fabrikam="healthy")
    assert daemon.stop() == 0


def test_a_domain_that_cannot_be_resolved_is_refused_and_nothing_is_written(simulated):
    config, _ = simulated
    shell = Shell(config)
    done = shell.run("add", "nobody.onmicrosoft.com", "--name", "x", code=os.EX_DATAERR)
    assert done.stdout == ""
    assert done.stderr.startswith("defender-ingest: nobody.onmicrosoft.com belongs to no tenant of")
    content = yaml.safe_load(config.read_text())
    content["entra"]["login_url"] = "https://127.0.0.1:1"
    config.write_text(yaml.safe_dump(content))
    done = shell.run("add", DOMAIN, "--name", "x", code=os.EX_TEMPFAIL)
    assert "https://127.0.0.1:1 cannot be reached" in done.stderr
    assert shell.run("list").stdout == "0 tenants\n"


def test_whoever_reads_the_list_may_stop_reading(simulated):
    config, _ = simulated
    listing = " ".join([*PROGRAM, "tenants", "list", "--config", str(config)])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {listing} | true"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")

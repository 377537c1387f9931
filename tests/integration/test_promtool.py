"""`/metrics` of a running daemon: Prometheus' own tool takes it, and so does its Python parser.

`promtool` is a tool of the system. Where it is missing the parser still judges; CI requires it.
"""

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import urllib.request
import uuid
import warnings
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingest.simulator.broker import EmbeddedBroker
from ingest.simulator.processes import Child
from ingest.telemetry.catalogue import CATALOGUE, PREFIX

PROGRAM = (sys.executable, "-m", "ingest")
PROMTOOL = shutil.which("promtool")
TENANTS = 4
OFF = {f"{PREFIX}consents"}
"""Of the consent page, which is off here."""

if PROMTOOL is None and os.environ.get("CI") != "true":
    with warnings.catch_warnings():
        # A warning is an error in tests; this one is only to be seen.
        warnings.simplefilter("always")
        warnings.warn("NOT RUN: promtool is missing; only a parser judges /metrics", stacklevel=1)


def lint(text: str) -> str:
    """Return what promtool finds wrong, nothing where it takes the text."""
    if PROMTOOL is None:
        assert os.environ.get("CI") != "true", "CI needs promtool: apt-get install prometheus"
        return ""
    done = subprocess.run(
        [PROMTOOL, "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return f"exit {done.returncode}: {done.stdout}{done.stderr}" if done.returncode else ""


def get(url: str, ca_file: str | None = None, body: Any = None) -> str:
    request = urllib.request.Request(  # noqa: S310 - loopback
        url, data=None if body is None else json.dumps(body).encode()
    )
    context = None if ca_file is None else ssl.create_default_context(cafile=ca_file)
    with urllib.request.urlopen(request, timeout=20, context=context) as answer:  # noqa: S310
        return answer.read().decode()


def started(daemon: Child) -> str:
    """Return where a daemon listens, once it says that it does."""

    def address() -> re.Match[str] | None:
        return re.search(r'"listening": ?"([^"]+)"', daemon.out.read_text())

    daemon.wait_until(lambda: address() is not None, what="started event", timeout=30)
    found = address()
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def exposition(embedded_kafka: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return /metrics of a daemon that has read tenants, one of which is refused."""
    folder = tmp_path_factory.mktemp("promtool")
    config = folder / "daemon.yaml"
    simulate = [
        *(*PROGRAM, "simulate", "--port", "0", "--tenants", str(TENANTS), "--backlog", "5"),
        "--no-limits",
        *("--kafka", embedded_kafka.bootstrap, "--prefix", f"t{uuid.uuid4().hex[:8]}"),
        *("--shards", "2", "--poll-interval", "0.5", "--write-config", str(config)),
        *("--state-dir", str(folder)),
    ]
    run = [*PROGRAM, "run", "--config", str(config)]
    with Child(name="simulator", command=simulate, folder=folder) as simulator:
        ready = json.loads(simulator.first_line(timeout=60))
        tenants = json.loads(get(f"{ready['url']}/admin/tenants", ready["ca_file"]))
        fault = {"tenant": tenants[0]["id"], "kind": "consent_revoked", "seconds": 600}
        get(f"{ready['url']}/admin/faults", ready["ca_file"], fault)
        with Child(name="daemon", command=run, folder=folder) as daemon:
            url = started(daemon)
            wanted = (f'tenants{{state="healthy"}} {TENANTS - 1}.0', 'tenants{state="parked"} 1.0')
            daemon.wait_until(
                lambda: all(f"{PREFIX}{line}" in get(f"{url}/metrics") for line in wanted),
                what="healthy tenants and a parked one",
                timeout=30,
            )
            text = get(f"{url}/metrics")
            assert daemon.stop() == 0, daemon.tail()
    return text


def test_promtool_accepts_the_metrics_of_a_running_daemon(exposition):
    assert lint(exposition) == ""


def test_promtool_would_have_found_a_mistake(exposition):
    if PROMTOOL is not None:
        assert "exit" in lint(exposition + "9 lives\n")
        assert "help" in lint(exposition + "nameless_total 1\n")


def test_the_parser_reads_every_metric_of_the_catalogue(exposition):
    families = {family.name: family for family in text_string_to_metric_families(exposition)}
    assert not OFF & families.keys()
    for name, described in CATALOGUE.items():
        if PREFIX + name.removesuffix("_total") in OFF:
            continue
        family = families[PREFIX + name.removesuffix("_total")]
        assert (family.type, family.documentation) == (described.kind, described.text)


def test_what_was_received_is_accounted_for(exposition):
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            name = sample.name.removeprefix(PREFIX)
            found[name] = found.get(name, 0.0) + sample.value
    parts = ("published", "duplicates", "stale", "quarantined")
    assert found["alerts_received_total"] > 0
    assert found["alerts_received_total"] == sum(
        found.get(f"alerts_{one}_total", 0.0) for one in parts
    )
    assert found["tenants_registered"] == TENANTS


def test_only_the_refused_tenant_has_a_series_of_its_own(exposition):
    own = re.findall(rf"^{PREFIX}tenant_state_since\S*{{(.*)}}", exposition, re.MULTILINE)
    assert len(own) == 1
    assert 'must_act="customer"' in own[0]


def test_the_tool_that_is_missing_is_told_in_ci(monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PROMTOOL", None)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(AssertionError, match="CI needs promtool"):
        lint("")

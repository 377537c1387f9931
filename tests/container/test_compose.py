"""`compose.yaml`: its services, started with their own words; only hosts and folders differ here."""

import json
import re
import shutil
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingest.simulator.broker import free_port
from ingest.simulator.processes import Child
from tests.container.dockerfile import stages
from tests.integration.test_promtool import get, started
from tests.kafka.apache import VERSION, ApacheKafka

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
PROGRAM = (sys.executable, "-m", "ingest")
PROMETHEUS = shutil.which("prometheus")
OURS = ("simulator", "replica")


def properties() -> dict[str, str]:
    """Return Kafka's settings beside its addresses, as its image makes them of variables."""
    given = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): str(value)
        for name, value in SERVICES["kafka"]["environment"].items()
    }
    addresses = r"node\.id|process\.roles|.*listener.*|controller\.quorum.*"
    return {name: value for name, value in given.items() if not re.fullmatch(addresses, name)}


def words(service: str, kafka: str, folder: Path) -> list[str]:
    """Return the program's words of a service, as they are on this machine."""
    fitting = {"kafka:9092": kafka, "/shared": str(folder), "--host=simulator": "--host=localhost"}
    fitting["--port=8443"] = f"--port={free_port()}"
    said = list(SERVICES[service]["command"])
    for there, here in fitting.items():
        said = [one.replace(there, here) for one in said]
    return said


def replica(number: int, kafka: str, folder: Path) -> Child:
    env = dict(SERVICES["replica"]["environment"])
    assert env.pop("DEFENDER_INGEST_LISTEN__HOST") == "0.0.0.0"  # noqa: S104 - in a container
    return Child(
        name=f"replica-{number}",
        command=[*PROGRAM, *words("replica", kafka, folder)],
        folder=folder,
        # On one machine two cannot listen on one port.
        env=env | {"DEFENDER_INGEST_LISTEN__PORT": "0"},
    )


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Child]]:
    """Start Kafka, the simulator and every replica."""
    folder = tmp_path_factory.mktemp("compose")
    with ApacheKafka(properties=properties()) as kafka, ExitStack() as stack:
        command = [*PROGRAM, *words("simulator", kafka.bootstrap, folder)]
        simulator = Child(name="simulator", command=command, folder=folder)
        stack.enter_context(simulator)
        assert json.loads(simulator.first_line(timeout=60))["event"] == "ready"
        (*test, path) = SERVICES["simulator"]["healthcheck"]["test"]
        path = path.replace("/shared", str(folder))
        subprocess.run([*test[1:], path], check=True, timeout=10)
        count = SERVICES["replica"]["deploy"]["replicas"]
        made = [replica(number, kafka.bootstrap, folder) for number in range(count)]
        for one in made:
            stack.enter_context(one)
        yield made
        for one in made:
            assert one.stop() == 0, one.tail()


@pytest.mark.kafka
def test_all_replicas_share_the_tenants_of_the_simulated_cloud(replicas):
    (told,) = (one for one in SERVICES["simulator"]["command"] if one.startswith("--tenants="))
    tenants = int(told.partition("=")[2])
    urls = [started(one) for one in replicas]

    def shared() -> bool:
        states = [json.loads(get(f"{url}/status")) for url in urls]
        # There are faults all the time: some tenants are not well.
        healthy = sum(one["states"]["healthy"] for one in states)
        counts = [one["tenants"] for one in states]
        return sum(counts) == tenants and min(counts) > 0 and healthy > tenants / 2

    replicas[0].wait_until(shared, what="tenants that are shared and read", timeout=90)
    assert len(urls) == 2


@pytest.mark.kafka
@pytest.mark.prometheus
def test_prometheus_finds_every_replica(replicas, tmp_path):
    urls = [started(one) for one in replicas]
    content = yaml.safe_load(COMPOSE["configs"]["prometheus"]["content"])
    (job,) = content["scrape_configs"]
    (names,) = job.pop("dns_sd_configs")
    assert names["names"] == ["replica"]
    assert f"--listen-port={names['port']}" in SERVICES["simulator"]["command"]
    job["static_configs"] = [{"targets": [url.removeprefix("http://") for url in urls]}]
    mount = SERVICES["prometheus"]["volumes"][0].split(":")
    files = [one.replace(mount[1], str(ROOT / mount[0])) for one in content["rule_files"]]
    content |= {"rule_files": files, "global": {"scrape_interval": "1s"}}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(content))
    assert PROMETHEUS, "apt-get install prometheus"
    port = free_port()
    command = [
        *(PROMETHEUS, f"--config.file={tmp_path / 'prometheus.yml'}"),
        *(f"--storage.tsdb.path={tmp_path / 'data'}", f"--web.listen-address=127.0.0.1:{port}"),
    ]

    def up() -> list[dict[str, Any]]:
        try:
            text = get(f"http://127.0.0.1:{port}/api/v1/query?query=up")
        except OSError:
            return []
        return [one for one in json.loads(text)["data"]["result"] if one["value"][1] == "1"]

    with Child(name="prometheus", command=command, folder=tmp_path) as prometheus:
        prometheus.wait_until(lambda: len(up()) == 2, what="two replicas that are up", timeout=60)
        assert {one["metric"]["job"] for one in up()} == {"defender-ingest"}


def test_what_is_ours_runs_with_as_few_rights_as_in_a_cluster():
    for name in OURS:
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "ports" not in service


def test_the_shared_folder_belongs_to_the_user_of_the_image():
    text = (ROOT / "Dockerfile").read_text()
    uid, _, gid = stages(text, args={}, base_env={"PATH": ""})["final"].user.partition(":")
    assert f"uid={uid},gid={gid}" in COMPOSE["volumes"]["shared"]["driver_opts"]["o"]


def test_what_is_reached_from_outside_is_reached_from_this_machine_alone():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_image_of_others_has_a_version_and_kafka_the_tested_one():
    images = [one["image"] for name, one in SERVICES.items() if name not in OURS]
    assert f"apache/kafka:{VERSION}" in images
    assert all(re.search(r":v?\d+\.\d+\.\d+$", image) for image in images)


def test_grafana_reads_from_prometheus_and_the_folder_that_is_mounted():
    source = yaml.safe_load(COMPOSE["configs"]["datasource"]["content"])["datasources"][0]
    address = urllib.parse.urlsplit(source["url"])
    assert address.hostname in SERVICES
    assert f"127.0.0.1:{address.port}:{address.port}" in SERVICES["prometheus"]["ports"]
    provider = yaml.safe_load(COMPOSE["configs"]["dashboards"]["content"])["providers"][0]
    mounted = SERVICES["grafana"]["volumes"][0].split(":")[1]
    assert provider["options"]["path"] == mounted
    for service in ("prometheus", "grafana"):
        for one in SERVICES[service]["configs"]:
            assert one["source"] in COMPOSE["configs"]

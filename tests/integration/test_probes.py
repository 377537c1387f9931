"""Probes of a daemon that cannot do its work yet: nobody is to restart it for that."""

import sys
import urllib.error
import urllib.request
from pathlib import Path

import yaml

from ingest.simulator.broker import EmbeddedBroker, free_port
from ingest.simulator.processes import Child

PROGRAM = (sys.executable, "-m", "ingest")


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()
    except OSError:
        return 0, ""


def daemon(folder: Path, kafka: str, port: int) -> Child:
    (folder / "secret").write_text("a" * 40)
    config = {
        "entra": {
            "client_id": "11111111-2222-3333-4444-555555555555",
            "client_secret_file": str(folder / "secret"),
        },
        "kafka": {"bootstrap_servers": [kafka], "shards": 1, "replication_factor": 1},
        "listen": {"port": port},
    }
    (folder / "daemon.yaml").write_text(yaml.safe_dump(config))
    command = [*PROGRAM, "run", "--config", str(folder / "daemon.yaml")]
    return Child(name="daemon", command=command, folder=folder)


def test_while_brokers_are_awaited_it_lives_and_is_not_ready(tmp_path):
    port = free_port()
    with daemon(tmp_path, f"127.0.0.1:{free_port()}", port) as waiting:
        waiting.wait_until(lambda: ask(port, "/livez")[0] == 200, what="life", timeout=60)
        status, words = ask(port, "/readyz")
        assert (status, words.strip() != "") == (503, True)
        assert ask(port, "/metrics")[0] == 200
        assert ask(port, "/status")[0] == 200
        assert waiting.stop() == 0, waiting.tail()


def test_it_is_ready_once_brokers_are_there(tmp_path: Path, embedded_kafka: EmbeddedBroker):
    port = free_port()
    with daemon(tmp_path, embedded_kafka.bootstrap, port) as started:
        started.wait_until(lambda: ask(port, "/readyz")[0] == 200, what="ready", timeout=60)
        assert started.stop() == 0, started.tail()

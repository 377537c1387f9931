"""`defender-ingest audit` where it cannot judge: it says why, and never exits 0."""

import argparse
from pathlib import Path

import pytest
import trustme
import yaml

from ingest.simulator import audit_command
from ingest.simulator.broker import free_port


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    audit_command.add_parser(parser.add_subparsers())
    return parser.parse_args(["audit", *words])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    path = tmp_path / "daemon.yaml"
    content = {
        "kafka": {"bootstrap_servers": [f"127.0.0.1:{free_port()}"]},
        "ca_file": str(tmp_path / "ca.pem"),
    }
    path.write_text(yaml.safe_dump(content))
    return path


def run(config: Path, simulator: str) -> int:
    return audit_command.run(
        arguments("--config", str(config), "--simulator", simulator, "--wait", "1")
    )


def test_a_configuration_that_is_not_there_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "absent.yaml", "https://127.0.0.1:1") == 64
    assert "absent.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "[]", "kafka: 3", "kafka: {bootstrap_servers: [x]}", "{"])
def test_a_configuration_that_does_not_fit_is_a_usage_error(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "daemon.yaml"
    path.write_text(content)
    assert run(path, "https://127.0.0.1:1") == 64
    assert "daemon.yaml" in capsys.readouterr().err


def test_a_simulator_without_tls_is_a_usage_error(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(config, "http://127.0.0.1:1") == 64
    assert "https" in capsys.readouterr().err


def test_a_broker_that_cannot_be_reached_is_not_a_clean_run(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(config, f"https://127.0.0.1:{free_port()}") == 69
    assert "audit: " in capsys.readouterr().err

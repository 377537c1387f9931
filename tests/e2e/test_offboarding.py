"""A customer leaves, by the very commands of docs/security.md: then no topic names it any more."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.harness.installation import PROGRAM, TENANTS, Installation
from tests.kafka.apache import ApacheKafka

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
COMPACTED = ("tenants", "tenant-status", "checkpoints")


@pytest.mark.kafka
@pytest.mark.consumers
@pytest.mark.timeout(240)
def test_nothing_that_is_kept_names_a_customer_who_left(apache_kafka: ApacheKafka, tmp_path: Path):
    here = Installation(apache_kafka.bootstrap, tmp_path)
    section = PAGE.read_text().partition("## Offboarding a customer")[2].partition("\n## ")[0]
    (remove,) = re.findall(r"`defender-ingest (tenants remove [^`]+)`", section)
    deletions = re.findall(r"^ +(printf .*)$", section, re.MULTILINE)
    assert len(deletions) == 2

    with here.cloud():
        content = yaml.safe_load(here.config.read_text())
        gone = content["tenants"][0]
        fitting = {
            "contoso": shlex.quote(gone["name"]),
            "daemon.yaml": str(here.config),
            "GUID": gone["id"],
            "kafka-1:9092": here.bootstrap,
            "defender.": f"{here.prefix}.",
        }

        def perform(command: str) -> None:
            for there, mine in fitting.items():
                command = command.replace(there, mine)
            subprocess.run(["/bin/sh", "-c", command], check=True, timeout=60)

        def named() -> list[str]:
            return [topic for topic in COMPACTED if here.names(topic, gone["id"])]

        with here.daemon(healthy=TENANTS):
            assert named() == list(COMPACTED)
            here.config.write_text(yaml.safe_dump({**content, "tenants": content["tenants"][1:]}))
            perform(f"{shlex.join(PROGRAM)} {remove}")
            here.await_that(lambda: "checkpoints" not in named(), what="forgotten checkpoint")
            for command in deletions:
                perform(command)
            assert named() == []
        # Nothing of it comes back with the next start.
        with here.daemon(healthy=TENANTS - 1):
            assert named() == []

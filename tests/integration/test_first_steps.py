"""The first steps of the README and of the onboarding page, typed as they stand there."""

import json
import subprocess
import urllib.request

import pytest
import yaml

from ingest.simulator.broker import EmbeddedBroker, free_port
from ingest.simulator.processes import Child
from tests.harness.documented import ROOT, commands
from tests.harness.installation import PROGRAM, TENANTS, Installation
from tests.integration.test_promtool import get
from tests.integration.test_tenants_command import DOMAIN


class Reader:
    """Somebody who reads a page and types what it shows, with their own broker, file and customer."""

    def __init__(self, page: str, broker: EmbeddedBroker, here: Installation) -> None:
        self._shown = list(commands(ROOT / page, "defender-ingest"))
        self._here = here
        self._mine = {
            "127.0.0.1:9092": broker.bootstrap,
            "daemon.yaml": str(here.config),
            "sim.yaml": str(here.config),
            "fabrikam.com": DOMAIN,
            "eu": "simulated",
        }

    def shown(self, *begins: str) -> list[str]:
        """Return the words of the first command that begins so."""
        words = next(one for one in self._shown if one[: len(begins)] == list(begins))
        return [self._mine.get(word, word) for word in words]

    def child(self, *begins: str, more: tuple[str, ...] = ()) -> Child:
        command = [*PROGRAM, *self.shown(*begins), *more]
        return Child(name=begins[0], command=command, folder=self._here.folder)

    def types(self, *begins: str) -> str:
        done = subprocess.run(
            [*PROGRAM, *self.shown(*begins)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def small(here: Installation) -> tuple[str, ...]:
    """Return what keeps a simulated cloud small, beside other tests on one broker."""
    return (
        *("--port", "0", "--prefix", here.prefix, "--shards", "2", "--backlog", "3"),
        *("--no-limits", "--poll-interval", "0.5"),
    )


def listening(daemon: Child) -> str:
    """Return where a daemon's probes are, nothing before it has started; its consent page is elsewhere."""
    events = (json.loads(line) for line in daemon.out.read_text().splitlines())
    return next((one["listening"] for one in events if one["event"] == "started"), "")


def healthy(daemon: Child, count: int) -> None:
    daemon.wait_until(lambda: listening(daemon) != "", what="started event", timeout=60)
    url = listening(daemon)
    daemon.wait_until(
        lambda: json.loads(get(f"{url}/status"))["states"]["healthy"] == count,
        what=f"{count} healthy tenants",
        timeout=60,
    )


@pytest.mark.slow
def test_the_readme_leads_from_a_simulated_cloud_to_a_customer_that_is_read(
    embedded_kafka, tmp_path
):
    here = Installation(embedded_kafka.bootstrap, tmp_path)
    reader = Reader("README.md", embedded_kafka, here)
    port = free_port()
    few = ("--tenants", "3", "--state-dir", str(tmp_path))
    page = ("--redirect-url", f"http://127.0.0.1:{port}/consent")
    with reader.child("simulate", more=(*small(here), *few, *page)) as cloud:
        cloud.first_line(timeout=60)
        content = yaml.safe_load(here.config.read_text())
        # The first one is the customer who is added by hand.
        here.config.write_text(yaml.safe_dump({**content, "tenants": content["tenants"][1:]}))
        reader.types("check-config")
        with reader.child("run") as daemon:
            healthy(daemon, 2)
            assert "fabrikam" in reader.types("tenants", "add")
            healthy(daemon, 3)
            assert "/invitation/" in reader.types("invite")
            assert "fabrikam" in reader.types("tenants", "list")
            assert daemon.stop() == 0, daemon.tail()


@pytest.mark.slow
def test_the_consent_page_is_tried_with_three_commands(embedded_kafka, tmp_path):
    here = Installation(embedded_kafka.bootstrap, tmp_path)
    reader = Reader("docs/onboarding.md", embedded_kafka, here)
    port = free_port()
    reader._mine |= {
        "http://127.0.0.1:9466/consent": f"http://127.0.0.1:{port}/consent",
        "sim": str(tmp_path),
    }
    with reader.child("simulate", more=small(here)) as cloud:
        cloud.first_line(timeout=60)
        with reader.child("run") as daemon:
            healthy(daemon, 2)
            link = next(
                word for word in reader.types("invite").split() if word.startswith("http://")
            )
            with urllib.request.urlopen(link, timeout=30) as answer:  # noqa: S310 - our own, loopback
                assert "Contoso" in answer.read().decode()
            assert daemon.stop() == 0, daemon.tail()


@pytest.mark.slow
def test_what_the_other_pages_show_is_typed_too(embedded_kafka, tmp_path):
    here = Installation(embedded_kafka.bootstrap, tmp_path)
    with here.cloud(), here.daemon(healthy=TENANTS):
        content = yaml.safe_load(here.config.read_text())
        file = tmp_path / "tenants.yaml"
        file.write_text(yaml.safe_dump(content["tenants"]))

        def types(page: str, *begins: str) -> str:
            reader = Reader(page, embedded_kafka, here)
            reader._mine |= {"TENANT": content["tenants"][0]["id"], "tenants.yaml": str(file)}
            return reader.types(*begins)

        assert "--operation Write --topic" in types("docs/kafka.md", "topics", "--config")
        assert "nothing is wrong" in types("docs/operations.md", "doctor")
        assert types("docs/operations.md", "tenants", "apply")
        awaiting = types("docs/onboarding.md", "tenants", "list", "--state")
        assert awaiting == "0 tenants awaiting-approval\n"
        lacking = types("docs/onboarding.md", "tenants", "list", "--missing-role")
        assert f"{TENANTS} of {TENANTS} tenants that are read lack Machine.Read.All" in lacking

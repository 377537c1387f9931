"""Alerts by the operator's labels: each customer's in its topic, also while labels change."""

import asyncio
import json
import subprocess
import sys
import time
import urllib.request

import pytest
import structlog
import yaml

from ingest.model.roster import Origin, Registration, Standing
from ingest.model.tenant import Tenant
from ingest.settings.loader import load
from ingest.simulator.audit import Where
from ingest.simulator.reader import Reader
from ingest.simulator.remote import RemoteCloud
from ingest.simulator.trial import Subject, Trial
from ingest.sink.registrar import Registrar
from tests.harness.stage import stage

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(240)]

TOPICS = {tier: f"defender.alerts.{tier}" for tier in ("gold", "silver")}
FLAGS = [
    *("--tenants", "6", "--seed", "5", "--births-per-minute", "240", "--faults", "none"),
    *("--poll-interval", "1", "--version-seconds", "10", "--backlog", "20", "--no-limits"),
]


def configure(run):
    """Label all tenants but the last, which is not in the configuration."""
    content = yaml.safe_load(run.config.read_text())
    *labelled, unknown = content["tenants"]
    for number, one in enumerate(labelled):
        one["labels"] = {"tier": list(TOPICS)[number % 2]}
    content["tenants"] = labelled
    content["kafka"] |= {
        "route": "{prefix}.alerts.{label.tier}",
        "route_topics": [*TOPICS.values()],
    }
    run.config.write_text(yaml.safe_dump(content))
    return labelled, unknown


def command(run, *words):
    command = [sys.executable, "-m", "ingest", "tenants", *words, "--config", str(run.config)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


async def topics_of(run, tenant):
    """Return how many alerts of a tenant each topic has."""
    counts = {}
    for tier, topic in TOPICS.items():
        async with Reader(
            bootstrap=run.kafka.bootstrap, prefix="defender", alerts=[topic]
        ) as reader:
            await reader.find_topics()
            counts[tier] = 0
            while await reader.behind():
                counts[tier] += sum(
                    record.where is Where.ALERTS and record.key.startswith(tenant.encode())
                    for record in await reader.read(seconds=0.2)
                )
    return counts


async def until(check, what):
    deadline = time.monotonic() + 60
    while not (found := await check()):
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.5)
    return found


async def test_alerts_follow_the_labels_and_nothing_is_lost_or_there_twice(tmp_path):
    with stage(*FLAGS, folder=tmp_path) as run:
        labelled, unknown = configure(run)
        gold, silver = labelled[0]["id"], labelled[1]["id"]
        cloud = RemoteCloud(url=run.ready["url"], ca_file=run.ready["ca_file"])
        with run.daemon() as daemon:
            daemon.wait_until(lambda: '"started"' in daemon.tail(), what="start", timeout=60)
            url = json.loads(
                next(line for line in daemon.out.read_text().splitlines() if '"started"' in line)
            )["listening"]

            async def state_of(tenant):
                with urllib.request.urlopen(f"{url}/status", timeout=10) as answer:  # noqa: S310
                    found = json.loads(answer.read())["feeds"]
                return next((one for one in found if one["tenant"] == tenant), None)

            # Another way in knows nothing of routes: the portal, or a replica of an older configuration.
            tenant = Tenant(unknown["id"], unknown["name"], unknown["region"])
            settings = load(run.config, {}).kafka
            async with Registrar(settings=settings, log=structlog.get_logger()) as registrar:
                lost = Registration(tenant, Standing.ACTIVE, Origin.PORTAL, "them", time.time())
                await registrar.write([lost])
            found = await until(lambda: state_of(tenant.id), "a state of who has no topic")
            assert (found["state"], found["must_act"]) == ("parked", "us")
            assert "has no label tier" in found["reason"]
            assert f"tenants change {tenant.id} --label tier=" in found["reason"]

            async def both_published():
                return (await topics_of(run, gold))["gold"] and (await topics_of(run, silver))[
                    "silver"
                ]

            await until(both_published, "alerts in both topics")
            assert (await topics_of(run, gold))["silver"] == 0
            assert await topics_of(run, tenant.id) == {"gold": 0, "silver": 0}

            said = command(run, "change", gold, "--label", "tier=silver")
            assert f"go to {TOPICS['silver']} from now on" in said
            command(run, "change", tenant.id, "--label", "tier=gold")

            async def moved():
                return (await topics_of(run, gold))["silver"] and (await topics_of(run, tenant.id))[
                    "gold"
                ]

            await until(moved, "alerts of who changed its label")
            unread = {tenant.id: [(0.0, time.time())]}
            subject = Subject.of(run.config)
            async with Trial(subject=subject, cloud=cloud, absences=unread) as trial:
                await trial.find_topics()
                assert await trial.drain(at_most=60) == 0
                assert daemon.stop() == 0
                verdict = await trial.judge()
    # Offsets of two topics cannot be compared: order over a change of topic is not promised.
    disordered = verdict.details.get("disordered", [])
    assert all(gold in words for words in disordered)
    assert {**verdict.faults, "disordered": 0} == dict.fromkeys(verdict.faults, 0), verdict.report()

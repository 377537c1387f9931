"""Other people's consumers, as `docs/consumers.md` sets them up, on a busy run with kills."""

import asyncio
import contextlib
import json
import random
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ingest.simulator.audit import Audit, Where
from ingest.simulator.reader import Reader
from ingest.simulator.remote import RemoteCloud
from tests.chaos.freshness import Freshness
from tests.crash.__main__ import RECONCILE_SECONDS, Harness
from tests.crash.offsets import Offsets
from tests.harness.consumers import Kcat, Rsyslog
from tests.harness.stage import stage
from tests.unit.settings.json_schema import mistakes

pytestmark = [pytest.mark.kafka, pytest.mark.consumers, pytest.mark.slow, pytest.mark.timeout(420)]

KILLS = 3
SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
FLAGS = [
    *("--tenants", "40", "--seed", "3", "--births-per-minute", "1200", "--faults", "none"),
    *("--poll-interval", "1", "--version-seconds", "40", "--backlog", "50", "--no-limits"),
]
ENV = {
    "POLL__OVERLAP_SECONDS": "10",
    "POLL__RECONCILE_INTERVAL_SECONDS": str(RECONCILE_SECONDS),
    "KAFKA__SESSION_TIMEOUT_SECONDS": "6",
    "LISTEN__PORT": "0",
}


@dataclass
class Side:
    """One daemon with its encoding, and who reads what it publishes."""

    prefix: str
    encoding: str
    consumer: Kcat | Rsyslog
    outages: list = field(default_factory=list)

    @property
    def env(self):
        return {**ENV, "KAFKA__PREFIX": self.prefix, "KAFKA__ENCODING": self.encoding}


async def busy(run, side, cloud, frozen):
    """Kill the daemon again and again, then let it catch up; return the audit of its consumer."""
    bootstrap = run.kafka.bootstrap
    topics = [f"{side.prefix}.{name}" for name in ("alerts", "quarantine", "checkpoints")]
    tenants = {one["id"] for one in cloud.tenants()}
    fresh = Freshness(bootstrap=bootstrap, topic=topics[0], cloud=cloud)
    following = asyncio.create_task(fresh.follow())
    async with Offsets(bootstrap=bootstrap, topics=topics) as offsets:
        with contextlib.ExitStack() as stack:
            daemon = run.daemon(side.prefix, **side.env)
            stack.callback(daemon.kill)
            rng = random.Random(side.prefix)
            harness = Harness(daemon=daemon, offsets=offsets, fresh=fresh, rng=rng)
            for number in range(1, KILLS + 1):
                await harness.start()
                if number == 1:
                    side.consumer.child.start()
                    stack.callback(side.consumer.child.kill)
                await harness.kill(number)
            await harness.start()
            await harness.regain(tenants)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await frozen.wait()
            audit = await caught_up(run, side, cloud, harness.outages)
            assert daemon.stop() == 0
            assert side.consumer.child.running, side.consumer.child.tail()
    return audit


async def caught_up(run, side, cloud, outages):
    deadline = time.monotonic() + 90
    while True:
        audit = Audit(poll_interval=RECONCILE_SECONDS)
        audit.excuse({"*": outages})
        for record in side.consumer.read():
            audit.saw(record)
        await set_aside(run.kafka.bootstrap, side.prefix, audit)
        for line in cloud.record():
            audit.expect(line)
        if not audit.missing() or time.monotonic() > deadline:
            return audit
        await asyncio.sleep(1)


async def set_aside(bootstrap, prefix, audit):
    """Let the audit see what is in quarantine: no consumer of alerts is to see that."""
    async with Reader(bootstrap=bootstrap, prefix=prefix) as reader:
        await reader.find_topics()
        while await reader.behind():
            for record in await reader.read(seconds=0.2):
                if record.where is Where.QUARANTINE:
                    audit.saw(record)


async def test_kcat_and_rsyslog_read_every_alert_once_with_its_tenant_over_kills(tmp_path):
    for program in ("kcat", "rsyslogd"):
        assert shutil.which(program), f"{program} is needed: apt-get install kcat rsyslog-kafka"
    with stage(*FLAGS, folder=tmp_path) as run:
        bootstrap = run.kafka.bootstrap
        cloud = RemoteCloud(url=run.ready["url"], ca_file=run.ready["ca_file"])
        kcat = Kcat(bootstrap=bootstrap, topic="plain.alerts", folder=tmp_path)
        rsyslog = Rsyslog(bootstrap=bootstrap, topic="wrapped.alerts", folder=tmp_path)
        sides = [
            Side("plain", "raw", kcat),
            Side("wrapped", "cloudevents-structured", rsyslog),
        ]
        frozen = asyncio.Barrier(len(sides))

        class Frozen:
            """Both are done with killing before the cloud stands still."""

            async def wait(self):
                if await frozen.wait() == 0:
                    await asyncio.to_thread(cloud.freeze)

        audits = await asyncio.gather(*(busy(run, side, cloud, Frozen()) for side in sides))
    for side, audit in zip(sides, audits, strict=True):
        verdict = audit.verdict()
        print(side.prefix, verdict.line)
        assert (verdict.report(), verdict.clean) == ([], True)
        assert verdict.published > 1000
    exact = rsyslog.exact()
    assert rsyslog.written() == exact
    schema = json.loads((SCHEMAS / "alert-envelope.v1.json").read_text())
    assert [
        mistakes(schema, one) for some in exact.values() for one in some if mistakes(schema, one)
    ] == []

"""A replica that is frozen between produce and commit, and wakes after its shards have moved."""

import asyncio
import time
from pathlib import Path

import pytest

from ingest.simulator.remote import RemoteCloud
from ingest.simulator.trial import Subject, Trial
from tests.crash.offsets import Offsets
from tests.harness.said import Said, until
from tests.harness.stage import stage

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]

SESSION_SECONDS = 6
FLAGS = [
    *("--tenants", "40", "--births-per-minute", "6000", "--faults", "none", "--no-limits"),
    *("--poll-interval", "1", "--version-seconds", "60", "--backlog", "20"),
]


async def frozen_in_a_transaction(offsets, child):
    """Stop it again and again, until a transaction stays open while it is stopped."""
    for number in range(100):
        child.pause()
        if await offsets.open():
            await asyncio.sleep(0.5)
            if found := await offsets.open():
                return found
        child.resume()
        await asyncio.sleep(0.05 + 0.007 * number)
    raise AssertionError("it was never caught in a transaction")


async def test_a_replica_frozen_between_produce_and_commit_publishes_nothing_when_it_wakes():
    settings = {"LISTEN__PORT": "0", "KAFKA__SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS)}
    with stage(*FLAGS) as run:
        subject = Subject.of(run.config)
        topics = [f"{subject.prefix}.{name}" for name in ("alerts", "checkpoints")]
        cloud = RemoteCloud(url=run.ready["url"], ca_file=Path(run.ready["ca_file"]))
        zombie, owner = run.daemon("zombie", **settings), run.daemon("owner", **settings)
        with zombie, owner:
            began = time.time()
            log = Said(zombie)
            await until(lambda: len(log.events("sweep_finished")) > 100, what="a busy zombie")
            # The owner is not there yet when it is caught: all shards are the zombie's.
            owner.pause()
            async with Offsets(bootstrap=subject.bootstrap, topics=topics) as offsets:
                left_open = await frozen_in_a_transaction(offsets, zombie)
                owner.resume()
                placed = Said(owner)
                await until(
                    lambda: any(e["owned"] == 8 for e in placed.events("shards_placed")),
                    what="a take-over of all shards",
                )
                names = {place.partition(" ")[0] for place in left_open}

                async def still_open():
                    return names & {place.partition(" ")[0] for place in await offsets.open()}

                deadline = time.monotonic() + 30
                while await still_open() == names:
                    assert time.monotonic() < deadline, "the take-over ends what was left open"
                    await asyncio.sleep(0.1)
            woken, fenced = Said(zombie), Said(owner)
            zombie.resume()
            first = (await until(lambda: woken.events("shards_placed"), what="it joins again"))[0]
            # Until the group places shards on it again, it takes none from their rightful owner.
            early = [
                event
                for event in fenced.events("shard_rewound")
                if event["timestamp"] < first["timestamp"]
            ]
            assert early == []
            moved = Said(zombie)
            await until(lambda: len(moved.events("sweep_finished")) > 50, what="it reads again")
            back = time.time() + 5
            async with Trial(subject=subject, cloud=cloud) as trial:
                await trial.find_topics()
                assert await trial.drain(at_most=120) == 0
                assert zombie.stop() == 0, zombie.tail()
                assert owner.stop() == 0, owner.tail()
                verdict = await trial.judge(harness_outages=[(began, back)])
    assert verdict.report() == []
    assert verdict.clean

"""Faults of replicas, of their clocks and of their networks."""

import asyncio

from aiokafka.errors import KafkaError

from ingest.simulator.processes import Child
from tests.chaos.cluster import Cluster
from tests.chaos.gate import Gate
from tests.chaos.plan import Fault
from tests.crash.offsets import Offsets

_SECONDS = 60
_TRIES = 40


async def kill(cluster: Cluster, fault: Fault) -> None:
    replica = cluster.replicas[fault.target]
    replica.kill()
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        replica.start()


async def term(cluster: Cluster, fault: Fault) -> None:
    replica = cluster.replicas[fault.target]
    try:
        await cluster.stop(replica)
        await asyncio.sleep(fault.seconds)
    finally:
        replica.start()


async def freeze(cluster: Cluster, fault: Fault) -> None:
    child = cluster.replicas[fault.target].child
    child.pause()
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        child.resume()


async def freeze_in_transaction(cluster: Cluster, fault: Fault) -> str:
    """Stop it again and again, until a transaction stays open while it is stopped."""
    child = cluster.replicas[fault.target].child
    try:
        caught = await _caught(cluster, child)
        if not caught:
            child.pause()
        await asyncio.sleep(fault.seconds)
    finally:
        child.resume()
    return f"caught with {caught} open" if caught else "frozen, but not in a transaction"


async def _caught(cluster: Cluster, child: Child) -> int:
    names = [f"{cluster.subject.prefix}.{name}" for name in ("alerts", "quarantine", "checkpoints")]
    try:
        async with (
            asyncio.timeout(_SECONDS),
            Offsets(bootstrap=cluster.subject.bootstrap, topics=names) as offsets,
        ):
            for number in range(_TRIES):
                child.pause()
                first = _places(await offsets.open())
                if first:
                    # What others have open ends soon.
                    await asyncio.sleep(0.5)
                    if left := first & _places(await offsets.open()):
                        return len(left)
                child.resume()
                await asyncio.sleep(0.05 + 0.013 * number)
    except (KafkaError, TimeoutError):
        # The brokers have troubles of their own.
        child.resume()
    return 0


def _places(found: list[str]) -> set[str]:
    return {words.partition("<")[0] for words in found}


async def jump(cluster: Cluster, fault: Fault) -> None:
    clock = cluster.replicas[fault.target].clock
    clock.jump(int(fault.options["jump"]))
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        clock.jump(0)


async def _cut(gates: list[Gate], fault: Fault) -> None:
    for gate in gates:
        await gate.cut(str(fault.options["manner"]))
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        for gate in gates:
            await gate.open()


async def cut_from_brokers(cluster: Cluster, fault: Fault) -> None:
    await _cut(cluster.replicas[fault.target].brokers, fault)


async def cut_from_one_broker(cluster: Cluster, fault: Fault) -> None:
    gate = cluster.replicas[fault.target].brokers[int(fault.options["broker"]) - 1]
    await _cut([gate], fault)


async def cut_from_apis(cluster: Cluster, fault: Fault) -> None:
    await _cut([cluster.replicas[fault.target].api], fault)


async def add(cluster: Cluster, fault: Fault) -> None:
    cluster.replicas[fault.target].start()


async def remove(cluster: Cluster, fault: Fault) -> None:
    await cluster.stop(cluster.replicas[fault.target])


async def restart_all(cluster: Cluster, _: Fault) -> None:
    for replica in cluster.wanted:
        try:
            await cluster.stop(replica)
        finally:
            replica.start()
        await replica.started(at_most=_SECONDS)

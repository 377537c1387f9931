"""Faults of brokers and of their disks."""

import asyncio
import time

from tests.chaos import disk
from tests.chaos.cluster import Cluster
from tests.chaos.plan import Fault

_START_SECONDS = 60
_HALT_SECONDS = 20


async def kill(cluster: Cluster, fault: Fault) -> None:
    cluster.kafka.nodes[fault.target - 1].kill()
    await asyncio.sleep(fault.seconds)
    await _start(cluster, fault)


async def _start(cluster: Cluster, fault: Fault) -> None:
    index = fault.target - 1
    cluster.kafka.nodes[index].start()
    await asyncio.to_thread(cluster.kafka.await_node, index, timeout=_START_SECONDS)


async def freeze(cluster: Cluster, fault: Fault) -> None:
    node = cluster.kafka.nodes[fault.target - 1]
    node.pause()
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        node.resume()


async def fill_disk(cluster: Cluster, fault: Fault) -> str:
    """Fill it; a broker that cannot write halts, and is started again once there is room."""
    index = fault.target - 1
    node, folder = cluster.kafka.nodes[index], cluster.kafka.data_of(index)
    await asyncio.to_thread(disk.fill, folder)
    began = time.monotonic()
    while node.running and time.monotonic() - began < _HALT_SECONDS:
        await asyncio.sleep(0.1)
    took = time.monotonic() - began
    said = f"it halted after {took:.1f} s" if not node.running else "it did not halt; killed"
    await asyncio.sleep(max(0.0, fault.seconds - took))
    node.kill()
    await asyncio.to_thread(disk.empty, folder)
    await _start(cluster, fault)
    return said

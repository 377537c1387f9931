"""Tenants that come and go while all else goes wrong: by the program's own commands."""

import asyncio
import subprocess
import time

from ingest.simulator.processes import ChildFailed
from tests.chaos.cluster import Cluster
from tests.chaos.plan import Fault
from tests.harness.stage import PROGRAM

_COMMAND_SECONDS = 30
_LAST_READING_SECONDS = 15.0
"""So long before it is taken away, what a tenant has may not have been read any more."""


async def add(cluster: Cluster, fault: Fault) -> None:
    tenant = cluster.reserve[fault.target - 1]
    # The script's faults have piled up while nobody read it, dozens in an hour: met one after another, each
    # with its wait, they would take longer than a tenant may be unread.
    await asyncio.to_thread(cluster.cloud.post, "heal", tenant=tenant["id"])
    words = ["add", tenant["id"], "--name", tenant["name"], "--region", tenant["region"]]
    await _command(cluster, words)
    cluster.absences[tenant["id"]] = [(0.0, time.time())]
    cluster.present.add(tenant["id"])


async def remove(cluster: Cluster, fault: Fault) -> None:
    tenant = cluster.reserve[fault.target - 1]["id"]
    cluster.present.discard(tenant)
    began = time.time() - _LAST_READING_SECONDS
    cluster.absences[tenant].append((began, None))
    await _command(cluster, ["remove", tenant])


async def pause(cluster: Cluster, fault: Fault) -> None:
    tenant = cluster.reserve[fault.target - 1]["id"]
    cluster.present.discard(tenant)
    began = time.time() - _LAST_READING_SECONDS
    await _command(cluster, ["pause", tenant])
    await asyncio.sleep(fault.seconds)
    await _command(cluster, ["resume", tenant])
    cluster.absences[tenant].append((began, time.time()))
    cluster.present.add(tenant)


async def _command(cluster: Cluster, words: list[str]) -> None:
    """Run a command on tenants; while brokers are out of order it may have to be said again."""
    command = [*PROGRAM, "tenants", *words, "--config", str(cluster.command_config)]
    deadline = time.monotonic() + 2 * _COMMAND_SECONDS
    while True:
        said = await asyncio.to_thread(_run, command)
        if not said:
            return
        if time.monotonic() > deadline:
            raise ChildFailed(f"tenants {' '.join(words)}: {said}")
        await asyncio.sleep(1)


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_COMMAND_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"no end in {_COMMAND_SECONDS} s"
    return f"exit code {done.returncode}: {done.stderr}" if done.returncode else ""

"""What the faults are for: brokers, the simulated cloud, and replicas that each have a network of their own.

Every broker has one listener for each slot of a replica, which names that slot's gates as the brokers'
addresses: so each replica's way to each broker can be cut by itself, and no protocol is looked into.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from ingest.simulator.broker import free_port
from ingest.simulator.processes import Child
from ingest.simulator.remote import RemoteCloud
from ingest.simulator.trial import Subject
from tests.chaos import disk
from tests.chaos.plan import Stage
from tests.chaos.replica import Replica, prepared
from tests.harness.stage import PROGRAM
from tests.kafka.apache import ApacheKafka
from tests.kafka.secured import SCRAM, Admin, Keys, scram

_RECONCILE_SECONDS = 20.0


@dataclass
class Cluster:
    """All of it, and what must be known of it afterwards."""

    stage: Stage
    folder: Path
    kafka: ApacheKafka
    simulator: Child
    cloud: RemoteCloud
    subject: Subject
    replicas: dict[int, Replica]
    reserve: list[dict[str, str]]
    present: set[str]
    command_config: Path
    absences: dict[str, list[tuple[float, float | None]]]
    outages: list[tuple[float, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def wanted(self) -> list[Replica]:
        return [replica for replica in self.replicas.values() if replica.wanted]

    async def open(self) -> None:
        """Open the gates and start the first replicas."""
        for replica in self.replicas.values():
            for gate in replica.gates:
                await gate.open()
        for slot in range(1, self.stage.replicas + 1):
            self.replicas[slot].start()

    async def stop(self, replica: Replica) -> None:
        """Stop a replica; any other end than a good one fails the run."""
        code = await replica.stop()
        if code:
            words = f"replica {replica.slot} did not stop in good order: exit code {code}"
            self.failures.append(f"{words}\n{replica.child.tail()}")

    async def keep(self, say) -> None:
        """Start again whatever ended by itself, as an orchestrator does."""
        while True:
            for replica in self.wanted:
                code = replica.child.exit_code
                if code is not None:
                    replica.ends.append(code)
                    say(
                        f"replica {replica.slot} ended by itself with {code}: {replica.last_words()}"
                    )
                    replica.start()
            await asyncio.sleep(0.5)

    async def close(self) -> None:
        """End the replicas at once and close the gates."""
        for replica in self.replicas.values():
            replica.kill()
            for gate in replica.gates:
                await gate.close()

    def tracebacks(self) -> int:
        """Return how many tracebacks the replicas wrote."""
        files = [file for one in self.replicas.values() for file in (one.child.out, one.child.err)]
        return sum(file.read_bytes().count(b"Traceback (") for file in files if file.exists())

    def tails(self) -> str:
        """Return the last words of everything."""
        children = [*(replica.child for replica in self.replicas.values()), *self.kafka.nodes]
        return "\n".join(f"--- {one.name}\n{one.tail()}" for one in children if one.out.exists())


@contextmanager
def cluster(
    *, stage: Stage, folder: Path, disks: bool, reserve: int, flags: list[str], secure: bool
) -> Iterator[Cluster]:
    """Start brokers and the simulator, and prepare the replicas; all ends with the context.

    With `secure` the replicas' listeners speak TLS and SCRAM; the harness keeps the plain one.
    """
    slots = range(1, stage.slots + 1)
    doors = {
        f"R{slot}": [(free_port(), free_port()) for _ in range(stage.brokers)] for slot in slots
    }
    kafka = ApacheKafka(
        brokers=stage.brokers,
        properties={
            "num.network.threads": "1",
            "num.io.threads": "4",
            **(_secured(Keys(folder), doors) if secure else {}),
        },
        doors=doors,
        protocols=dict.fromkeys(doors, "SASL_SSL") if secure else None,
        volume=disk.mount if disks else None,
    )
    try:
        kafka.start()
        config = folder / "simulator.yaml"
        command = [
            "simulate",
            "--port",
            "0",
            "--kafka",
            kafka.bootstrap,
            "--state-dir",
            str(folder),
        ]
        simulator = Child(
            name="simulator",
            command=[*PROGRAM, *command, "--write-config", str(config), *flags],
            folder=folder,
        )
        with simulator:
            ready = json.loads(simulator.first_line(timeout=120))
            content = yaml.safe_load(config.read_text())
            kept = content["tenants"][: len(content["tenants"]) - reserve]
            back = content["tenants"][len(kept) :]
            content["tenants"] = kept
            _fit(content, stage)
            config.write_text(yaml.safe_dump(content))
            if secure:
                content["kafka"] |= _login(folder, kafka.bootstrap)
            yield Cluster(
                stage=stage,
                folder=folder,
                kafka=kafka,
                simulator=simulator,
                cloud=RemoteCloud(url=ready["url"], ca_file=Path(ready["ca_file"])),
                subject=replace(Subject.of(config), poll_interval=_RECONCILE_SECONDS),
                replicas={
                    slot: prepared(slot, doors[f"R{slot}"], content, ready["url"], folder)
                    for slot in slots
                },
                reserve=back,
                absences={tenant["id"]: [(0.0, None)] for tenant in back},
                present={tenant["id"] for tenant in kept},
                command_config=config,
            )
    finally:
        kafka.kill()
        if disks:
            for index in range(stage.brokers):
                disk.unmount(kafka.data_of(index))
        kafka.close()


def _secured(keys: Keys, doors: dict[str, Any]) -> dict[str, str]:
    return keys.broker_properties() | {
        name: value for door in doors for name, value in scram(door).items()
    }


def _login(folder: Path, bootstrap: str) -> dict[str, Any]:
    """Make the replicas' user, and return what they are to be told."""
    Admin(bootstrap).set_password("ingest", "chaos-password")
    password = folder / "kafka-password"
    password.write_text("chaos-password")
    sasl = {"mechanism": SCRAM, "username": "ingest", "password_file": str(password)}
    return {"tls": {"enabled": True, "ca_file": str(Keys.ca_file_in(folder))}, "sasl": sasl}


def _fit(content: dict[str, Any], stage: Stage) -> None:
    content["kafka"]["replication_factor"] = min(3, stage.brokers)
    content["kafka"]["session_timeout_seconds"] = stage.session
    # Readings overlap by little, so that most of the work is publishing. What changes without its time
    # is found by the slower ones only, so it is theirs that the audit has to allow for.
    content["poll"] |= {"overlap_seconds": 10, "reconcile_interval_seconds": _RECONCILE_SECONDS}

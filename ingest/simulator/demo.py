"""`defender-ingest demo`: simulated cloud, embedded broker and daemon, and alerts on the screen."""

import argparse
import asyncio
import json
import secrets
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ingest.simulator.broker import BrokerMissing, EmbeddedBroker, free_port
from ingest.simulator.processes import Child, ChildFailed
from ingest.simulator.reader import KafkaError
from ingest.simulator.remote import RemoteCloud
from ingest.simulator.screen import Gauges, Screen
from ingest.simulator.trial import Subject, Trial

_START_SECONDS = 60
_SUMMARY_SECONDS = 2
_STEP_SECONDS = 0.25
_DRAIN_SECONDS = 60
_STOP_SECONDS = 40
_POLL_SECONDS = 5
_BACKLOG = 15
"""Few enough that a first reading takes few calls, since budgets start empty; some have many more."""

_UNAVAILABLE = 69
_INTERRUPTED = 130
_PROGRAM = (sys.executable, "-m", "ingest")


class DemoFailed(Exception):
    """The demo cannot go on; the message says why."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program's own."""
    parser = subparsers.add_parser(
        "demo",
        help="see it run: simulated cloud, embedded broker and daemon, with an audit at the end",
        description="Starts a simulated Microsoft cloud with faults, an embedded broker and the "
        "daemon; shows alerts as a consumer gets them; at the end compares what is in Kafka with "
        "what was served. Exits 0 only if nothing is lost, there twice, out of order or altered.",
    )
    parser.add_argument(
        "--seconds", type=float, default=0, help="stop and audit after so long; 0: at Ctrl-C"
    )
    parser.add_argument("--tenants", type=int, default=200, help="simulated customers")
    parser.add_argument("--seed", type=int, default=1, help="of all that is left to chance")
    parser.add_argument(
        "--faults", default="default", metavar="default|none|FILE", help="the script of faults"
    )
    parser.add_argument(
        "--kafka", metavar="HOST:PORT", help="use this broker in place of the embedded one"
    )
    parser.set_defaults(run=run)


@dataclass(frozen=True, slots=True)
class _Stage:
    cloud: RemoteCloud
    daemon: Child
    subject: Subject
    names: dict[str, str]


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; return the exit code."""
    folder = Path(tempfile.mkdtemp(prefix="defender-demo-"))
    try:
        with _started(arguments, folder) as stage:
            code = asyncio.run(_shown(stage, seconds=arguments.seconds))
    except (KeyboardInterrupt, asyncio.CancelledError):
        _say("interrupted")
        code = _INTERRUPTED
    except (BrokerMissing, ChildFailed, DemoFailed, KafkaError, OSError, TimeoutError) as error:
        _say(f"the demo failed: {error or type(error).__name__}")
        code = _UNAVAILABLE
    if code:
        print(f"logs are kept in {folder}", file=sys.stderr)  # noqa: T201
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return code


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the demo is its output


@contextmanager
def _started(arguments: argparse.Namespace, folder: Path) -> Iterator[_Stage]:
    """Start everything, and end it in reverse order."""
    with ExitStack() as stack:
        kafka, prefix = arguments.kafka, f"demo-{secrets.token_hex(4)}"
        if kafka is None:
            with _step("embedded broker"):
                broker = stack.enter_context(EmbeddedBroker(logs=folder))
            kafka, prefix = broker.bootstrap, "defender"
        else:
            _say(f"using the broker at {kafka}; topics begin with {prefix}")
        config = folder / "daemon.yaml"
        with _step(f"simulated cloud of {arguments.tenants} tenants"):
            simulator = Child(
                name="simulator",
                command=[
                    *(*_PROGRAM, "simulate", "--port", "0", "--tenants", str(arguments.tenants)),
                    *("--seed", str(arguments.seed), "--faults", arguments.faults),
                    *("--backlog", str(_BACKLOG), "--large-every", "5"),
                    # A minute stands for a quarter of an hour: an hour's calls are not spent in it,
                    # and a budget that has to fill first would only show that it does.
                    "--no-limits",
                    *("--write-config", str(config), "--kafka", kafka, "--prefix", prefix),
                    *("--poll-interval", str(_POLL_SECONDS), "--listen-port", str(free_port())),
                    *("--state-dir", str(folder / "cloud")),
                ],
                folder=folder,
            )
            stack.enter_context(simulator)
            ready = json.loads(simulator.first_line(timeout=_START_SECONDS))
        subject = Subject.of(config)
        cloud = RemoteCloud(url=ready["url"], ca_file=Path(ready["ca_file"]))
        with _step("daemon"):
            command = [*_PROGRAM, "run", "--config", str(config)]
            admin_port = free_port()
            env = {"DEFENDER_INGEST_ADMIN__PORT": str(admin_port)}
            daemon = stack.enter_context(
                Child(name="daemon", command=command, folder=folder, env=env)
            )
            daemon.wait_until(
                lambda: _answers(f"{subject.status_url}/readyz"),
                what="readiness",
                timeout=_START_SECONDS,
            )
        _say(f"status page: http://127.0.0.1:{admin_port}/")
        _say(f"status and metrics: {subject.status_url}/status {subject.status_url}/metrics")
        names = {tenant["id"]: tenant["name"] for tenant in cloud.tenants()}
        yield _Stage(cloud, daemon, subject, names)


@contextmanager
def _step(what: str) -> Iterator[None]:
    began = time.monotonic()
    print(f"starting the {what} ... ", end="", flush=True)  # noqa: T201
    try:
        yield
    except BaseException:
        _say("no")
        raise
    _say(f"ready after {time.monotonic() - began:.1f} s")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - the daemon's own listener
            return True
    except OSError:
        return False


async def _shown(stage: _Stage, *, seconds: float) -> int:
    """Show what comes until the end, then drain and judge."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    task = asyncio.current_task()

    def interrupted() -> None:
        if stop.is_set() and task is not None:
            # Asked twice: no drain and no audit.
            stage.daemon.signal(signal.SIGKILL)
            task.cancel()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted)
    since = time.time()  # noqa: TID251 - compared with times of alerts, shown only
    screen = Screen(names=stage.names, since=since, say=_say)
    until = f"for {seconds:g} s" if seconds else "until Ctrl-C"
    async with Trial(subject=stage.subject, cloud=stage.cloud, watch=screen.show) as trial:
        async with asyncio.timeout(_START_SECONDS):
            await trial.find_topics()
        _say(f"reading as a read_committed consumer {until}")
        end = time.monotonic() + (seconds or float("inf"))
        summed = time.monotonic()
        while not stop.is_set() and time.monotonic() < end:
            await trial.follow(seconds=_STEP_SECONDS)
            if time.monotonic() - summed >= _SUMMARY_SECONDS:
                summed = time.monotonic()
                gauges = await asyncio.to_thread(Gauges.ask, str(stage.subject.status_url))
                _say(screen.summary(gauges, behind=await trial.behind()))
                if not stage.daemon.running:
                    raise DemoFailed(f"the daemon ended by itself\n{stage.daemon.tail()}")
        return await _judged(stage, trial)


async def _judged(stage: _Stage, trial: Trial) -> int:
    _say("freezing the simulator and waiting for the rest")
    missing = await trial.drain(at_most=_DRAIN_SECONDS)
    if missing:
        _say(f"{missing} current versions did not come within {_DRAIN_SECONDS} s")
    _say("stopping the daemon")
    code = await asyncio.to_thread(stage.daemon.stop, timeout=_STOP_SECONDS)
    verdict = await trial.judge()
    for kind, count in sorted((await asyncio.to_thread(stage.cloud.faults)).items()):
        _say(f"fault injected: {kind:<20} {count:>6}")
    for line in verdict.report():
        _say(line)
    if code:
        _say(f"the daemon did not stop in good order: exit code {code}\n{stage.daemon.tail()}")
    _say(verdict.line)
    return verdict.exit_code or int(bool(code))

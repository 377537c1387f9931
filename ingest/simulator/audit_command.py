"""`defender-ingest audit`: freeze a running simulator, let the daemon catch up, and judge it."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.simulator.reader import KafkaError, security_of
from ingest.simulator.remote import RemoteCloud
from ingest.simulator.trial import Subject, Trial

if TYPE_CHECKING:
    from ingest.simulator.verdict import Verdict

_USAGE = 64
_UNAVAILABLE = 69


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program's own."""
    parser = subparsers.add_parser(
        "audit",
        help="compare what is in Kafka with what the simulator served",
        description="Freezes the simulator, waits until the daemon has caught up, and compares what "
        "a read_committed consumer sees with the simulator's own record. Exits 0 only if nothing "
        "is lost, there twice, out of order, altered or wrongly in quarantine.",
    )
    parser.add_argument("--config", type=Path, required=True, help="the daemon's configuration")
    parser.add_argument(
        "--reader",
        type=Path,
        metavar="FILE",
        help="a file whose section `kafka` says how to read, where the daemon itself may not",
    )
    parser.add_argument("--simulator", required=True, metavar="URL", help="https://HOST:PORT")
    parser.add_argument(
        "--wait",
        type=float,
        default=60,
        metavar="S",
        help="seconds to wait at most for what is current (default: %(default)g)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    try:
        subject = Subject.of(arguments.config, arguments.reader)
        security_of(subject.kafka)
        cloud = RemoteCloud(url=arguments.simulator, ca_file=subject.ca_file)
    except (OSError, ValueError) as error:
        print(f"audit: {error}", file=sys.stderr)  # noqa: T201
        return _USAGE
    try:
        verdict = asyncio.run(_judge(subject, cloud, wait=arguments.wait))
    except (OSError, KafkaError, TimeoutError) as error:
        words = (
            str(error) or "no end of the topics in sight: missing, or behind an open transaction"
        )
        print(f"audit: {words}", file=sys.stderr)  # noqa: T201
        return _UNAVAILABLE
    for line in [*verdict.report(), verdict.line]:
        print(line)  # noqa: T201 - the output of the command
    return verdict.exit_code


async def _judge(subject: Subject, cloud: RemoteCloud, *, wait: float) -> "Verdict":
    async with Trial(subject=subject, cloud=cloud) as trial:
        async with asyncio.timeout(max(1.0, wait)):
            await trial.find_topics()
        await trial.drain(at_most=wait)
        return await trial.judge()

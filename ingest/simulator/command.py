"""`defender-ingest simulate`: a simulated Microsoft cloud for trying and for tests."""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path

from ingest.simulator.certificates import server_context
from ingest.simulator.cloud import Plan, SimulatedCloud
from ingest.simulator.clouds import NAMES, REGIONS
from ingest.simulator.config import Fitting, fitting_config, write_config
from ingest.simulator.credentials import KINDS, TOKEN_SECONDS, Desk, write_consent_key, write_secret
from ingest.simulator.faults import FaultError, load_script
from ingest.simulator.proxy import ForwardProxy
from ingest.simulator.samples import SamplesError, load_answers
from ingest.simulator.server import SimulatorServer


def add_parser(
    subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]",
) -> argparse.ArgumentParser:
    """Add the command `simulate` to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "simulate",
        help="a simulated Microsoft cloud, over TLS, with faults on demand",
        description=__doc__,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8443, help="port; 0 takes a free one")
    parser.add_argument("--tenants", type=_count, default=200, help="how many tenants there are")
    parser.add_argument("--seed", type=int, default=1, help="of all that is left to chance")
    parser.add_argument(
        "--faults", default="none", metavar="default|none|FILE", help="the script of faults"
    )
    parser.add_argument(
        "--from",
        dest="samples",
        type=Path,
        metavar="DIR",
        help="serve the recorded answers mde_*.json of a folder, as one tenant",
    )
    parser.add_argument(
        "--write-config", type=Path, metavar="FILE", help="write the daemon's configuration"
    )
    parser.add_argument("--kafka", metavar="HOST:PORT", help="brokers, for the configuration")
    parser.add_argument("--prefix", default="defender", help="kafka.prefix in the configuration")
    parser.add_argument("--shards", type=_count, default=8, help="kafka.shards, likewise")
    parser.add_argument("--listen-port", type=int, default=0, help="listen.port, likewise")
    parser.add_argument(
        "--poll-interval", type=_positive, default=10.0, help="poll.interval_seconds, likewise"
    )
    parser.add_argument(
        "--births-per-minute",
        type=_not_negative,
        help="alerts born in the whole fleet (default: 1.5 for each tenant); 0: nothing happens",
    )
    parser.add_argument(
        "--version-seconds",
        type=_positive,
        default=30.0,
        help="the shortest life of a version before its alert changes again",
    )
    parser.add_argument("--backlog", type=_whole, default=40, help="alerts per tenant at the start")
    parser.add_argument(
        "--large-every", type=_whole, default=0, metavar="N", help="every Nth has six times as many"
    )
    parser.add_argument("--page-cap", type=_count, help="the most records of any page")
    parser.add_argument("--token-seconds", type=_count, default=3599, help="how long tokens live")
    parser.add_argument(
        "--credential",
        choices=KINDS,
        default="secret",
        help="what the configuration proves the application with",
    )
    parser.add_argument(
        "--regions",
        type=_regions,
        default=(),
        metavar="NAME,NAME",
        help=f"regions that the tenants are in, in turn, each with hosts of its own, which are reached "
        f"through the proxy alone: {', '.join(REGIONS)}",
    )
    parser.add_argument(
        "--proxy-port",
        type=_whole,
        help="serve a forward proxy (CONNECT) to the cloud; 0: a free port",
    )
    parser.add_argument(
        "--unconsented",
        type=_whole,
        default=0,
        metavar="N",
        help="the last N tenants have not consented, and are not in the configuration",
    )
    parser.add_argument(
        "--redirect-url",
        action="append",
        default=[],
        metavar="URL",
        help="where a consent may lead back to, such as http://127.0.0.1:9466/consent; several times too",
    )
    parser.add_argument("--no-limits", action="store_true", help="any number of calls is answered")
    parser.add_argument(
        "--round-trip-milliseconds",
        type=_not_negative,
        default=0.0,
        help="how far away the cloud is: every answer comes so much later",
    )
    parser.add_argument(
        "--state-dir", type=Path, help="where the CA and the secret are kept (default: temporary)"
    )
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    if args.write_config and not args.kafka:
        print("--write-config needs --kafka HOST:PORT", file=sys.stderr)  # noqa: T201
        return os.EX_USAGE
    if args.regions and args.proxy_port is None:
        print("--regions needs --proxy-port: no other way leads to their hosts", file=sys.stderr)  # noqa: T201
        return os.EX_USAGE
    try:
        script = load_script(args.faults)
        answers = load_answers(args.samples) if args.samples else []
    except (FaultError, SamplesError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return os.EX_CONFIG
    births = args.births_per_minute
    with ExitStack() as stack:
        folder = args.state_dir
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="simulate-")))
        folder = folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        _, secret = write_secret(folder)
        plan = Plan(
            tenants=args.tenants,
            seed=args.seed,
            births_per_minute=1.5 * args.tenants if births is None else births,
            version_seconds=args.version_seconds,
            backlog=args.backlog,
            large_every=args.large_every,
            page_cap=args.page_cap,
            token_seconds=args.token_seconds,
            unconsented=args.unconsented,
            redirect_urls=tuple(args.redirect_url),
            limits=not args.no_limits,
            faults=tuple(script),
            answers=tuple(answers),
            regions=args.regions,
            client_secret=secret,
        )
        cloud = SimulatedCloud(plan=plan, clock=time.time)  # noqa: TID251 - here it is chosen
        return asyncio.run(_serve(args, cloud, folder))


async def _serve(args: argparse.Namespace, cloud: SimulatedCloud, folder: Path) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    context, ca_file = server_context(folder, args.host, *NAMES)
    desk = Desk(args.credential, folder, cloud.application)
    desk.renew(cloud.timeline.now())
    try:
        async with AsyncExitStack() as stack:
            server = SimulatorServer(
                cloud=cloud,
                context=context,
                host=args.host,
                port=args.port,
                round_trip=args.round_trip_milliseconds / 1000,
            )
            await stack.enter_async_context(server)
            proxy = None
            if args.proxy_port is not None:
                proxy = await stack.enter_async_context(
                    ForwardProxy(
                        upstream=(args.host, server.port),
                        names=NAMES | {args.host},
                        port=args.proxy_port,
                    )
                )
            if args.write_config:
                fitting = Fitting(
                    url=server.url,
                    ca_file=ca_file,
                    credential=desk.section,
                    kafka=args.kafka,
                    prefix=args.prefix,
                    shards=args.shards,
                    poll_interval=args.poll_interval,
                    listen_port=args.listen_port,
                    proxy=None if proxy is None else proxy.url,
                    consent_key=write_consent_key(folder),
                )
                write_config(args.write_config, fitting_config(cloud, fitting))
            ready = {
                "event": "ready",
                "url": server.url,
                "proxy": None if proxy is None else proxy.url,
                "ca_file": str(ca_file),
                "config": str(args.write_config) if args.write_config else None,
            }
            print(json.dumps(ready), flush=True)  # noqa: T201 - who started it waits for this line
            while not stop.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), TOKEN_SECONDS / 2)
                desk.renew(cloud.timeline.now())
    except OSError as error:
        print(f"cannot listen on {args.host}:{args.port}: {error}", file=sys.stderr)  # noqa: T201
        return os.EX_UNAVAILABLE
    return 0


def _regions(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in REGIONS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(REGIONS)}")
    return names


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _whole(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be below 0")
    return number


def _positive(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return number


def _not_negative(text: str) -> float:
    number = float(text)
    if not number >= 0:
        raise argparse.ArgumentTypeError("must not be below 0")
    return number

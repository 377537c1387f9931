"""The words of the commands beside `run`; what they do is loaded only when it is asked for."""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from ingest.model.instant import parse_instant
from ingest.model.report import AWAITING_APPROVAL, PENDING, REMOVED, UNREAD, UNREADABLE
from ingest.model.status import State
from ingest.settings.loader import load

_STATES = [*map(str, State), PENDING, AWAITING_APPROVAL, UNREAD, UNREADABLE, REMOVED]
_INTERRUPTED = 130
_MOST_SHARDS = 1024

Subparsers = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_parser(
    commands: Subparsers,  # type: ignore[valid-type]
    takes_config: Callable[[argparse.ArgumentParser], None],
) -> None:
    """Add the commands to the program's own."""
    resharding = commands.add_parser(  # type: ignore[attr-defined]
        "reshard",
        help="raise the number of shards, while no replica runs",
        description="Grows the topics that have a partition for each shard, and moves every tenant to "
        "the shard that is its own then. All replicas must be stopped. Interrupted, it is run again.",
    )
    takes_config(resharding)
    resharding.add_argument(
        "--to", type=_shards, required=True, metavar="M", help="how many shards there are to be"
    )
    _tells_in_json(resharding)
    resharding.set_defaults(run=_run, room="reshard")

    _add_topics(commands, takes_config)

    tenants = commands.add_parser(  # type: ignore[attr-defined]
        "tenants",
        help="list, add, pause, resume and remove tenants; running replicas follow at once",
        description="Acts on the tenants topic. Running replicas follow at once; none has to run.",
    )
    acts = tenants.add_subparsers(required=True, metavar="ACT", dest="act")

    def act(name: str, words: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = acts.add_parser(name, help=words, description=words)
        takes_config(parser)
        parser.set_defaults(run=_run, room="tenants")
        return parser

    listing = act("list", "Show every tenant and how it is doing, the unwell first.")
    listing.add_argument("--state", choices=_STATES, metavar="STATE", help=", ".join(_STATES))
    listing.add_argument(
        "--missing-role",
        metavar="ROLE",
        help="only those whose token lacks it, with the link to send; asks for a token of each",
    )
    listing.add_argument("--json", action="store_true", help="one JSON object a line")

    adding = act("add", "Register one tenant, to be read from now on.")
    adding.add_argument("tenant", metavar="GUID_OR_DOMAIN", help="its directory id, or a domain")
    adding.add_argument("--name", required=True, help="its name for people, unlike all others")
    adding.add_argument("--region", help="a key of `regions` in the configuration")
    _labels(adding, "a label, a header of its alerts; can be given several times")
    _signs(adding)

    for name, words in (
        ("change", "Give a tenant another name, region or label."),
        ("approve", "Let a tenant be read that consented and awaits approval."),
    ):
        parser = act(name, words)
        _means(parser)
        parser.add_argument("--name", help="its new name")
        parser.add_argument("--region", help="its new region, a key of `regions`")
        _labels(parser, "gives it a label, or takes it with NAME=; can be given several times")
        _signs(parser)

    for name, words in (
        ("pause", "Read a tenant no more for now; what is remembered of it is kept."),
        ("resume", "Read a paused tenant again, from where it stopped."),
        ("remove", "Read a tenant no more, and forget what is remembered of it."),
    ):
        parser = act(name, words)
        _means(parser)
        _signs(parser)

    rewinding = act("rewind", "Publish again, marked so, what changed since a time; once.")
    _means(rewinding)
    rewinding.add_argument(
        "--since", type=_instant, required=True, metavar="TIME", help="such as 2026-11-24T08:00:00Z"
    )
    _signs(rewinding)

    refetching = act("refetch", "Fetch one alert anew and publish it, marked so; once.")
    _means(refetching)
    refetching.add_argument("alert", metavar="ALERT", help="the alert's id")
    _signs(refetching)

    applying = act("apply", "Make the tenants that came from files those of a file.")
    applying.add_argument("file", type=Path, metavar="FILE", help="YAML: a list of tenants")
    applying.add_argument("--dry-run", action="store_true", help="show what would be done only")
    applying.add_argument(
        "--allow-removals",
        type=_count,
        metavar="N",
        help="remove up to N tenants (default: 5%% of those that came from files)",
    )
    _signs(applying)

    _add_quarantine(commands, takes_config)
    _add_doctor(commands, takes_config)
    _add_consent(commands, takes_config)


def _add_doctor(
    commands: Subparsers,  # type: ignore[valid-type]
    takes_config: Callable[[argparse.ArgumentParser], None],
) -> None:
    doctor = commands.add_parser(  # type: ignore[attr-defined]
        "doctor",
        help="find out why a tenant is not read, step by step",
        description="Takes every step that a reading takes, from DNS to the checkpoint, and says of each "
        "that it is well, or what is wrong, who must act and how. Also for a tenant that is not "
        "registered yet. It writes nothing, and calls the alert API twice at most.",
    )
    takes_config(doctor)
    doctor.add_argument("tenant", metavar="TENANT", help="its GUID, its name or its domain")
    doctor.add_argument("--region", help="where it is not registered: a key of `regions`")
    doctor.add_argument("--json", action="store_true", help="one JSON object a line")
    doctor.set_defaults(run=_run, room="doctor")


def _add_consent(
    commands: Subparsers,  # type: ignore[valid-type]
    takes_config: Callable[[argparse.ArgumentParser], None],
) -> None:
    inviting: argparse.ArgumentParser = commands.add_parser(  # type: ignore[attr-defined]
        "invite",
        help="make a link for one customer's administrator: who consents by it is read at once",
        description="Prints an invitation to the consent page: signed, for one use, for some days.",
    )
    takes_config(inviting)
    inviting.add_argument("name", metavar="NAME", help="the customer's name, unlike all others")
    inviting.add_argument("--tenant", metavar="GUID_OR_DOMAIN", help="nobody else can use it then")
    inviting.add_argument("--region", help="a key of `regions` in the configuration")
    _labels(inviting, "a label of the tenant; can be given several times")
    inviting.add_argument("--json", action="store_true", help="as one JSON object")
    inviting.set_defaults(run=_run, room="consent", act="invite")

    linking: argparse.ArgumentParser = commands.add_parser(  # type: ignore[attr-defined]
        "consent-url",
        help="print Microsoft's own links to consent, for one tenant or for any",
        description="Prints Microsoft's own links to consent. Who consents by one of them has to be "
        "registered with `tenants add`; an invitation (`invite`) does that by itself.",
    )
    takes_config(linking)
    linking.add_argument(
        "--tenant", metavar="GUID_OR_DOMAIN", help="for one directory alone, not for any"
    )
    linking.add_argument("--region", help="a key of `regions` in the configuration")
    linking.add_argument("--json", action="store_true", help="as one JSON object")
    linking.set_defaults(run=_run, room="consent", act="url")


def _means(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tenant", metavar="TENANT", help="its GUID or its name")


def _add_topics(
    commands: Subparsers,  # type: ignore[valid-type]
    takes_config: Callable[[argparse.ArgumentParser], None],
) -> None:
    topics = commands.add_parser(  # type: ignore[attr-defined]
        "topics",
        help="the topics that are needed, how to make them, and whether a cluster has them",
        description="Shows the topics that the configuration needs; asks a cluster only with --check.",
    )
    takes_config(topics)
    topics.add_argument("--json", action="store_true", help="one JSON object a line")
    forms = topics.add_mutually_exclusive_group()
    forms.add_argument("--kafka-topics", action="store_true", help="as commands that make them")
    forms.add_argument(
        "--kafka-acls", metavar="PRINCIPAL", help="commands that grant the daemon its rights"
    )
    forms.add_argument(
        "--check", action="store_true", help="compare a cluster; fails if anything differs"
    )
    topics.set_defaults(run=_run, room="topics")


def _add_quarantine(
    commands: Subparsers,  # type: ignore[valid-type]
    takes_config: Callable[[argparse.ArgumentParser], None],
) -> None:
    quarantine = commands.add_parser(  # type: ignore[attr-defined]
        "quarantine",
        help="list what was set aside, show its bytes, and ask the API for it anew",
        description="Acts on the quarantine topic. Stored bytes are shown, and never published.",
    )
    acts = quarantine.add_subparsers(required=True, metavar="ACT", dest="act")
    for name, words in (
        ("list", "Show what was set aside, why, and whose it is; the oldest first."),
        ("show", "Print the bytes of one, whole: parts are put together."),
        ("retry", "Ask the API for one anew, by whoever reads its tenant; once."),
    ):
        parser = acts.add_parser(name, help=words, description=words)
        takes_config(parser)
        if name != "list":
            parser.add_argument("id", metavar="ID", help="as `quarantine list` shows it")
        parser.add_argument("--tenant", metavar="TENANT", help="only this one's: GUID or name")
        if name == "list":
            parser.add_argument("--reason", help="only those set aside for it, such as too_large")
        if name == "retry":
            _signs(parser)
        else:
            parser.add_argument("--json", action="store_true", help="as JSON, one object a line")
        parser.set_defaults(run=_run, room="quarantine")


def _labels(parser: argparse.ArgumentParser, words: str) -> None:
    parser.add_argument("--label", action="append", default=[], metavar="NAME=VALUE", help=words)


def _signs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--why", default="", metavar="TEXT", help="kept in its record")
    parser.add_argument("--by", metavar="WHO", help="kept in its record (default: USER@HOST)")
    _tells_in_json(parser)


def _tells_in_json(parser: argparse.ArgumentParser) -> None:
    words = "one JSON object at the end: exit_code, said, error"
    parser.add_argument("--json", dest="result_as_json", action="store_true", help=words)


def _instant(text: str) -> int:
    try:
        return parse_instant(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError("must be a number of tenants, such as 12")
    return int(text)


def _shards(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MOST_SHARDS:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to {_MOST_SHARDS}, such as 64")
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    settings = load(Path(arguments.config), os.environ)
    # Not at the top: other commands need none of it.
    from ingest.commands.result import told_as_json  # noqa: PLC0415
    from ingest.telemetry.logs import logging_to  # noqa: PLC0415

    perform = importlib.import_module(f"ingest.commands.{arguments.room}").perform
    entra = settings.entra
    given = (
        *(entra.client_secret, entra.certificate, entra.certificate_passphrase),
        settings.http.proxy,
    )
    secrets = [secret.get_secret_value() for secret in given if secret is not None]
    # Always JSON, and every change: the words for people are on standard output.
    level = "debug" if settings.logs.level == "debug" else "info"
    logs = settings.logs.model_copy(update={"format": "json", "level": level})
    library = logging.getLogger("aiokafka")
    former = library.level
    # What it complains of is told once, as the error that the command ends in.
    library.setLevel(logging.CRITICAL)
    try:
        with logging_to(sys.stderr, logs, secrets=secrets):
            if getattr(arguments, "result_as_json", False):
                code: int = told_as_json(perform, arguments, settings, say=_say)
            else:
                code = perform(arguments, settings, say=_say)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever reads has seen enough; the interpreter would complain of it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return os.EX_OK
    finally:
        library.setLevel(former)
    return code


def _say(line: str) -> None:
    print(line)  # noqa: T201 - the command's output

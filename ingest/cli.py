"""The command line: `defender-ingest run`, and everything around it."""

import argparse
import asyncio
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ingest import __version__
from ingest.commands.parser import add_parser as add_commands
from ingest.errors import IngestError, SettingsError
from ingest.model.contract import MAJOR, SHAPES
from ingest.model.contract import schema as schema_of_record
from ingest.settings.loader import load
from ingest.settings.models import Settings
from ingest.settings.reference import configuration_page, schema
from ingest.telemetry.logs import logging_to
from ingest.telemetry.reference import metrics_page

_SIMULATOR = {"simulate": "command", "demo": "demo", "audit": "audit_command"}
"""Commands that live with the simulator; the daemon never loads it."""

_PAGES: dict[Path, Callable[[], str]] = {
    Path("config/schema.json"): schema,
    Path("docs/configuration.md"): configuration_page,
    Path("docs/metrics.md"): metrics_page,
    **{
        Path(f"docs/schemas/{name}.v{MAJOR}.json"): partial(schema_of_record, name)
        for name in SHAPES
    },
}
_GENERATED = "is not what the code says; run `make docs`"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    if not __debug__:
        print(  # noqa: T201 - the user's terminal
            "defender-ingest: does not run under python -O: a library relies on assertions",
            file=sys.stderr,
        )
        return os.EX_SOFTWARE
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser(words).parse_args(words)
    try:
        code: int = arguments.run(arguments)
    except SettingsError as error:
        for problem in error.problems:
            _complain(problem)
        return error.exit_code
    except IngestError as error:
        _complain(str(error))
        return int(getattr(error, "exit_code", os.EX_SOFTWARE))
    return code


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="defender-ingest",
        description="Every Defender alert of every customer, in Kafka, once.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="the daemon", description="Run until told to stop.")
    _takes_config(run)
    run.set_defaults(run=_run)

    check = commands.add_parser("check-config", help="find every mistake in a configuration")
    _takes_config(check)
    check.add_argument("--json", action="store_true", help="one JSON object")
    check.set_defaults(run=_check_config)

    add_commands(commands, _takes_config)

    commands.add_parser("schema", help="print the configuration's JSON schema").set_defaults(
        run=_schema
    )
    docs = commands.add_parser("docs", help="the generated pages, in a source tree")
    either = docs.add_mutually_exclusive_group(required=True)
    either.add_argument("--write", action="store_true", help="write them")
    either.add_argument("--check", action="store_true", help="fail if they are not fresh")
    docs.set_defaults(run=_docs)

    commands.add_parser("version", help="print the version").set_defaults(run=_version)
    given = next((word for word in words if not word.startswith("-")), None)
    for name, module in _SIMULATOR.items():
        if given is None or given == name or given not in commands.choices:
            importlib.import_module(f"ingest.simulator.{module}").add_parser(commands)
    return parser


def _takes_config(parser: argparse.ArgumentParser) -> None:
    variable = "DEFENDER_INGEST_CONFIG"
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        default=os.environ.get(variable),
        required=variable not in os.environ,
        help=f"the configuration (or in {variable})",
    )


def _load(arguments: argparse.Namespace) -> Settings:
    return load(Path(arguments.config), os.environ)


def _run(arguments: argparse.Namespace) -> int:
    settings = _load(arguments)
    entra = settings.entra
    given = (
        *(entra.client_secret, entra.certificate, entra.certificate_passphrase),
        settings.http.proxy,
    )
    # What is in files is masked by whoever reads them.
    secrets = [secret.get_secret_value() for secret in given if secret is not None]
    # Not at the top: the commands that only look at files need none of it.
    from ingest.app import serve  # noqa: PLC0415
    from ingest.runtime.allocator import keep_freed_pages, narrow_tls_buffers  # noqa: PLC0415

    keep_freed_pages()
    narrow_tls_buffers()

    async def until_told() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _stop_or_die, stop, number)
        return await serve(settings, stop=stop)

    with logging_to(sys.stdout, settings.logs, secrets=secrets):
        return asyncio.run(until_told())


def _stop_or_die(stop: asyncio.Event, number: signal.Signals) -> None:
    """Stop gracefully at the first signal; a second one means now."""
    if stop.is_set():
        os._exit(128 + number)
    stop.set()


def _check_config(arguments: argparse.Namespace) -> int:
    found: dict[str, Any] = {"file": str(arguments.config), "problems": []}
    try:
        found["tenants"] = len(_load(arguments).tenants)
    except SettingsError as error:
        found["problems"] = error.problems
        raise
    finally:
        if arguments.json:
            print(json.dumps(found, ensure_ascii=False))  # noqa: T201 - output
    if not arguments.json:
        print(f"{arguments.config}: fits, {found['tenants']} tenants")  # noqa: T201 - output
    return os.EX_OK


def _schema(_: argparse.Namespace) -> int:
    sys.stdout.write(schema())
    return os.EX_OK


def _docs(arguments: argparse.Namespace) -> int:
    code = os.EX_OK
    for path, page in _PAGES.items():
        if arguments.write:
            path.parent.mkdir(exist_ok=True)
            path.write_text(page())
        elif not path.exists() or path.read_text() != page():
            _complain(f"{path}: {_GENERATED}")
            code = 1
    return code


def _version(_: argparse.Namespace) -> int:
    print(__version__)  # noqa: T201 - output
    return os.EX_OK


def _complain(words: str) -> None:
    print(f"defender-ingest: {words}", file=sys.stderr)  # noqa: T201 - the user's terminal


if __name__ == "__main__":
    sys.exit(main())

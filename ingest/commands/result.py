"""What a command came to, as one JSON object: for programs that give commands."""

import argparse
import json
import os
from collections.abc import Callable
from typing import Any

from ingest.errors import IngestError
from ingest.settings.models import Settings

Perform = Callable[..., int]


def told_as_json(
    perform: Perform,
    arguments: argparse.Namespace,
    settings: Settings,
    *,
    say: Callable[[str], None],
) -> int:
    """Do what was asked for, and say all that was to be said in one object: also where it fails.

    Raises:
        IngestError: as `perform` does.
    """
    said: list[str] = []
    result: dict[str, Any] = {"exit_code": os.EX_SOFTWARE, "said": said, "error": None}
    try:
        code = result["exit_code"] = perform(arguments, settings, say=said.append)
    except IngestError as error:
        result["exit_code"] = int(getattr(error, "exit_code", os.EX_SOFTWARE))
        result["error"] = str(error)
        raise
    finally:
        say(json.dumps(result, ensure_ascii=False))
    return code

"""What every command with acts of its own stands on: its words, and what they need of the world."""

import argparse
from collections.abc import Callable

import structlog

from ingest.runtime.clock import SystemClock
from ingest.settings.models import Settings


class Acts:
    """One command.

    Args:
        settings: whose installation it is for.
        words: its arguments.
        say: prints a line.
    """

    def __init__(
        self, settings: Settings, words: argparse.Namespace, say: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._words = words
        self._say = say
        self._clock = SystemClock()
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("defender_ingest")

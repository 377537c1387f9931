"""Colours where a person looks on, and none where output goes elsewhere or `NO_COLOR` is set."""

import os
import sys

_CODES = {"green": "32", "yellow": "33", "red": "31", "dim": "2", "bold": "1"}

TONES = {"good": "green", "wait": "yellow", "bad": "red", "soft": "dim"}
"""Colours of what a state is to whoever looks on; see `ingest.model.showing.tone`."""


class Paint:
    """Puts text in colours, or leaves it as it is."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled

    @classmethod
    def of_terminal(cls) -> "Paint":
        """Return one for standard output."""
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        return cls(enabled=sys.stdout.isatty() and not plain)

    def in_colour(self, text: str, colour: str) -> str:
        """Return text in a colour; "" is none."""
        if not self._enabled or not colour:
            return text
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m"


PLAIN = Paint(enabled=False)
"""Leaves everything as it is."""

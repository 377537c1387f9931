"""Plain text in columns, fitted to the terminal: what does not fit is cut where it hurts least."""

import shutil
import sys
import unicodedata
from collections.abc import Sequence

_GAP = "  "
_LEAST = 16
_ENOUGH = 40
"""Columns that the last one is given before others are left out for it."""

_CUT = "…"


def terminal_width() -> int | None:
    """Return how many columns standard output has, None where it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int | None,
    *,
    spare: Sequence[int] = (),
) -> list[str]:
    """Return lines; with a width, columns are left out, and then the last and the first cut, to fit.

    Args:
        header: of each column.
        rows: their cells; what a terminal would not show as text is replaced.
        width: of the terminal, None where there is none.
        spare: the columns that can be done without, the least needed first.
    """
    cells = [[plain(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(_columns, column)) for column in zip(*cells, strict=True)]
    kept = list(range(len(widths)))
    last = kept[-1]
    if width is not None:
        enough = {last: min(widths[last], _ENOUGH)}
        for number in spare:
            if _excess([enough.get(at, widths[at]) for at in kept], width) > 0:
                kept.remove(number)
        for number in (last, 0):
            excess = max(0, _excess([widths[at] for at in kept], width))
            widths[number] = max(min(_LEAST, widths[number]), widths[number] - excess)
    return [_GAP.join(_fitted(row[at], widths[at]) for at in kept).rstrip() for row in cells]


def _excess(widths: Sequence[int], width: int) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1) - width


def plain(text: str) -> str:
    """Replace what would move the cursor, or be no text: names and reasons come from elsewhere."""
    return "".join(
        letter if letter.isprintable() else " " if letter.isspace() else "�" for letter in text
    )


def _fitted(text: str, size: int) -> str:
    if _columns(text) > size:
        while _columns(text) > size - 1:
            text = text[:-1]
        text += _CUT
    return text + " " * (size - _columns(text))


def _columns(text: str) -> int:
    """Return how many columns a text takes: wide letters two, marks upon others none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
    )

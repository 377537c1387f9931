"""The commands that the documents show, as somebody who reads them would type them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "helm/defender-ingest/README.md"),
        *(ROOT / "docs").rglob("*.md"),
    ]
)
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SHELL = ("", "sh", "console")


def commands(page: Path, program: str) -> Iterator[list[str]]:
    """Yield the words after a program's name, of each of its commands in a page's blocks."""
    for language, block in _BLOCK.findall(page.read_text()):
        if language in _SHELL:
            for line in block.replace("\\\n", " ").splitlines():
                # What the shell would take for a comment is one.
                words = line.removeprefix("$ ").partition(" #")[0]
                if words.startswith(f"{program} "):
                    yield shlex.split(words)[1:]

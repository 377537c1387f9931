"""Every command that the documents show is one that there is."""

import re
from importlib.util import find_spec

import pytest

from ingest.cli import _parser
from tests.harness.documented import PAGES, ROOT, commands

SHOWN = [
    pytest.param(words, id=f"{page.name}: {' '.join(words)}")
    for page in PAGES
    for words in commands(page, "defender-ingest")
]


@pytest.mark.parametrize("words", SHOWN)
def test_the_program_knows_a_command_that_a_page_shows(words):
    assert _parser(words).parse_args(words).run is not None


def test_commands_are_found():
    assert len(SHOWN) > 15


def test_every_target_that_a_page_shows_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = {words[0] for page in PAGES for words in commands(page, "make")}
    assert {"demo", "test"} <= shown <= targets


def test_every_module_and_script_that_a_page_runs_is_there():
    shown = [words for page in PAGES for words in commands(page, "python")]
    assert shown
    for words in shown:
        there = find_spec(words[1]) if words[0] == "-m" else (ROOT / words[0]).exists()
        assert there, words

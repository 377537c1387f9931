"""Generated pages are fresh, and no page points at what is not there."""

import os
import re
from pathlib import Path

import pytest

from ingest import errors
from ingest.cli import main
from tests.harness.documented import PAGES, ROOT

SCHEMAS = ["alert", "alert-envelope", "quarantine", "tenant", "tenant-status"]
GENERATED = [
    *("config/schema.json", "docs/configuration.md", "docs/metrics.md"),
    *(f"docs/schemas/{name}.v1.json" for name in SCHEMAS),
]
LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)>\s]+)>?[^)]*\)")
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ +(.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).strip().replace(" ", "-") for one in headings}


def test_the_generated_pages_are_fresh(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    code = main(["docs", "--check"])
    assert (code, capsys.readouterr().err) == (0, "")


@pytest.mark.parametrize("name", GENERATED)
def test_a_page_that_is_stale_or_absent_is_told(tmp_path, monkeypatch, capsys, name):
    for folder in ("config", "docs"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["docs", "--check"]) == 1
    assert name in capsys.readouterr().err
    assert main(["docs", "--write"]) == 0
    assert main(["docs", "--check"]) == 0
    (tmp_path / name).write_text((tmp_path / name).read_text() + "by hand\n")
    assert main(["docs", "--check"]) == 1
    assert capsys.readouterr().err == (
        f"defender-ingest: {name}: is not what the code says; run `make docs`\n"
    )


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_relative_link_leads_somewhere(page):
    dead = []
    for target in LINK.findall(CODE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        known = file.exists() and file.is_relative_to(ROOT)
        if not known or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            dead.append(target)
    assert dead == []


def test_links_are_looked_at():
    # Were the pattern wrong, no link would ever be dead.
    assert sum(len(LINK.findall(page.read_text())) for page in PAGES) >= 5


def test_every_exit_code_of_an_error_is_in_the_table_of_exit_codes():
    table = (ROOT / "docs" / "operations.md").read_text().partition("| exit code | meaning")[2]
    codes = {
        code
        for kind in vars(errors).values()
        if isinstance(code := getattr(kind, "exit_code", None), int)
    }
    codes |= {errors.CommandRefused("x", usage=True).exit_code, os.EX_SOFTWARE}
    listed = {
        int(number)
        for row in table.split("\n\n")[0].splitlines()[1:]
        for number in re.findall(r"\d+", row.split("|")[1])
    }
    assert codes <= listed

"""`docs/kafka.md` lists the rights that the code and the end-to-end test go by, and no other."""

from pathlib import Path

import pytest

from ingest.sink import rights
from ingest.sink.layout import TopicNames

PAGE = Path(__file__).parents[3] / "docs" / "kafka.md"
NAMES = TopicNames("defender")


def table(listed) -> str:
    lines = ["| resource | name | operation | so that |", "|---|---|---|---|"]
    lines += [
        f"| {one.kind} | `{one.name}`{' (prefixed)' if one.prefixed else ''} | {one.operation} | "
        f"{one.why} |"
        for one in listed
    ]
    return "\n".join(lines) + "\n"


def tables() -> dict[str, str]:
    """Return what the page has to say between its marks."""
    parts = [f"`{name}`:\n\n{table(listed)}" for name, listed in rights.commands(NAMES).items()]
    return {
        "rights of the daemon": table(rights.daemon(NAMES, creates=True)),
        "rights of the commands": "\n".join(parts),
        "rights of a consumer": table(rights.consumer(NAMES, "your-group")),
    }


@pytest.mark.parametrize("name", list(tables()))
def test_the_page_lists_the_rights_that_the_code_goes_by(name):
    text = PAGE.read_text()
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    assert text[text.index(begin) + len(begin) : text.index(end)] == tables()[name]


def test_no_right_is_listed_twice():
    lists = [rights.daemon(NAMES, creates=True), *rights.commands(NAMES).values()]
    for listed in lists:
        plain = [(one.kind, one.name, one.operation) for one in listed]
        assert len(plain) == len(set(plain))


def test_making_topics_is_a_right_only_where_topics_are_made():
    made = set(rights.daemon(NAMES, creates=True)) - set(rights.daemon(NAMES, creates=False))
    assert [(one.operation, one.name, one.prefixed) for one in made] == [
        ("Create", "defender.", True)
    ]


def test_a_right_is_granted_by_a_command_that_a_shell_takes_as_it_is():
    right = rights.daemon(NAMES, creates=True)[-1]
    assert right.command("User:CN=a b,O=c") == (
        "kafka-acls --add --allow-principal 'User:CN=a b,O=c' --operation Create --topic defender. "
        "--resource-pattern-type prefixed"
    )

"""What programs get of a command: one object, whatever became of it."""

import json

import pytest

from ingest.commands.result import told_as_json
from ingest.errors import CommandRefused, SinkUnavailable


def run(perform):
    said = []
    try:
        code = told_as_json(perform, None, None, say=said.append)
    except (CommandRefused, SinkUnavailable) as error:
        code = error
    (line,) = said
    return code, json.loads(line)


def test_what_was_said_and_the_exit_code_are_one_object():
    def perform(_words, _settings, *, say):
        say("contoso: paused")
        say("nothing else")
        return 0

    said = ["contoso: paused", "nothing else"]
    assert run(perform) == (0, {"exit_code": 0, "said": said, "error": None})


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandRefused("no such tenant"), 65),
        (CommandRefused("no such word", usage=True), 64),
        (SinkUnavailable("no brokers"), 75),
    ],
)
def test_a_command_that_is_refused_says_why_in_the_object_and_is_refused_still(error, code):
    def perform(_words, _settings, *, say):
        say("half of it")
        raise error

    raised, document = run(perform)
    assert raised is error
    assert document == {"exit_code": code, "said": ["half of it"], "error": str(error)}

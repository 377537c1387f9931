"""Colours: where a person looks on, and nowhere else."""

import io

import pytest

from ingest.commands.findings import failed, passed
from ingest.commands.paint import PLAIN, Paint


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "coloured"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_only_a_terminal_that_wants_colours_gets_them(monkeypatch, stream, environ, coloured):
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout", stream)
    assert ("\x1b[31m" in Paint.of_terminal().in_colour("x", "red")) == coloured


def test_a_finding_is_a_line_that_says_who_must_act_only_where_it_failed():
    assert passed("token", "given").as_line(PLAIN) == "ok      token             given"
    line = failed("token", "no consent", "customer").as_line(Paint(enabled=True))
    assert line.startswith("\x1b[31mFAILED  \x1b[0m")
    assert line.endswith("no consent (the customer's administrator must act)")

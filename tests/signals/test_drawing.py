"""The pictures of the dashboard: every panel is drawn, in its place, with what Prometheus says."""

import json
import math
import re
from xml.etree import ElementTree as ET

import pytest

from tests.harness.prometheus import DASHBOARD
from tests.signals.drawing import Span, draw, said

BOARD = json.loads(DASHBOARD.read_text())
SPAN = Span(1_700_000_000.0, 1_700_000_600.0, interval="20s")


class Prometheus:
    """Answers every query with two series: one that rises, one with a hole in it."""

    def query(self, expression, at=None):
        name = {"name": "Contoso & Sons <1>", "tenant": "1-2", "state": "parked", "code": "x"}
        return [(name | {"must_act": "us"}, 0.0), (name, 300.0)]

    def series(self, expression, *, since, until, step):
        times = [since + number * step for number in range(121)]
        hole = [(at, 2.0) for at in times if not 300 < at - since < 400]
        return [
            ({"state": "healthy"}, [(at, (at - since) / 10) for at in times]),
            ({"state": "parked"}, [*hole, (times[0], math.nan)]),
        ]


def test_every_panel_is_drawn_inside_the_picture():
    picture = draw(BOARD, Prometheus(), SPAN)
    root = ET.fromstring(picture)  # noqa: S314 - our own
    words = {one.text for one in root.iter() if one.text}
    assert {panel["title"] for panel in BOARD["panels"]} <= words
    assert "Contoso & Sons <1>" in words
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    numbers = re.findall(r"[ML ](-?[\d.]+) (-?[\d.]+)", picture)
    assert numbers
    assert all(0 <= float(x) <= width and 0 <= float(y) <= height for x, y in numbers)
    assert not re.search(r"\bnan\b", picture)


def test_only_the_rows_that_are_asked_for_are_drawn():
    picture = draw(BOARD, Prometheus(), SPAN, rows=["Is Kafka healthy?"])
    assert "Transactions" in picture
    assert "Registered" not in picture


def test_a_line_is_not_drawn_over_a_hole():
    panel = next(one for one in BOARD["panels"] if one["title"] == "Shards")
    picture = draw({"panels": [panel]}, Prometheus(), SPAN)
    assert picture.count('fill="none"') == 2 * 3


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0.987, "percentunit", "98.7 %"),
        (0.0123, "s", "12.3 ms"),
        (0, "s", "0 s"),
        (12.34, "s", "12.3 s"),
        (200, "dtdurations", "3 min 20 s"),
        (120, "s", "2 min"),
        (90 * 86_400, "dtdurations", "90 days"),
        (5 * 1024**2, "bytes", "5 MiB"),
        (12_345, "short", "12.3 K"),
        (12, "short", "12"),
        (1.5, "reqps", "1.5 req/s"),
        (math.nan, "ops", "no data"),
    ],
)
def test_a_value_is_said_in_its_unit(value, unit, words):
    assert said(value, unit) == words

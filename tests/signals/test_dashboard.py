"""The dashboard: its questions in their order, and queries that parse and ask for metrics that exist."""

import itertools
import json
import re

import pytest
import yaml

from ingest.telemetry.catalogue import CATALOGUE, PREFIX
from tests.harness.prometheus import DASHBOARD, filled_in, promtool, series_of

BOARD = json.loads(DASHBOARD.read_text())
PANELS = {panel["title"]: panel for panel in BOARD["panels"] if panel["type"] != "row"}
QUERIES = [
    pytest.param(target["expr"], id=f"{title}-{target['refId']}")
    for title, panel in PANELS.items()
    for target in panel["targets"]
]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def test_the_rows_are_the_questions_in_their_order():
    rows = [panel for panel in BOARD["panels"] if panel["type"] == "row"]
    assert [row["title"] for row in sorted(rows, key=lambda row: row["gridPos"]["y"])] == [
        "Are all customers read?",
        "How late are they?",
        "How close to limits?",
        "Is Kafka healthy?",
        "What changed?",
    ]


@pytest.mark.prometheus
def test_promtool_parses_every_query(tmp_path):
    rules = [
        {"record": f"panel:{number}", "expr": filled_in(query.values[0])}
        for number, query in enumerate(QUERIES)
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert promtool("check", "rules", file) == ""
    file.write_text(file.read_text().replace("sum", "summ"))
    assert "summ" in promtool("check", "rules", file)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_names_only_metrics_of_the_catalogue_and_the_job_that_was_chosen(query):
    named = re.findall(r'\b(\w+)\{job=~"\$job"', query)
    assert named == re.findall(rf"\b{PREFIX}\w+", query)
    assert named
    assert set(named) <= series_of(CATALOGUE)


@pytest.mark.parametrize("title", PANELS)
def test_a_panel_says_what_it_shows_and_in_which_unit(title):
    panel = PANELS[title]
    assert panel["description"].endswith(".")
    assert panel["datasource"] == SOURCE
    assert all(target["datasource"] == SOURCE for target in panel["targets"])
    if panel["type"] != "table":
        assert panel["fieldConfig"]["defaults"]["unit"]


def test_no_panel_lies_on_another_or_leaves_the_page():
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    assert len(PANELS) + 5 == len(BOARD["panels"])
    for a, b in itertools.combinations([panel["gridPos"] for panel in BOARD["panels"]], 2):
        apart_x = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        apart_y = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert apart_x or apart_y, (a, b)
    assert all(place["x"] + place["w"] <= 24 for place in (p["gridPos"] for p in BOARD["panels"]))

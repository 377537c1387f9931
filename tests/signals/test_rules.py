"""The alert rules: promtool takes them, and each fires when it should and not when it should not."""

import re

import pytest
import yaml

from ingest.telemetry.catalogue import CATALOGUE, PREFIX
from tests.harness.prometheus import ROOT, RULES, promtool, series_of

CASES = ROOT / "tests" / "signals" / "rules.test.yaml"
GROUP = yaml.safe_load(RULES.read_text())["groups"][0]
ALERTS = {rule["alert"]: rule for rule in GROUP["rules"]}


def asked() -> list[tuple[str, bool]]:
    """Return each alert that the cases ask for, and whether it is to fire there."""
    return [
        (one["alertname"], bool(one.get("exp_alerts")))
        for case in yaml.safe_load(CASES.read_text())["tests"]
        for one in case["alert_rule_test"]
    ]


@pytest.mark.prometheus
def test_promtool_takes_the_rules():
    assert promtool("check", "rules", RULES) == ""


@pytest.mark.prometheus
def test_each_rule_fires_when_it_should_and_not_when_it_should_not():
    assert promtool("test", "rules", CASES) == ""


@pytest.mark.prometheus
def test_the_cases_notice_of_each_rule_that_it_never_fires(tmp_path):
    dull = tmp_path / "rules.yaml"
    rules = [rule | {"expr": "vector(0) > 1"} for rule in ALERTS.values()]
    dull.write_text(yaml.safe_dump({"groups": [GROUP | {"rules": rules}]}))
    cases = tmp_path / "cases.yaml"
    content = yaml.safe_load(CASES.read_text()) | {"rule_files": [str(dull)]}
    cases.write_text(yaml.safe_dump(content))
    said = promtool("test", "rules", cases)
    assert set(re.findall(r"alertname: (\w+), time", said)) == set(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(alert):
    assert {fires for name, fires in asked() if name == alert} == {True, False}


@pytest.mark.parametrize("alert", ALERTS)
def test_a_rule_names_only_metrics_of_the_catalogue(alert):
    named = set(re.findall(rf"\b{PREFIX}\w+", ALERTS[alert]["expr"]))
    assert named
    assert named <= series_of(CATALOGUE)


@pytest.mark.parametrize("alert", ALERTS)
def test_a_rule_says_how_bad_it_is_and_what_to_read(alert):
    rule = ALERTS[alert]
    assert alert.startswith("DefenderIngest")
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}


def sections() -> list[str]:
    """Return the runbook's sections: those of its chapter on alerts."""
    page = (ROOT / "docs" / "operations.md").read_text()
    chapter = page.split("\n## Alerts\n")[1].split("\n## ")[0]
    return re.split(r"^### ", chapter, flags=re.MULTILINE)[1:]


@pytest.mark.parametrize("alert", ALERTS)
def test_a_rule_leads_to_its_own_section_of_the_runbook(alert):
    assert ALERTS[alert]["annotations"]["runbook_url"] == f"docs/operations.md#{alert.lower()}"
    assert [one.split()[0] for one in sections()].count(alert) == 1


def test_the_runbook_names_no_alert_that_is_not():
    named = set(re.findall(r"\bDefenderIngest\w+", (ROOT / "docs" / "operations.md").read_text()))
    assert named == set(ALERTS)


def test_the_runbook_has_the_alerts_in_the_order_of_the_rules_and_no_other():
    assert [one.split()[0] for one in sections()] == list(ALERTS)


@pytest.mark.parametrize("section", sections(), ids=lambda one: one.split()[0])
def test_a_section_says_what_it_means_where_to_look_and_what_to_do(section):
    assert re.findall(r"^\*\*(.+?)\.\*\*", section, re.MULTILINE) == [
        *("Meaning", "First look", "Remedy")
    ]

"""Recipes of `docs/consumers.md` for programs that are not run here: their form, and what each must say."""

import json
import re
import tomllib

import pytest
import yaml

from tests.harness.consumers import CONSUMERS, recipe

HEADINGS = ["Logstash", "Vector", "Elastic Agent and Filebeat", "Splunk Connect for Kafka"]


@pytest.mark.parametrize("heading", ["kcat", "rsyslog", *HEADINGS])
def test_every_recipe_reads_what_is_committed_from_our_topic(heading):
    text = recipe(heading)
    assert "read_committed" in text
    assert "defender.alerts" in text
    assert re.search(r"earliest|oldest|beginning", text)


def test_vectors_is_toml_whose_parts_are_joined():
    found = tomllib.loads(recipe("Vector"))
    (source,) = found["sources"]
    assert found["sources"][source]["librdkafka_options"] == {"isolation.level": "read_committed"}
    assert found["transforms"]["alerts"]["inputs"] == [source]


def test_filebeats_is_yaml():
    (one,) = yaml.safe_load(recipe("Elastic Agent and Filebeat"))["filebeat.inputs"]
    assert (one["type"], one["isolation_level"]) == ("kafka", "read_committed")


def test_splunks_is_json_of_texts_and_names_headers_that_exist():
    config = json.loads(recipe("Splunk Connect for Kafka"))["config"]
    assert all(isinstance(value, str) for value in config.values())
    named = {config["splunk.header.source"], *config["splunk.header.custom"].split(",")}
    schema = json.loads((CONSUMERS.parent / "schemas" / "alert.v1.json").read_text())
    assert named <= schema["$defs"]["Alert"]["properties"].keys()


def test_logstashs_braces_and_quotes_are_balanced_and_it_names_headers_that_exist():
    text = recipe("Logstash")
    bare = re.sub(r'"[^"\n]*"', "", text)
    assert '"' not in bare
    depth = 0
    for letter in bare:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0
    assert re.findall(r"^(\w+) \{", text, re.MULTILINE) == ["input", "filter", "output"]
    named = set(re.findall(r"\[headers\]\[(\w+)\]", text))
    assert named == {"ce_tenantid", "ce_tenantname", "ce_source", "ce_id"}

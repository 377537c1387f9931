"""The environment wins over the file; what it says wrongly is told by the variable's name."""

import pytest


def test_a_variable_wins_over_the_file(desk):
    settings = desk.load({"kafka": {"prefix": "file"}}, KAFKA__PREFIX="environment")
    assert settings.kafka.prefix == "environment"
    assert settings.kafka.bootstrap_servers == ["kafka-1:9092"]


@pytest.mark.parametrize(
    ("name", "text", "path", "value"),
    [
        ("POLL__INTERVAL_SECONDS", "7.5", "poll.interval_seconds", 7.5),
        ("LISTEN__PORT", "0", "listen.port", 0),
        ("METRICS__TENANTS", "false", "metrics.tenants", False),
        ("KAFKA__CREATE_TOPICS", "no", "kafka.create_topics", False),
        ("KAFKA__BOOTSTRAP_SERVERS", "[a:1, b:2]", "kafka.bootstrap_servers", ["a:1", "b:2"]),
        ("KAFKA__BOOTSTRAP_SERVERS", '["a:1"]', "kafka.bootstrap_servers", ["a:1"]),
        ("KAFKA__PREFIX", "1234", "kafka.prefix", "1234"),
        ("LOGS__LEVEL", "debug", "logs.level", "debug"),
    ],
)
def test_numbers_booleans_lists_and_texts_are_taken(desk, name, text, path, value):
    found = desk.load({}, **{name: text})
    for key in path.split("."):
        found = getattr(found, key)
    assert found == value


def test_a_section_that_the_file_lacks_can_be_made_of_variables(desk):
    settings = desk.load({"kafka": None}, KAFKA__BOOTSTRAP_SERVERS="[a:1]", KAFKA__SHARDS="4")
    assert (settings.kafka.bootstrap_servers, settings.kafka.shards) == (["a:1"], 4)


def test_tenants_and_regions_can_be_given_whole(desk):
    settings = desk.load(
        {"tenants": None},
        REGIONS="{lab: {api_url: https://lab.test}}",
        TENANTS="[{id: 22222222-2222-2222-2222-222222222222, name: fabrikam, region: lab}]",
    )
    assert (settings.tenants[0].name, settings.tenants[0].region) == ("fabrikam", "lab")


def test_a_secret_is_taken_as_it_is_written(desk):
    for secret in ("0123", "true", "[a", "a: b", " ~x", "*x"):
        settings = desk.load({"entra": {"client_secret": None}}, ENTRA__CLIENT_SECRET=secret)
        assert settings.entra.client_secret is not None
        assert settings.entra.client_secret.get_secret_value() == secret


def test_a_variable_that_means_nothing_is_told_with_the_one_meant(desk):
    problems = desk.problems({}, KAFKA__PREFX="x", QQQ="1", ENTRA="{}")
    assert problems == [
        "environment variable DEFENDER_INGEST_ENTRA: means nothing here",
        (
            "environment variable DEFENDER_INGEST_KAFKA__PREFX: means nothing here; "
            "did you mean DEFENDER_INGEST_KAFKA__PREFIX?"
        ),
        "environment variable DEFENDER_INGEST_QQQ: means nothing here",
    ]


def test_the_variable_that_names_the_file_is_no_mistake(desk):
    assert desk.load({}, CONFIG="somewhere.yaml").tenants


def test_a_value_that_does_not_fit_is_told_by_its_variable(desk):
    problems = desk.problems({}, LISTEN__PORT="70000", POLL__INTERVAL_SECONDS="60s")
    assert [problem.split(": ")[:2] for problem in problems] == [
        ["environment variable DEFENDER_INGEST_LISTEN__PORT", "listen.port"],
        ["environment variable DEFENDER_INGEST_POLL__INTERVAL_SECONDS", "poll.interval_seconds"],
    ]


def test_an_entry_of_a_list_in_the_environment_is_told_by_its_variable(desk):
    (problem,) = desk.problems({}, TENANTS="[{id: x, name: fabrikam}]")
    assert problem.startswith(
        "environment variable DEFENDER_INGEST_TENANTS: tenants[0].id (tenant fabrikam): "
    )


@pytest.mark.parametrize("text", ["[a", "{", "2024-99-99", "[" * 300])
def test_a_value_that_is_no_yaml_is_told_by_its_variable(desk, text):
    (problem,) = desk.problems({}, LISTEN__PORT=text)
    assert problem.startswith("environment variable DEFENDER_INGEST_LISTEN__PORT: ")
    assert text not in problem


def test_a_section_of_the_file_that_is_no_mapping_is_told_though_variables_name_its_keys(desk):
    problems = desk.problems({"poll": 3}, POLL__INTERVAL_SECONDS="5")
    assert len(problems) == 1
    assert problems[0].startswith("FILE: poll: ")


def test_mistakes_of_file_and_environment_come_together(desk):
    problems = desk.problems({"poll": {"interval_seconds": 0}}, LISTEN__PORT="-1", NOPE="")
    assert len(problems) == 3

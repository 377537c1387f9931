"""The words of the command, and mistakes in them that need no broker to be seen."""

import json
import os

import pytest
import yaml

from ingest.cli import main

GUID = "11111111-1111-1111-1111-111111111111"


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "daemon.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "entra": {"client_id": GUID, "client_secret": "hush~Q8secret~value"},
                "kafka": {"bootstrap_servers": ["127.0.0.1:1"]},
            }
        )
    )
    return str(path)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["lst"],
        ["add", GUID],
        ["pause"],
        ["list", "--state", "ill"],
        ["apply", "x", "--allow-removals", "-1"],
        ["apply", "x", "--allow-removals", "all"],
        ["apply", "x", "--allow-removals", "٣"],
    ],
)
def test_words_that_are_not_the_commands_are_a_usage_error(words, config, capsys):
    with pytest.raises(SystemExit) as end:
        main(["tenants", *words, *(["--config", config] if words else [])])
    assert end.value.code == 2
    assert "usage: defender-ingest tenants" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["add", "contoso", "--name", "c"], "contoso: is neither a GUID nor a domain name such as"),
        (["add", GUID, "--name", "  "], "--name must be 1 to 200 letters"),
        (["add", GUID, "--name", "x" * 201], "--name must be 1 to 200 letters"),
        (["add", GUID, "--name", "a\x1bb"], "--name must be 1 to 200 letters"),
        (
            ["add", GUID, "--name", "c", "--region", "euu"],
            "--region euu: is not a key of regions; did you mean eu?",
        ),
        (
            ["add", GUID, "--name", "c", "--region", "dod"],
            "--region dod: is of another cloud: its tenants sign in at https://login.microsoftonline.us",
        ),
        (
            ["add", GUID, "--name", "c", "--region", "https://evil.test"],
            "--region https://evil.test: is not a key of regions; one of au, commercial,",
        ),
        (["change", GUID], "nothing to change: give --name, --region or --label"),
    ],
)
def test_a_mistake_in_a_word_is_told_before_anybody_is_asked(words, complaint, config, capsys):
    assert main(["tenants", *words, "--config", config]) == os.EX_USAGE
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"defender-ingest: {complaint}")
    assert ("did you mean eu?" in said.err) == ("euu" in words)


def test_every_mistake_of_a_file_is_a_line(config, tmp_path, capsys):
    file = tmp_path / "tenants.yaml"
    file.write_text(f"- {{id: 1}}\n- {{id: {GUID}, name: c, region: euu}}")
    assert main(["tenants", "apply", str(file), "--config", config]) == os.EX_DATAERR
    assert capsys.readouterr().err.splitlines() == [
        f"defender-ingest: {file}: tenants[0].id (tenant 1): must be text; put it in quotes",
        f"defender-ingest: {file}: tenants[0].name (tenant 1): is needed and not there; add it",
        f"defender-ingest: {file}: tenants[1].region (tenant c): is not a key of regions; did you mean eu?",
    ]


def test_a_configuration_with_mistakes_is_told_as_ever(tmp_path, capsys):
    path = tmp_path / "daemon.yaml"
    path.write_text("kafak: {}")
    assert main(["tenants", "list", "--config", str(path)]) == os.EX_CONFIG
    assert "did you mean kafka?" in capsys.readouterr().err


def test_a_program_is_told_in_json_also_of_what_is_refused(config, capsys):
    words = ["tenants", "add", "contoso", "--name", "c", "--json", "--config", config]
    assert main(words) == os.EX_USAGE
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert (result["exit_code"], result["said"]) == (os.EX_USAGE, [])
    assert said.err == f"defender-ingest: {result['error']}\n"


def test_a_configuration_is_told_in_json(config, tmp_path, capsys):
    assert main(["check-config", "--json", "--config", config]) == os.EX_OK
    assert json.loads(capsys.readouterr().out) == {"file": config, "problems": [], "tenants": 0}
    path = tmp_path / "wrong.yaml"
    path.write_text("kafak: {}")
    assert main(["check-config", "--json", "--config", str(path)]) == os.EX_CONFIG
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert any("did you mean kafka?" in one for one in problems)


def test_topics_in_json_are_no_commands_of_other_tools(config, capsys):
    words = ["topics", "--json", "--kafka-topics", "--config", config]
    assert main(words) == os.EX_USAGE
    assert "--json shows the topics" in capsys.readouterr().err

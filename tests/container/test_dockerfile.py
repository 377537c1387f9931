"""What the Dockerfile says, read as text: fast, and wherever tests run."""

import re
from pathlib import Path

import pytest

from ingest.settings.models import Listen
from tests.container.dockerfile import Copy, Run, Stage, context, stages

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text()


@pytest.fixture
def built() -> dict[str, Stage]:
    given = {"VERSION": "1.2.3", "REVISION": "abc"}
    return stages(TEXT, args=given, base_env={"PATH": "/usr/bin"})


def test_the_image_runs_as_a_numbered_user_that_is_not_root(built):
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", built["final"].user)


def test_the_image_starts_the_daemon_without_a_shell(built):
    assert built["final"].entry == ["defender-ingest"]
    assert built["final"].command == ["run", "--config", "/etc/defender-ingest/daemon.yaml"]


def test_the_image_is_labelled_with_what_it_was_built_from(built):
    labels = {name.rpartition(".")[2]: value for name, value in built["final"].labels.items()}
    assert labels["title"] == "defender-ingest"
    assert (labels["version"], labels["revision"]) == ("1.2.3", "abc")


def test_the_port_of_the_image_is_the_default_one(built):
    assert built["final"].ports == [str(Listen().port)]


def test_both_stages_are_of_one_base_whose_version_is_an_argument():
    other = stages(TEXT, args={"PYTHON": "3.13-slim"}, base_env={"PATH": ""})
    assert {stage.base for stage in other.values()} == {"python:3.13-slim"}


def test_nothing_is_installed_that_no_lock_has_a_hash_of(built):
    commands = [step.command for step in built["build"].steps if isinstance(step, Run)]
    installs = re.findall(r"install (?:(?!&&).)*", " ".join(commands))
    assert len(installs) == 3
    assert all("--require-hashes" in one or "--no-index" in one for one in installs)
    assert "demo.txt" not in TEXT
    assert "dev.txt" not in TEXT


def test_the_image_itself_runs_nothing_and_copies_only_what_was_built(built):
    assert built["final"].steps == [
        Copy(["/opt/defender-ingest"], "/opt/defender-ingest", stage="build")
    ]


def test_assertions_are_never_switched_off(built):
    assert "PYTHONOPTIMIZE" not in built["final"].env


def test_a_build_sees_no_test_no_secret_and_no_history():
    top = {one.parts[0] for one in context(ROOT)}
    assert top == {"README.md", "ingest", "pyproject.toml", "requirements"}
    assert not [one for one in context(ROOT) if "__pycache__" in one.parts]


def test_an_instruction_that_the_tests_would_pass_over_is_told():
    with pytest.raises(AssertionError, match="ONBUILD"):
        stages(TEXT + "ONBUILD RUN true\n", args={}, base_env={"PATH": ""})


def test_the_pages_build_with_arguments_and_targets_that_there_are():
    page = (ROOT / "docs" / "release.md").read_text()
    known = set(re.findall(r"^ARG (\w+)", TEXT, re.MULTILINE))
    for text in (page, TEXT):
        assert set(re.findall(r"--build-arg (\w+)", text)) <= known
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for words in re.findall(r"`make ([a-z ]+)", page) for word in words.split()}
    assert len(named) > 4
    assert named <= targets

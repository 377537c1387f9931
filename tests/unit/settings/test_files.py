"""What can be wrong with the file itself: told in one line, with the place, never a traceback."""

import pytest

from ingest.errors import Recovery, SettingsError
from ingest.settings.loader import load


def test_a_file_that_is_not_there_is_told(desk):
    with pytest.raises(SettingsError) as refusal:
        load(desk.folder / "absent.yaml", {})
    (problem,) = refusal.value.problems
    assert problem == (
        f"{desk.folder}/absent.yaml: cannot be read: No such file or directory; "
        "give the file with --config"
    )
    assert (refusal.value.exit_code, refusal.value.recovery) == (78, Recovery.STOP)


def test_a_folder_in_place_of_the_file_is_told(desk):
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        load(desk.folder, {})


@pytest.mark.parametrize("text", ["[a, b]", "hello", "17", "- kafka"])
def test_yaml_that_is_no_mapping_is_told(desk, text):
    assert desk.problems_of_text(text) == ["FILE: must be a mapping of sections, such as `kafka:`"]


def test_an_empty_file_lacks_what_is_needed(desk):
    problems = desk.problems_of_text("# nothing yet\n")
    assert [problem.split(": ")[1] for problem in problems] == ["entra", "kafka"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("kafka:\n  prefix: x\n  prefix: y\n", "line 3, column 3"),
        ("kafka: {}\nentra: {}\nkafka: {}\n", "line 3, column 1"),
        ("tenants:\n- {id: a, name: b, id: c}\n", "line 2, column 20"),
    ],
)
def test_a_key_that_is_given_twice_is_told_with_its_place(desk, text, place):
    (problem,) = desk.problems_of_text(text)
    assert problem.startswith(f"FILE: {place}: ")
    assert problem.endswith("is given twice")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("kafka: {\n", "line 2, column 1"),
        ("a: b: c\n", "line 1, column 5"),
        ("kafka:\n\tprefix: x\n", "line 2, column 1"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_place(desk, text, place):
    (problem,) = desk.problems_of_text(text)
    assert problem.startswith(f"FILE: {place}: ")


@pytest.mark.parametrize(
    "text",
    [
        "name: Zürich\n".encode("latin-1"),
        b"\x80\x81\x82",
        b"a: \x00\n",
        b"when: 2024-99-99\n",
        b"[" * 2_000 + b"]" * 2_000,
    ],
    ids=["latin-1", "binary", "nul", "no date", "deep"],
)
def test_what_cannot_be_decoded_is_told(desk, text):
    (problem,) = desk.problems_of_text(text)
    assert problem.startswith("FILE: ")
    assert len(problem) < 200


@pytest.mark.parametrize("key", ["[a]", "{a: b}", "!!set {a}"])
def test_a_key_that_is_no_text_is_told_for_what_it_is(desk, key):
    (problem,) = desk.problems_of_text(f"? {key}\n: b\n")
    assert problem.startswith("FILE: line 1, column 3: ")
    assert "twice" not in problem


def test_a_byte_order_mark_is_no_mistake(desk):
    desk.load()
    settings = desk.load_text(b"\xef\xbb\xbf" + desk.path.read_bytes())
    assert settings.tenants[0].name == "contoso"


def test_names_in_any_script_are_kept(desk):
    settings = desk.load(
        {"tenants": [{"id": f"{1:08d}-0000-0000-0000-000000000000", "name": "日本"}]}
    )
    assert settings.tenants[0].name == "日本"

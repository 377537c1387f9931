"""The application's secret: a value or a file, never both, and never shown."""

import os

import pytest

from ingest.settings.loader import load

FILE = "entra.client_secret_file"


def from_file(path, **more):
    return {"entra": {"client_secret": None, "client_secret_file": str(path), **more}}


def test_a_secret_can_be_a_file(desk):
    path = desk.file("secret", desk.secret)
    assert desk.load(from_file(path)).entra.client_secret_file == path


@pytest.mark.parametrize("ending", ["\n", "\r\n", " \n\n"])
def test_a_newline_at_the_end_of_the_file_is_no_mistake(desk, ending):
    assert desk.load(from_file(desk.file("secret", desk.secret + ending)))


def test_both_forms_are_one_too_many(desk):
    path = desk.file("secret", "another")
    assert desk.problems({"entra": {"client_secret_file": str(path)}}) == [
        "FILE: entra.client_secret: is given beside client_secret_file; remove one of the two"
    ]


def test_both_forms_are_one_too_many_also_where_one_is_in_the_environment(desk):
    path = desk.file("secret", "another")
    (problem,) = desk.problems(from_file(path), ENTRA__CLIENT_SECRET=desk.secret)
    assert problem == (
        "environment variable DEFENDER_INGEST_ENTRA__CLIENT_SECRET: entra.client_secret: "
        "is given beside client_secret_file; remove one of the two"
    )


def test_neither_form_is_one_too_few(desk):
    assert desk.problems({"entra": {"client_secret": None}}) == [
        (
            f"FILE: {FILE}: is needed and not there; add it (or client_secret, certificate_file, "
            "federated_token_file)"
        )
    ]


@pytest.mark.parametrize("value", ["", "  ", "\n"])
def test_an_empty_secret_is_told(desk, value):
    assert desk.problems({"entra": {"client_secret": value}}) == [
        "FILE: entra.client_secret: is empty"
    ]


@pytest.mark.parametrize("content", ["", "\n", " \t\n"])
def test_an_empty_secret_file_is_told(desk, content):
    path = desk.file("secret", content)
    assert desk.problems(from_file(path)) == [f"FILE: {FILE}: {path} is empty"]


def test_a_secret_file_that_is_not_there_is_told(desk):
    path = desk.folder / "absent"
    assert desk.problems(from_file(path)) == [
        f"FILE: {FILE}: {path} cannot be read: No such file or directory"
    ]


def test_a_folder_in_place_of_the_secret_file_is_told(desk):
    assert desk.problems(from_file(desk.folder)) == [
        f"FILE: {FILE}: {desk.folder} cannot be read: Is a directory"
    ]


def test_a_secret_file_that_may_not_be_read_is_told(desk, monkeypatch):
    # Root may read everything, so the refusal is acted.
    path = desk.file("secret", desk.secret)
    real = type(path).open

    def refuse(self, *args, **options):
        if self == path:
            raise PermissionError(13, os.strerror(13), str(path))
        return real(self, *args, **options)

    monkeypatch.setattr(type(path), "open", refuse)
    monkeypatch.setattr(type(path), "read_text", lambda self, *a, **o: refuse(self))
    assert desk.problems(from_file(path)) == [
        f"FILE: {FILE}: {path} cannot be read: Permission denied"
    ]


def test_a_secret_file_that_is_no_text_is_told(desk):
    path = desk.file("secret", b"\xff\xfe\x00\x01")
    assert desk.problems(from_file(path)) == [
        f"FILE: {FILE}: {path} cannot be read: it is not text"
    ]


def test_a_path_that_no_file_can_have_is_told(desk):
    for key in ("client_secret_file", "ca_file"):
        changes = from_file("a\0b") if key != "ca_file" else {"ca_file": "a\0b"}
        (problem,) = desk.problems(changes)
        assert key in problem


def test_a_secret_that_looks_like_a_number_must_be_quoted(desk):
    assert desk.problems({"entra": {"client_secret": 12345}}) == [
        "FILE: entra.client_secret: must be text; put it in quotes"
    ]


def test_nothing_shows_the_secret(desk):
    settings = desk.load()
    for words in (
        repr(settings),
        str(settings),
        repr(settings.entra),
        f"{settings.entra.client_secret!r} {settings.entra.client_secret}",
        settings.model_dump_json(),
        repr(settings.model_dump()),
    ):
        assert desk.secret not in words


@pytest.mark.parametrize(
    "line",
    [
        "{secret}",
        "- {secret}",
        "client_secret: !{secret}",
        "client_secret: *{secret}",
        "client_secret: %{secret}",
        "client_secret: @{secret}",
        "client_secret: 'it: {secret}",
        "client_secret: {{{secret}: 1",
        "client_secret: [{secret}]",
        "client_secret: {{a: {secret}}}",
        "client_id: {secret}",
        "client_secret_file: [{secret}]",
        "login_url: {secret}",
        "timeout_seconds: {secret}",
        "token_version: {secret}",
    ],
)
def test_no_mistake_shows_the_secret_that_it_was_made_with(desk, line):
    secret = "hushQ8secretvalue"
    desk.path.write_text("entra:\n  " + line.format(secret=secret) + "\n")
    with pytest.raises(Exception, match=r".") as refusal:
        load(desk.path, {})
    told = repr(refusal.value) + str(refusal.value)
    chain = refusal.value
    while (chain := chain.__cause__) is not None:
        told += repr(chain)
    assert refusal.type.__name__ == "SettingsError"
    assert secret not in told

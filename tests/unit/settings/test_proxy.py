"""Which proxy a host is reached through."""

import pytest

from ingest.settings.proxy import Http

PROXY = "http://proxy.test:3128"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("login.microsoftonline.com", PROXY),
        ("internal.test", None),
        ("INTERNAL.test.", None),
        ("a.internal.test", None),
        ("notinternal.test", PROXY),
        ("10.0.0.7", None),
        ("10.0.0.70", PROXY),
        ("a.dotted.test", None),
    ],
)
def test_no_proxy_is_of_names_and_of_all_that_end_in_them(host, found):
    http = Http(proxy=PROXY, no_proxy=["Internal.test", ".dotted.test", "10.0.0.7"])
    assert http.proxy_of(host) == found


def test_what_is_configured_comes_before_the_environment(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://other.test:1")
    monkeypatch.setenv("NO_PROXY", "login.test")
    assert Http(proxy=PROXY).proxy_of("login.test") == PROXY


def test_without_one_the_environments_holds(monkeypatch):
    assert Http().proxy_of("login.test") is None
    monkeypatch.setenv("HTTPS_PROXY", "http://other.test:1")
    monkeypatch.setenv("NO_PROXY", "api.test")
    assert Http().proxy_of("login.test") == "http://other.test:1"
    assert Http().proxy_of("api.test") is None


@pytest.mark.parametrize(
    "value", ["proxy.test:3128", "https://proxy.test:3128", "http://proxy.test", "http://a b:1", ""]
)
def test_what_is_no_proxy_is_told_and_not_shown(desk, value):
    assert desk.problems({"http": {"proxy": value}}) == [
        "FILE: http.proxy: must be http://HOST:PORT or http://NAME:PASSWORD@HOST:PORT"
    ]


def test_its_password_is_not_shown(desk):
    settings = desk.load({"http": {"proxy": "http://me:hush-hush@proxy.test:3128"}})
    assert "hush" not in repr(settings)

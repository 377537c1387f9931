"""The section of the consent page: off without an address, and whole with one."""

import ipaddress

import pytest

from ingest.settings.consent import read_keys

KEY = "k" * 32


def on(desk, **changes):
    """Return the changes that turn the page on, and more."""
    fitting = {
        "url": "https://onboarding.example.com",
        "partner": "Example Security",
        "key_file": str(desk.file("key", f"{KEY}\n")),
    }
    return {"consent": fitting | changes}


def test_it_is_off_and_needs_nothing(desk):
    assert desk.load().consent.url is None


def test_with_an_address_it_needs_a_name_and_a_key(desk):
    assert desk.load(on(desk)).consent.partner == "Example Security"
    problems = desk.problems({"consent": {"url": "https://onboarding.example.com"}})
    assert [one.removeprefix("FILE: ").partition(": is needed")[0] for one in problems] == [
        "consent.key_file",
        "consent.partner",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "http://onboarding.example.com",
        "https://onboarding.example.com/",
        "https://onboarding.example.com/path",
        "https://user@onboarding.example.com",
        "http://127.0.0.1.example.com",
        "onboarding.example.com",
        # Not as browsers write it.
        "https://Onboarding.example.com",
        "https://onboarding.example.com:443",
        "https://zürich.example.com",
        "http://localhost:80",
    ],
)
def test_an_address_is_a_plain_origin_and_without_tls_only_this_machine(desk, url):
    (problem,) = desk.problems(on(desk, url=url))
    assert problem.startswith("FILE: consent.url: ")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9466", "http://localhost:8080", "https://a.b:1"])
def test_this_machine_may_be_tried_without_tls(desk, url):
    assert desk.load(on(desk, url=url)).consent.url == url


@pytest.mark.parametrize(
    ("content", "words"), [("short\n", "fewer than 32 letters"), ("", "is empty")]
)
def test_a_key_that_is_none_is_told_without_being_shown(desk, content, words):
    file = desk.file("bad", content)
    (problem,) = desk.problems(on(desk, key_file=str(file)))
    assert problem.startswith(f"FILE: consent.key_file: {file}")
    assert words in problem
    assert "short" not in problem.replace(str(file), "")


def test_all_keys_of_a_file_are_read(desk):
    assert read_keys(desk.file("keys", f"{KEY}\n{'o' * 40}\n")) == [KEY.encode(), b"o" * 40]


def test_proxies_are_addresses_or_networks(desk):
    settings = desk.load(on(desk, trusted_proxies=["10.1.2.3/8", "::1"])).consent
    assert settings.networks == (
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("::1/128"),
    )
    (problem,) = desk.problems(on(desk, trusted_proxies=["ingress"]))
    assert "'ingress' is no address" in problem


@pytest.mark.parametrize("change", [{"partner": " x"}, {"contact": "a\nb"}])
def test_what_is_shown_can_be_printed(desk, change):
    (problem,) = desk.problems(on(desk, **change))
    assert "can be printed" in problem

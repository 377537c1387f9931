"""Whose address a request has, and how often each may ask."""

import ipaddress

import pytest

from ingest.portal.visitors import Allowance, Visitors, client_of

TRUSTED = [ipaddress.ip_network(one) for one in ("10.0.0.0/8", "fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        # Nobody who is not a trusted proxy is believed.
        ("198.51.100.7", ["203.0.113.1"], "198.51.100.7"),
        ("198.51.100.7", [], "198.51.100.7"),
        ("10.1.1.1", [], "10.1.1.1"),
        ("10.1.1.1", ["203.0.113.1"], "203.0.113.1"),
        # What the client itself has written stands before what the proxies add.
        ("10.1.1.1", ["1.2.3.4, 203.0.113.1"], "203.0.113.1"),
        ("10.1.1.1", ["1.2.3.4", "203.0.113.1, 10.2.2.2"], "203.0.113.1"),
        ("10.1.1.1", ["10.3.3.3"], "10.3.3.3"),
        ("10.1.1.1", ["203.0.113.1:5060"], "203.0.113.1"),
        ("fd00::1", ["[2001:db8::7]:443"], "2001:db8::7"),
        ("::ffff:10.1.1.1", ["::ffff:203.0.113.1"], "203.0.113.1"),
        # What is no address is not believed; whoever has sent it is the client.
        ("10.1.1.1", ["unknown"], "10.1.1.1"),
        ("10.1.1.1", ["203.0.113.1, <script>"], "10.1.1.1"),
        ("fe80::1%eth0", [], "fe80::1"),
        (None, ["203.0.113.1"], ""),
    ],
)
def test_the_client_is_the_last_address_that_no_proxy_of_ours_has(peer, forwarded, client):
    assert client_of(peer, forwarded, TRUSTED) == client


def test_without_trusted_proxies_nothing_is_believed():
    assert client_of("10.1.1.1", ["203.0.113.1"], []) == "10.1.1.1"


def test_an_allowance_is_spent_and_fills_with_time():
    allowance = Allowance(6)
    assert [allowance.take(1.0) for _ in range(8)] == [True] * 6 + [False] * 2
    assert not allowance.take(10.9)
    assert allowance.take(12.0)
    assert not allowance.take(12.0)
    assert [allowance.take(1e6) for _ in range(7)] == [True] * 6 + [False]


def test_each_client_has_its_own_and_one_network_of_ipv6_is_one_client():
    visitors = Visitors(1)
    assert visitors.may_ask("203.0.113.1", 1.0)
    assert not visitors.may_ask("203.0.113.1", 1.0)
    assert visitors.may_ask("203.0.113.2", 1.0)
    assert visitors.may_ask("2001:db8::1", 1.0)
    assert not visitors.may_ask("2001:db8::ffff:1", 1.0)
    assert visitors.may_ask("2001:db8:0:1::1", 1.0)


def test_only_so_many_are_remembered_and_the_longest_away_is_forgotten():
    visitors = Visitors(1, most=2)
    assert visitors.may_ask("192.0.2.1", 1.0)
    assert visitors.may_ask("192.0.2.2", 1.0)
    assert not visitors.may_ask("192.0.2.1", 1.0)
    assert visitors.may_ask("192.0.2.3", 1.0)
    assert not visitors.may_ask("192.0.2.1", 1.0)
    assert visitors.may_ask("192.0.2.2", 1.0)

"""The search for secrets is itself searched: what it is to find, it finds; what is clean, is clean."""

import base64
import json
from urllib.parse import quote, quote_plus, urlencode

import jwt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.harness.secrets import find_leaks

SECRET = "q8Q~hush/secret+value=.7_"
TOKEN = jwt.encode({"tid": "a", "roles": ["b"]}, "k" * 32, algorithm="HS256")

_FORMS = {
    "plain": lambda text: text,
    "URL": lambda text: quote(text, safe=""),
    "URL with small digits": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "URL form": quote_plus,
    "URL query": lambda text: urlencode({"client_secret": text}),
    "URL twice": lambda text: quote(quote(text, safe=""), safe=""),
    "URL form twice": lambda text: quote_plus(quote_plus(text)),
    "JSON": json.dumps,
    "JSON twice": lambda text: json.dumps(json.dumps({"key": text})),
    "JSON as it is read": lambda text: json.dumps(text, ensure_ascii=False),
    "repr": repr,
    "repr of bytes": lambda text: repr(text.encode()),
    "hex": lambda text: text.encode().hex(),
    "HEX": lambda text: text.encode().hex().upper(),
}
_NEIGHBOURS = st.binary(max_size=5)
_SECRETS = st.one_of(
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=8, max_size=60),
    st.text(st.characters(codec="utf-8"), min_size=8, max_size=30),
)
_CLEAN = st.text(st.characters(codec="utf-8"), max_size=200)
_HALF = len(SECRET) // 2
_ALMOST = st.sampled_from(
    [
        SECRET[:-1] + " ",
        SECRET[_HALF:] + SECRET[:_HALF],
        SECRET.swapcase(),
        SECRET[::-1],
        quote(SECRET[:-1], safe="") + "%",
        SECRET[:-1].encode().hex() + " ",
        base64.b64encode(SECRET[:-4].encode()).decode(),
        "eyJ",
        ".eyJ.",
        "eyJhbGciOiJub25lIn0.",
        "Bearer ",
    ]
)


@pytest.mark.parametrize("form", _FORMS)
@settings(max_examples=30)
@given(secret=_SECRETS, before=_CLEAN, after=_CLEAN)
@example(secret=SECRET, before="", after="")
def test_a_planted_secret_is_found_in_each_form(form, secret, before, after):
    assert find_leaks(before + _FORMS[form](secret) + after, [secret])


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@settings(max_examples=50)
@given(secret=_SECRETS, before=_NEIGHBOURS, after=_NEIGHBOURS)
@example(secret=SECRET, before=b"", after=b"")
@example(secret=SECRET, before=b"a", after=b"\xff")
@example(secret=SECRET, before=b"ab", after=b"\xff\xff")
def test_a_planted_secret_is_found_in_base64_wherever_it_begins(encode, secret, before, after):
    encoded = encode(before + secret.encode() + after).decode()
    assert find_leaks(f"Authorization: Basic {encoded}", [secret])
    assert find_leaks(encoded.rstrip("=").encode(), [secret])


@given(st.lists(st.one_of(_CLEAN, _ALMOST)).map("|".join))
def test_what_is_only_almost_the_secret_is_clean(text):
    assert find_leaks(text, [SECRET]) == []
    assert find_leaks(text.encode(), [SECRET]) == []


def test_an_ordinary_log_is_clean():
    log = (
        '{"event": "state_changed", "code": "secret_expired", "must_act": "us"}\n'
        '{"logger": "urllib3.connectionpool", "event": "https://127.0.0.1:8443 \\"POST /t/oauth2/'
        'v2.0/token HTTP/1.1\\" 401 812"}\n'
        "defender-ingest: entra.client_secret_file: /run/secret cannot be read\n"
        'www-authenticate: Bearer realm="x"\n'
        "Bearer [redacted]\n"
    )
    assert find_leaks(log, [SECRET]) == []


@given(before=_CLEAN, after=_CLEAN)
def test_a_token_is_found_though_nobody_knew_it(before, after):
    leaks = find_leaks(before + " " + TOKEN + after, [])
    assert "token" in [leak.form for leak in leaks]


def test_a_token_without_its_signature_is_found():
    assert find_leaks(TOKEN.rpartition(".")[0] + ".", [])


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abcdefgh12345",
        "{'Authorization': 'bearer abcdefgh12345'}",
        "authorization=Bearer%20abcdefgh12345",
        "authorization=Bearer+abcdefgh12345",
        '{"token_type": "Bearer", "bearer": "abcdefgh12345"}',
    ],
)
def test_what_follows_bearer_is_found(text):
    assert [leak.form for leak in find_leaks(text, [])] == ["bearer"]


def test_every_secret_is_searched_and_every_place_is_told():
    text = f"a {SECRET} b {SECRET.encode().hex()} c second-secret"
    leaks = find_leaks(text, [SECRET, "second-secret"])
    assert [(leak.form, leak.at) for leak in leaks] == [
        ("plain", text.index(SECRET)),
        ("hex", text.index(SECRET.encode().hex())),
        ("plain", text.index("second-secret")),
    ]


def test_what_is_told_of_a_leak_does_not_show_the_secret():
    (leak,) = find_leaks(f"client_secret={SECRET}", [SECRET])
    assert "client_secret=" in str(leak)
    assert find_leaks(str(leak) + repr(leak), [SECRET]) == []


def test_bytes_that_are_no_text_hide_nothing():
    assert find_leaks(b"\xff\xfe" + SECRET.encode() + b"\xff", [SECRET])


def test_a_secret_too_short_to_search_for_is_refused():
    with pytest.raises(ValueError, match="by chance"):
        find_leaks("anything", ["short"])

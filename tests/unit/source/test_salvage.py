"""One record that no decoder takes leaves the others of its page readable, and is kept whole."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.model.alert import Alert, Malformed
from ingest.source.records import canonical, fingerprint, read
from tests.harness.steps import split

TIME = b'"lastUpdateTime":"2024-01-02T03:04:05.1234567Z"'


def content_of(raw: bytes) -> int:
    """Return the hash of a record's content, also of one that is no alert."""
    return canonical(Alert("any", 0, 0, resolved=False, raw=raw, digest=fingerprint(raw)))


def odd(field: bytes) -> bytes:
    """Return an alert with one field that is not as it should be."""
    return b'{"id":"odd",' + TIME + b"," + field + b"}"


UNREADABLE = {
    "invalid UTF-8 in its id": b'{"id":"\xff\xfe",' + TIME + b"}",
    "a broken escape": odd(b'"f":"\\q"'),
    "half an escape": odd(b'"f":"\\u12"'),
    "a control character": odd(b'"f":"a\nb\x00"'),
    "a bare word": odd(b'"f":undefined'),
    "a comma too many": odd(b'"f":1,'),
    "single quotes": b"{'id':'odd'}",
    "no JSON at all": b"\x00\x01\xfe",
    "an id of 5,000 digits": b'{"id":' + b"9" * 5_000 + b"," + TIME + b"}",
    "arrays 2,000 deep": odd(b'"f":' + b"[" * 2_000 + b"]" * 2_000),
    "arrays 100,000 deep": odd(b'"f":' + b"[" * 100_000 + b"]" * 100_000),
    "objects 100,000 deep": odd(b'"f":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
}
"""Records that are set aside."""

READABLE = {
    "invalid UTF-8 in a field": odd(b'"f":"\xff\xfe"'),
    "the first half of a surrogate pair": odd(b'"f":"\\ud83d"'),
    "the second half of a surrogate pair": odd(b'"f":"\\udd12"'),
    "halves in the wrong order": odd(b'"f":"\\udd12\\ud83d"'),
    "a key twice": odd(b'"f":1,"f":2'),
    "its array twice": odd(b'"value":[1],"value":[2]'),
    "NaN": odd(b'"f":NaN'),
    "infinities": odd(b'"f":[Infinity,-Infinity]'),
    "a number of 5,000 digits": odd(b'"f":' + b"9" * 5_000),
    "an exponent beyond all floats": odd(b'"f":1e999999'),
}
"""Records that no strict decoder takes, or that two would read differently; their id and time are plain."""

ODD = UNREADABLE | READABLE

SPACE = st.text(" \t\r\n", max_size=3).map(str.encode)
TEXT = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    ['"', "\\", '\\"', "[", "]}", "{", ",", '"value":[', "\\\\"]
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def alerts(draw):
    """Draw the bytes of one good record, with brackets and quotes where they mislead."""
    content = {
        "id": draw(st.text("abc019_-", min_size=1, max_size=8)),
        "lastUpdateTime": "2024-01-02T03:04:05Z",
        "more": draw(PLAIN),
    }
    return json.dumps(content, ensure_ascii=draw(st.booleans())).encode()


@st.composite
def bodies(draw):
    """Draw an answer with one odd record at a random place among good ones."""
    records = draw(st.lists(alerts(), max_size=5))
    at = draw(st.integers(0, len(records)))
    records.insert(at, ODD[draw(st.sampled_from([name for name in ODD if "100,000" not in name]))])
    members = [b'"value":[' + b",".join(_spaced(draw, record) for record in records) + b"]"]
    names = draw(st.sets(st.sampled_from(["@odata.context", "a", 'b"', "values"])))
    members += [f"{json.dumps(name)}:{json.dumps(draw(PLAIN))}".encode() for name in names]
    if draw(st.booleans()):
        # What is odd may be beside the records, too.
        members.append(b'"odd":NaN')
    members = draw(st.permutations(members))
    body = b"{" + b",".join(_spaced(draw, member) for member in members) + b"}"
    return _spaced(draw, body), records, at


def _spaced(draw, text):
    return draw(SPACE) + text + draw(SPACE)


def answer(*records, more=b""):
    return b'{"value":[' + b",".join(records) + b"]" + more + b"}"


@given(bodies())
def test_one_odd_record_anywhere_leaves_every_record_of_its_page_whole(drawn):
    body, records, at = drawn
    found = [read(raw) for raw in split(body)[0]]
    assert [record.raw for record in found] == records
    good = found[:at] + found[at + 1 :]
    assert all(isinstance(record, Alert) for record in good)
    assert [record.id for record in good] == [
        json.loads(raw)["id"] for raw in records[:at] + records[at + 1 :]
    ]


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_record_is_set_aside_whole_for_what_no_decoder_takes(name):
    (record,) = [read(raw) for raw in split(answer(UNREADABLE[name]))[0]]
    assert isinstance(record, Malformed)
    assert (record.raw, record.reason) == (UNREADABLE[name], "undecodable")


@pytest.mark.parametrize("name", READABLE)
def test_a_record_whose_id_and_time_are_plain_is_an_alert_for_all_its(name):
    (record,) = [read(raw) for raw in split(answer(READABLE[name]))[0]]
    assert isinstance(record, Alert)
    assert (record.raw, record.id) == (READABLE[name], "odd")


@pytest.mark.parametrize("name", ODD)
def test_an_odd_record_has_a_content_that_can_be_compared(name):
    assert content_of(ODD[name]) == content_of(bytes(ODD[name])) != content_of(ODD[name] + b" x")


def test_records_that_are_all_odd_are_all_kept():
    records = list(ODD.values())
    assert [bytes(raw) for raw in split(answer(*records))[0]] == records


@pytest.mark.parametrize(
    "cut",
    [
        b'{"id":"odd","f":[}',
        b'{"id":"odd","f":"no end}',
        b'{"id":"odd"',
        b'"id":"odd"}',
    ],
)
def test_a_record_whose_end_cannot_be_told_refuses_the_page_rather_than_guess(cut):
    good = b'{"id":"x",' + TIME + b"}"
    with pytest.raises(ValueError, match="not an object with an array"):
        split(answer(good, cut, good))


@pytest.mark.parametrize("name", ["NaN", "a broken escape"])
@pytest.mark.parametrize("first", [False, True])
def test_a_page_with_an_odd_record_still_tells_of_the_pages_after_it(name, first):
    link = "https://api.test/api/alerts?$skiptoken=a"
    named = b'"@odata.nextLink":' + json.dumps(link).replace("/", "\\/").encode()
    # Without its link a short page would be believed to be the last one.
    body = answer(ODD[name], more=b"," + named)
    if first:
        body = b"{" + named + b', "value":[' + ODD[name] + b"]}"
    records, found = split(body)
    assert ([bytes(raw) for raw in records], found) == ([ODD[name]], link)


def test_a_text_that_looks_like_a_link_is_none():
    named = b'"@odata.nextLink"'
    body = answer(odd(b'"f":NaN'), more=b',"a":' + named + b',"b":{' + named + b':"x"}')
    assert split(body)[1] is None

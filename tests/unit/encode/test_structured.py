"""The envelope is built around the raw alert, which comes out of it byte for byte."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.encode.cloudevents import CloudEvents
from ingest.encode.structured import StructuredCloudEvents
from ingest.model.instant import parse_instant
from ingest.model.memory import Kind, Reason, Verdict
from ingest.model.tenant import FeedKey, Tenant
from ingest.simulator.envelope import opened
from ingest.source.records import read, split

TENANT = Tenant(
    id="11111111-2222-3333-4444-555555555555",
    name='Bäcker "& Söhne" \\ GmbH',
    region="eu",
    labels=(("country", "de"), ("tier", "gold")),
)
ENCODERS = {
    encoder: encoder(tenant=TENANT, feed=FeedKey(TENANT.id))
    for encoder in (CloudEvents, StructuredCloudEvents)
}
HEAD = b'"id":"da1", "lastUpdateTime" : "2024-05-06T07:08:09.12Z"'


def verdict_of(raw: bytes, *, late=False, future=False, reason=Reason.NEW) -> Verdict:
    """Take a record as it comes out of the API's answer."""
    splitting = split(b'{"value":[' + raw + b"]}")
    with pytest.raises(StopIteration) as ended:
        while True:
            next(splitting)
    (record,), _ = ended.value.value
    return Verdict(read(record), reason, Kind.UPDATED, late=late, future=future)


blanks = st.text(" \t\r\n", max_size=3)
leaves = st.one_of(
    st.integers(),
    st.sampled_from(["1.0", "1E+2", "-0.0", "1e999", "true", "null", "12345678901234567890123"]),
    st.text().map(json.dumps),
    st.text().map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.sampled_from(['"\\/"', '"\\u00e4"', '"\\ud83d"', '"\\u2028"', '"}]"', '"\\""']),
).map(str)


@st.composite
def awkward(draw, depth=3):
    """Legal JSON as nobody would write it."""
    kind = draw(st.sampled_from(["leaf", "array", "object"])) if depth else "leaf"
    if kind == "leaf":
        return draw(leaves)
    inner = draw(st.lists(awkward(depth=depth - 1), max_size=4))
    if kind == "object":
        keys = (draw(st.text(max_size=5).map(json.dumps)) for _ in inner)
        inner = [f"{key}{draw(blanks)}:{one}" for key, one in zip(keys, inner, strict=True)]
    body = ",".join(f"{draw(blanks)}{one}{draw(blanks)}" for one in inner)
    return f"[{body}]" if kind == "array" else f"{{{body}}}"


@given(rest=awkward(), before=blanks, after=blanks)
@example(rest='"\\ud83d"', before="\n", after="")
def test_data_is_byte_for_byte_what_the_api_returned(rest, before, after):
    raw = b'{%b%b,"x":%b%b}' % (
        before.encode(),
        HEAD,
        rest.encode(errors="replace"),
        after.encode(),
    )
    verdict = verdict_of(raw)
    record = ENCODERS[StructuredCloudEvents].alert(verdict)
    attributes, data = opened(record.value)
    assert data == raw == ENCODERS[CloudEvents].alert(verdict).value
    assert b'"data":' + raw in record.value
    # It is one JSON document, and says what the headers say.
    assert json.loads(record.value, strict=False)["data"] == json.loads(raw, strict=False)
    told = {name[3:]: value.decode() for name, value in record.headers if name.startswith("ce_")}
    assert attributes == {**told, "datacontenttype": "application/json"}


@pytest.mark.parametrize(
    "rest",
    [b'"\xff\xfe"', b"NaN", b"-Infinity", b'"\xed\xa0\x80"', b'[{"path":"m\xe9t\xe9o"}]'],
)
def test_what_is_not_quite_json_makes_no_envelope_unreadable(rest):
    raw = b"{" + HEAD + b',"x":' + rest + b"}"
    value = ENCODERS[StructuredCloudEvents].alert(verdict_of(raw)).value
    document = json.loads(value.decode(), parse_constant=lambda _: pytest.fail("no JSON"))
    assert "data" not in document
    assert opened(value)[1] == raw


def test_an_envelope_is_written_like_this():
    raw = b'{ "id": "da1", "lastUpdateTime": "2024-05-06T07:08:09.12Z" }'
    verdict = verdict_of(raw, late=True, future=True)
    record = ENCODERS[StructuredCloudEvents].alert(verdict, "order1")
    assert record.value.decode() == (
        '{"specversion":"1.0","source":"/tenants/11111111-2222-3333-4444-555555555555/mde-alerts",'
        '"tenantid":"11111111-2222-3333-4444-555555555555",'
        '"tenantname":"Bäcker \\"& Söhne\\" \\\\ GmbH","feed":"mde-alerts",'
        '"labelcountry":"de","labeltier":"gold",'
        '"datacontenttype":"application/json","id":"da1/2024-05-06T07:08:09.1200000Z",'
        '"type":"defender.alert.updated.v1","time":"2024-05-06T07:08:09.1200000Z","subject":"da1",'
        '"version":"2024-05-06T07:08:09.1200000Z","late":"true","future":"true","replay":"order1",'
        '"data":{ "id": "da1", "lastUpdateTime": "2024-05-06T07:08:09.12Z" }}'
    )
    assert dict(record.headers)["content-type"] == b"application/cloudevents+json; charset=UTF-8"


def test_key_and_headers_are_those_of_the_raw_encoding_but_for_the_content_type():
    verdict = verdict_of(b"{" + HEAD + b"}", reason=Reason.SILENT)
    raw, structured = (encoder.alert(verdict, "o") for encoder in ENCODERS.values())
    assert structured.key == raw.key
    assert structured.topic is raw.topic
    assert [one for one in structured.headers if one[0] != "content-type"] == [
        one for one in raw.headers if one[0] != "content-type"
    ]


@given(identity=st.text(min_size=1, max_size=60).filter(str.isprintable))
def test_whatever_an_id_has_in_it_the_envelope_is_json_and_within_its_overhead(identity):
    raw = json.dumps({"id": identity, "lastUpdateTime": "2024-05-06T07:08:09Z"}).encode()
    encoder = ENCODERS[StructuredCloudEvents]
    record = encoder.alert(verdict_of(raw, late=True, future=True), "o" * 32)
    attributes, data = opened(record.value)
    assert (attributes["subject"], data) == (identity, raw)
    size = len(record.key) + len(record.value)
    size += sum(len(name) + len(value) + 8 for name, value in record.headers)
    assert size <= len(raw) + encoder.overhead


def test_the_time_of_an_envelope_is_the_alerts_own():
    verdict = verdict_of(b"{" + HEAD + b"}")
    assert verdict.alert.updated == parse_instant("2024-05-06T07:08:09.12Z")

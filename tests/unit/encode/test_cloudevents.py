import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.encode.cloudevents import CloudEvents
from ingest.model.alert import Alert, Malformed
from ingest.model.instant import parse_instant
from ingest.model.memory import Kind, Reason, Verdict
from ingest.model.tenant import FeedKey, Tenant
from ingest.pipeline.ports import Topic

TENANT = Tenant(
    id="11111111-2222-3333-4444-555555555555",
    name="Contoso Ltd",
    region="eu",
    labels=(("tier", "gold"),),
)
ENCODER = CloudEvents(tenant=TENANT, feed=FeedKey(TENANT.id))


def _verdict(*, reason=Reason.NEW, late=False, future=False, raw=b'{"id": "da1_-2"}'):
    alert = Alert(
        id="da1_-2",
        updated=parse_instant("2024-05-06T07:08:09.12Z"),
        created=0,
        resolved=False,
        raw=raw,
        digest=0xABCDEF,
    )
    return Verdict(alert, reason, Kind.CREATED, late=late, future=future)


def test_the_value_is_the_raw_alert():
    raw = b'{ "id":"da1_-2", "t\\u00edtle" : 1.0 }'
    assert ENCODER.alert(_verdict(raw=raw)).value is raw


def test_headers_tell_tenant_alert_version_and_event_without_parsing_the_value():
    record = ENCODER.alert(_verdict())
    assert record.topic is Topic.ALERTS
    assert record.key == b"11111111-2222-3333-4444-555555555555/da1_-2"
    assert dict(record.headers) == {
        "ce_specversion": b"1.0",
        "content-type": b"application/json",
        "ce_source": b"/tenants/11111111-2222-3333-4444-555555555555/mde-alerts",
        "ce_tenantid": TENANT.id.encode(),
        "ce_tenantname": b"Contoso Ltd",
        "ce_feed": b"mde-alerts",
        "ce_labeltier": b"gold",
        "ce_id": b"da1_-2/2024-05-06T07:08:09.1200000Z",
        "ce_type": b"defender.alert.created.v1",
        "ce_time": b"2024-05-06T07:08:09.1200000Z",
        "ce_subject": b"da1_-2",
        "ce_version": b"2024-05-06T07:08:09.1200000Z",
    }


def test_content_that_changed_without_its_time_has_an_id_of_its_own():
    plain, silent = ENCODER.alert(_verdict()), ENCODER.alert(_verdict(reason=Reason.SILENT))
    assert dict(plain.headers)["ce_id"] != dict(silent.headers)["ce_id"]
    assert dict(plain.headers)["ce_time"] == dict(silent.headers)["ce_time"]


@pytest.mark.parametrize("flag", ["late", "future"])
def test_what_is_late_or_from_the_future_is_flagged(flag):
    assert dict(ENCODER.alert(_verdict(**{flag: True})).headers)[f"ce_{flag}"] == b"true"
    assert f"ce_{flag}" not in dict(ENCODER.alert(_verdict()).headers)


@given(raw=st.binary(max_size=20_000), limit=st.integers(2_048, 9_000))
def test_quarantined_bytes_are_whole_in_numbered_parts_that_fit(raw, limit):
    parts = ENCODER.quarantine(Malformed(raw, "no_id", 5), "no_id", max_record_bytes=limit)
    assert b"".join(part.value for part in parts) == raw
    for number, part in enumerate(parts, start=1):
        headers = dict(part.headers)
        assert headers["ce_part"] == str(number).encode()
        assert headers["ce_parts"] == str(len(parts)).encode()
        assert headers["ce_reason"] == b"no_id"
        size = len(part.key) + len(part.value)
        assert size + sum(len(k) + len(v) for k, v in part.headers) <= limit


def test_headers_of_a_quarantined_alert_tell_whose_it_is_why_and_which():
    alert = _verdict().alert
    (record,) = ENCODER.quarantine(alert, "too_large", max_record_bytes=1_000_000)
    assert record.topic is Topic.QUARANTINE
    assert record.key == TENANT.id.encode()
    assert dict(record.headers) == {
        "ce_specversion": b"1.0",
        "content-type": b"application/octet-stream",
        "ce_source": b"/tenants/11111111-2222-3333-4444-555555555555/mde-alerts",
        "ce_tenantid": TENANT.id.encode(),
        "ce_tenantname": b"Contoso Ltd",
        "ce_feed": b"mde-alerts",
        "ce_labeltier": b"gold",
        "ce_id": b"0000000000abcdef",
        "ce_type": b"defender.quarantine.v1",
        "ce_reason": b"too_large",
        "ce_subject": b"da1_-2",
        "ce_time": b"2024-05-06T07:08:09.1200000Z",
        "ce_part": b"1",
        "ce_parts": b"1",
    }


def test_alerts_of_a_tenant_go_to_the_topic_that_they_are_routed_to_and_quarantine_stays():
    encoder = CloudEvents(tenant=TENANT, feed=FeedKey(TENANT.id), topic="defender.gold")
    assert encoder.alert(_verdict()).topic == "defender.gold"
    (record,) = encoder.quarantine(_verdict().alert, "x", max_record_bytes=9_000)
    assert record.topic is Topic.QUARANTINE


@given(name=st.text(min_size=1, max_size=200).filter(str.isprintable))
def test_parts_fit_whatever_the_tenant_is_called(name):
    labels = tuple((f"l{number:014}", "ö" * 100) for number in range(16))
    encoder = CloudEvents(tenant=Tenant(TENANT.id, name, "eu", labels), feed=FeedKey(TENANT.id))
    for part in encoder.quarantine(
        Malformed(b"x" * 30_000, "no_id", 5), "no_id", max_record_bytes=9_000
    ):
        size = len(part.key) + len(part.value)
        assert size + sum(len(k) + len(v) for k, v in part.headers) <= 9_000

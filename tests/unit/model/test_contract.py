"""The schemas say what the records are: every real one fits, and what lacks anything does not."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.encode.cloudevents import CloudEvents
from ingest.encode.structured import StructuredCloudEvents
from ingest.errors import Blame
from ingest.model.alert import Alert, Malformed
from ingest.model.contract import SHAPES, schema
from ingest.model.memory import Kind, Reason, Verdict
from ingest.model.report import encode_report
from ingest.model.roster import (
    Order,
    OrderKind,
    Origin,
    Registration,
    Standing,
    encode_registration,
)
from ingest.model.status import FeedStatus, Poll, State, Transition
from ingest.model.tenant import FeedKey, Tenant
from ingest.model.window import Tier
from tests.unit.settings.json_schema import mistakes

PAGE = Path(__file__).parents[3] / "docs" / "contract.md"
SCHEMAS = {name: json.loads(schema(name)) for name in SHAPES}
GUID = "11111111-2222-3333-4444-555555555555"
TENANT = Tenant(GUID, "Contoso", "eu", (("country", "de"), ("tier", "gold")))
FEED = FeedKey(GUID)
REQUIRED = {
    "tenant": "v name region standing origin by at why",
    "tenant-status": "v tenant feed name state code reason must_act since fresh_at reconciled_at watermark "
    "next_attempt remembered replica fresh_until",
    "alert": "ce_specversion ce_source ce_tenantid ce_tenantname ce_feed content-type ce_id ce_type ce_time "
    "ce_subject ce_version",
    "alert-envelope": "specversion source tenantid tenantname feed datacontenttype id type time subject "
    "version",
    "quarantine": "ce_specversion ce_source ce_tenantid ce_tenantname ce_feed content-type ce_id ce_type "
    "ce_reason ce_part ce_parts",
}
seconds = st.floats(0, 4e9)
maybe = st.none() | seconds
words = st.text(max_size=20)


def body(name):
    whole = SCHEMAS[name]
    return whole["$defs"][whole["$ref"].rpartition("/")[2]]


def fits(name, document):
    """Every member is described, and is as described; labels are whatever the operator calls them."""
    assert mistakes(SCHEMAS[name], document) == []
    unknown = document.keys() - body(name)["properties"].keys()
    assert {one for one in unknown if not one.removeprefix("ce_").startswith("label")} == set(), (
        f"not in the contract: describe it in ingest/model/contract.py and docs/contract.md: {unknown}"
    )


orders = st.none() | st.builds(
    Order,
    id=words,
    kind=st.sampled_from(OrderKind),
    since=st.none() | st.integers(0, 10**17),
    alert=st.none() | words,
)


@given(
    registration=st.builds(
        Registration,
        tenant=st.sampled_from([TENANT, Tenant(GUID, "x", "us")]),
        standing=st.sampled_from(Standing),
        origin=st.sampled_from(Origin),
        by=words,
        at=seconds,
        why=words,
        order=orders,
        invitation=st.none() | words,
    )
)
def test_every_record_of_the_tenants_topic_fits(registration):
    fits("tenant", json.loads(encode_registration(registration)))


@given(
    status=st.builds(
        FeedStatus,
        feed=st.just(FEED),
        name=words,
        state=st.sampled_from(State),
        code=words,
        reason=words,
        blame=st.sampled_from(Blame),
        since=seconds,
        next_attempt=maybe,
        fresh_at=maybe,
        reconciled_at=maybe,
        watermark=maybe,
        remembered=st.integers(0, 10**6),
        silent_since=maybe,
        looked_at=maybe,
        calls_left=st.none() | st.integers(0, 100),
        transitions=st.lists(
            st.builds(
                Transition,
                at=seconds,
                state=st.sampled_from(sorted(State)),
                code=words,
                must_act=st.sampled_from([blame.value for blame in Blame]),
            ),
            max_size=20,
        ).map(tuple),
        polls=st.lists(
            st.builds(
                Poll,
                at=seconds,
                tier=st.sampled_from(sorted(Tier)),
                outcome=words,
                seconds=seconds,
                received=st.integers(0, 9),
                published=st.integers(0, 9),
                calls=st.integers(0, 9),
            ),
            max_size=5,
        ).map(tuple),
    ),
    now=seconds,
)
def test_every_record_of_the_tenant_status_topic_fits(status, now):
    fits("tenant-status", json.loads(encode_report(status, replica="here:1", now=now)))


def told(record):
    return {name: value.decode() for name, value in record.headers}


@given(
    reason=st.sampled_from([Reason.NEW, Reason.CHANGED, Reason.SILENT]),
    kind=st.sampled_from(Kind),
    late=st.booleans(),
    future=st.booleans(),
    replay=st.none() | st.just("order1"),
    updated=st.integers(0, 10**17),
)
def test_headers_and_envelope_of_every_alert_fit(reason, kind, late, future, replay, updated):
    alert = Alert("da1", updated, 0, False, b'{"id":"da1"}', 7)
    verdict = Verdict(alert, reason, kind, late, future)
    raw = CloudEvents(tenant=TENANT, feed=FEED).alert(verdict, replay)
    structured = StructuredCloudEvents(tenant=TENANT, feed=FEED).alert(verdict, replay)
    fits("alert", told(raw))
    fits("alert", told(structured))
    fits("alert-envelope", json.loads(structured.value))


@pytest.mark.parametrize(
    "record",
    [
        Malformed(b"x" * 30_000, "no_id", 5),
        Malformed(b"", "undecodable", 5, updated=1),
        Alert("da1", 0, 0, False, b"{}", -1),
    ],
)
def test_headers_of_every_quarantined_record_fit(record):
    encoder = CloudEvents(tenant=TENANT, feed=FEED)
    for part in encoder.quarantine(record, "no_id", max_record_bytes=9_000):
        fits("quarantine", told(part))


@pytest.mark.parametrize("name", list(SHAPES))
def test_what_is_promised_to_be_there_always_stays_so(name):
    assert body(name)["required"] == REQUIRED[name].split()


def test_a_record_that_lacks_something_or_says_something_else_does_not_fit():
    status = FeedStatus(FEED, "x", State.HEALTHY, "", "", Blame.NOBODY, 0.0)
    document = json.loads(encode_report(status, replica="here", now=0.0))
    for key in REQUIRED["tenant-status"].split():
        assert mistakes(SCHEMAS["tenant-status"], {k: v for k, v in document.items() if k != key})
    for changes in ({"state": "fine"}, {"since": "2024-01-01"}, {"must_act": "them"}, {"v": 2}):
        assert mistakes(SCHEMAS["tenant-status"], document | changes)


@pytest.mark.parametrize("name", list(SHAPES))
def test_the_page_names_everything_that_a_record_has(name):
    text = PAGE.read_text()
    assert f"schemas/{name}.v1.json" in text
    assert [one for one in body(name)["properties"] if f"`{one}`" not in text] == []

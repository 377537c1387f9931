import hashlib
import itertools
import json
import re
from collections import Counter, defaultdict

import pytest

from ingest.simulator.content import MALFORMED_FORMS
from ingest.simulator.samples import elements
from ingest.simulator.times import read_instant


@pytest.fixture
def busy(make_caller):
    return make_caller(tenants=2, births_per_minute=120.0, version_seconds=10.0)


def _raws(answer):
    return [raw.encode() for raw in elements(answer.body.decode(), "value")]


def _versions(record):
    versions = defaultdict(list)
    for line in record:
        versions[line["tenant"], line["alert"]].append(line)
    return versions


def test_the_record_says_to_the_instant_which_bytes_a_query_returns(busy):
    rng_steps = (0.4, 3.1, 0.0, 7.7, 1.3)
    answers = []
    for step in itertools.islice(itertools.cycle(rng_steps), 60):
        busy.time.pass_by(step)
        answer = busy.get(expand="evidence")
        if answer.status == 401:
            busy.sign_in()
            answer = busy.get(expand="evidence")
        answers.append((busy.time.now, {hashlib.sha256(raw).hexdigest() for raw in _raws(answer)}))
    record = [line for line in busy.admin("record") if line["tenant"] == busy.tenant]
    for now, seen in answers:
        visible = {
            line["sha256"][0]
            for line in record
            if line["from"] <= now and (line["to"] is None or now < line["to"])
        }
        assert seen == visible


def test_what_happens_does_not_depend_on_who_asks_when(make_caller):
    plan = {"tenants": 2, "births_per_minute": 60.0, "version_seconds": 5.0}
    patient, eager = make_caller(**plan), make_caller(**plan)
    for _ in range(100):
        eager.time.pass_by(2.0)
        eager.admin("summary")
    patient.time.pass_by(200.0)

    def told(caller):
        return sorted((line["sha256"], line["from"], line["to"]) for line in caller.admin("record"))

    assert told(patient) == told(eager)


def test_another_seed_is_another_fleet(make_caller):
    assert (
        not make_caller(seed=1).cloud.customers.keys() & make_caller(seed=2).cloud.customers.keys()
    )


def test_versions_live_their_time_and_follow_one_another(busy):
    busy.time.pass_by(600)
    changed = 0
    for versions in _versions(busy.admin("record")).values():
        assert [line["version"] for line in versions] == list(range(len(versions)))
        for former, latter in itertools.pairwise(versions):
            changed += 1
            assert former["to"] == latter["from"]
            if former["version"] or former["from"] > busy.cloud.started:
                assert former["to"] - former["from"] >= 10.0
            if latter["silent"]:
                assert latter["updated"] == former["updated"]
            else:
                assert read_instant(latter["updated"]) > read_instant(former["updated"])
        assert versions[-1]["to"] is None
    assert changed > 200


def test_no_two_versions_have_the_same_bytes(busy):
    busy.time.pass_by(900)
    digests = Counter(digest for line in busy.admin("record") for digest in line["sha256"])
    assert len(digests) > 1500
    assert max(digests.values()) == 1


def test_times_have_all_widths_and_some_are_shared(busy):
    busy.time.pass_by(600)
    texts = [line["updated"] for line in busy.admin("record") if not line["silent"]]
    assert {len(text.partition(".")[2].rstrip("Z")) for text in texts} == set(range(8))
    shared = Counter((line["tenant"], line["updated"]) for line in busy.admin("record"))
    assert max(shared.values()) > 1


def test_no_time_is_ahead_of_the_moment_at_which_it_can_be_seen(busy):
    busy.time.pass_by(600)
    record = busy.admin("record")
    assert all(read_instant(line["updated"]) <= line["from"] * 10_000_000 + 1 for line in record)
    assert any(1 < line["late"] <= 21 for line in record if line["from"] > busy.cloud.started)
    assert any(line["silent"] for line in record)


def test_alerts_are_legal_json_that_decoding_and_encoding_would_change(make_caller):
    caller = make_caller(tenants=1, backlog=400)
    raws = _raws(caller.get(expand="evidence"))
    for raw in raws:
        alert = json.loads(raw)
        assert {"id", "lastUpdateTime", "alertCreationTime", "evidence", "title"} <= set(alert)
    sizes = sorted(len(raw) for raw in raws)
    assert sizes[0] > 900
    assert sizes[200] > 3_000
    assert sizes[-1] < 14_000
    compact = [json.dumps(json.loads(raw), separators=(",", ":")).encode() for raw in raws]
    assert sum(raw != plain for raw, plain in zip(raws, compact, strict=True)) > 200
    everything = b"".join(raws)
    for awkward in (b"\\u0069d", b"\\/", b" ,", b"\t:", "不審".encode(), b"\\u4e0d", b"E-3", b"\n"):
        assert awkward in everything, awkward
    orders = {tuple(json.loads(raw))[:3] for raw in raws}
    assert len(orders) >= 3


def test_an_alert_reads_the_same_at_every_reading(caller):
    assert _raws(caller.get(expand="evidence")) == _raws(caller.get(expand="evidence"))


def test_a_touch_changes_one_value_and_keeps_a_copy(caller):
    before = {json.loads(raw)["id"]: raw for raw in _raws(caller.get(expand="evidence"))}
    alert = min(before)
    caller.time.pass_by(5)
    told = caller.admin("touch", {"tenant": caller.tenant, "alert": alert})
    after = {json.loads(raw)["id"]: raw for raw in _raws(caller.get(expand="evidence"))}
    old, new = json.loads(before[alert]), json.loads(after[alert])
    assert new == old | {"lastUpdateTime": told["updated"]}
    assert read_instant(told["updated"]) == int(caller.time.now * 10_000_000)
    assert {key: raw for key, raw in after.items() if key != alert} == {
        key: raw for key, raw in before.items() if key != alert
    }
    former, latter = (line for line in caller.admin("record") if line["alert"] == alert)
    assert former["copy"].encode() == before[alert]
    assert former["to"] == latter["from"] == caller.time.now
    assert latter["sha256"] == [hashlib.sha256(after[alert]).hexdigest()]
    assert caller.page(top=1)[0]["id"] == alert


def test_touching_what_is_not_there_is_said(caller):
    assert caller.admin_answer("touch", {"tenant": caller.tenant, "alert": "x"}).status == 404
    assert caller.admin_answer("touch", {"alert": "x"}).status == 404


def test_bytes_without_evidence_are_in_the_record_once_they_were_served(caller):
    raws = _raws(caller.get())
    known = {digest for line in caller.admin("record") for digest in line["sha256"]}
    assert {hashlib.sha256(raw).hexdigest() for raw in raws} <= known


def test_after_a_freeze_nothing_happens(busy):
    busy.time.pass_by(60)
    busy.fault("http_5xx", "*", seconds=100)
    busy.admin("freeze", {})
    record = busy.admin("record")
    busy.time.pass_by(600)
    assert busy.admin("record") == record
    assert busy.get().status == 200
    assert busy.admin("summary")["frozen"] is True


def test_time_can_be_moved_on_and_the_record_stays_by_the_clock(busy):
    start = busy.time.now
    busy.admin("clock", {"offset_seconds": 120})
    record = [line for line in busy.admin("record") if line["from"] > start or line["version"]]
    assert busy.admin("summary")["alerts"] > 250
    assert all(line["from"] == start for line in record)
    busy.time.pass_by(1)
    born = [line for line in busy.admin("record") if line["from"] > start]
    assert all(start < line["from"] <= busy.time.now for line in born)
    assert any(line["version"] == 0 for line in born)
    fresh = [read_instant(line["updated"]) for line in born if not line["silent"]]
    assert min(fresh) > (start + 90) * 10_000_000


def test_an_alert_six_hours_late_is_visible_now_and_dated_then(caller):
    caller.fault("late", by=21_600.0)
    line = caller.admin("record")[-1]
    assert line["kind"] == "alert"
    assert line["from"] == caller.time.now
    assert 21_600 <= line["late"] < 21_602
    assert caller.faults() == {}
    assert line["alert"] in {alert["id"] for alert in caller.page()}
    caller.page()
    assert caller.faults() == {"late": 1}


def test_an_alert_of_the_year_9999_is_found_by_an_open_window_only(caller):
    caller.fault("year_9999")
    now = "2027-01-16T00:00:00Z"
    assert caller.page(filter=f"lastUpdateTime ge {now}")[0]["lastUpdateTime"].startswith("9999-12")
    closed = f"lastUpdateTime ge {now} and lastUpdateTime lt 2100-01-01T00:00:00Z"
    assert caller.page(filter=closed) == []
    assert caller.admin("record")[-1]["kind"] == "future"
    assert caller.faults() == {"year_9999": 1}


def test_a_huge_alert_is_above_a_brokers_limit_and_otherwise_an_alert(caller):
    caller.fault("huge")
    raw = max(_raws(caller.get(expand="evidence")), key=len)
    assert len(raw) > 1_048_588
    line = caller.admin("record")[-1]
    assert line["kind"] == "huge"
    assert line["sha256"] == [hashlib.sha256(raw).hexdigest()]
    assert json.loads(raw)["id"] == line["alert"]
    assert caller.faults() == {"huge": 1}


def test_malformed_records_are_legal_json_and_no_alerts(caller):
    caller.fault("malformed", count=len(MALFORMED_FORMS))
    lines = caller.admin("record")[-len(MALFORMED_FORMS) :]
    assert {line["kind"] for line in lines} == {"malformed"}
    by_digest = {
        hashlib.sha256(raw).hexdigest(): json.loads(raw)
        for raw in _raws(caller.get(expand="evidence"))
    }
    records = [by_digest[line["sha256"][0]] for line in lines]
    good = re.compile(r"[!-~]{1,256}")
    for record in records:
        fine = (
            isinstance(record, dict)
            and isinstance(record.get("id"), str)
            and good.fullmatch(record["id"])
            and isinstance(record.get("lastUpdateTime"), str)
            and record["lastUpdateTime"].startswith("20")
        )
        assert not fine
    assert len({line["alert"].partition(" ")[0] for line in lines}) == len(MALFORMED_FORMS)
    assert caller.faults() == {"malformed": len(MALFORMED_FORMS)}


def test_each_malformed_form_can_be_asked_for(caller):
    for form in MALFORMED_FORMS:
        caller.fault("malformed", record=form)
        assert caller.admin("record")[-1]["alert"].startswith(f"{form} ")

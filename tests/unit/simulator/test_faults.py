import gzip
import hashlib
import json
import random
from email.utils import parsedate_to_datetime

import pytest

from ingest.simulator.exchange import Pace
from ingest.simulator.faults import KINDS, FaultError, Script, load_script, read_script
from ingest.simulator.samples import elements
from ingest.simulator.times import read_instant


def _updated(caller, answer):
    return [read_instant(alert["lastUpdateTime"]) for alert in caller.content(answer)["value"]]


def test_a_429_in_seconds_lasts_as_long_as_it_says(caller):
    caller.get()
    caller.fault("throttle429", retry_after=7)
    answer = caller.get()
    assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
    caller.time.pass_by(4)
    assert caller.get().status == 429
    caller.time.pass_by(3)
    assert caller.get().status == 200
    assert caller.faults() == {"throttle429": 1}
    start = caller.time.now - 7
    assert caller.admin("outages") == {caller.tenant: [[start, start + 7]]}
    assert caller.admin("calls")[caller.tenant]["early"] == 1


def test_a_429_may_name_a_date(caller):
    caller.time.pass_by(0.7)
    caller.fault("throttle429", retry_after=5, form="http-date")
    answer = caller.get()
    date = parsedate_to_datetime(answer.headers["Retry-After"]).timestamp()
    assert caller.time.now + 5 <= date <= caller.time.now + 6
    caller.time.now = date
    assert caller.get().status == 200


def test_a_429_may_be_absurd_and_then_binds_nobody(caller):
    caller.fault("throttle429", form="absurd", count=8)
    said = {caller.get().headers["Retry-After"] for _ in range(8)}
    assert {"soon", "-5", ""} <= said
    assert caller.get().status == 200


def test_a_429_may_be_for_years(caller):
    caller.fault("throttle429", form="years")
    assert int(caller.get().headers["Retry-After"]) > 9 * 365 * 86_400
    caller.time.pass_by(3500)
    assert caller.get().status == 429


def test_answers_of_the_5xx_are_json_and_html(caller):
    caller.fault("http_5xx", count=4)
    answers = [caller.get() for _ in range(4)]
    assert {answer.status for answer in answers} == {500, 502, 503, 504}
    assert {answer.headers["Content-Type"].partition(";")[0] for answer in answers} == {
        "application/json",
        "text/html",
    }
    assert caller.get().status == 200


def test_failures_without_a_success_between_are_one_outage(caller):
    caller.get()
    caller.fault("http_5xx", count=2)
    start = caller.time.now
    for _ in range(3):
        caller.get()
        caller.time.pass_by(2)
    caller.fault("non_json")
    caller.get()
    assert caller.admin("outages") == {
        caller.tenant: [[start, start + 2], [start + 6, start + 6]],
    }


def test_a_fault_for_some_seconds_is_an_outage_to_its_end(caller):
    caller.get()
    caller.fault("http_5xx", seconds=30)
    caller.time.pass_by(10)
    assert caller.get().status >= 500
    start = caller.time.now
    caller.time.pass_by(20)
    assert caller.get().status == 200
    assert caller.admin("outages") == {caller.tenant: [[start, start + 20]]}


def test_a_fault_that_nobody_met_is_no_outage_and_does_not_count(caller):
    caller.get()
    caller.fault("http_5xx", seconds=5)
    caller.time.pass_by(6)
    assert caller.get().status == 200
    assert caller.admin("outages") == {}
    assert caller.faults() == {}


def test_a_freeze_ends_outages(caller):
    caller.get()
    caller.fault("throttle429", form="years")
    caller.get()
    start = caller.time.now
    caller.time.pass_by(9)
    caller.admin("freeze", {})
    assert caller.get().status == 200
    assert caller.admin("outages") == {caller.tenant: [[start, start + 9]]}


def test_an_answer_may_be_no_json(caller):
    caller.fault("non_json")
    answer = caller.get()
    assert answer.status == 200
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(answer.body)


def test_a_gzip_bomb_is_small_on_the_wire_and_legal(caller):
    caller.fault("gzip_bomb", bytes=8 * 1024 * 1024)
    answer = caller.get(gzip=True)
    assert len(answer.body) < 200_000
    assert answer.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(answer.body)) == {"value": []}
    assert len(caller.page()) == 40


def test_deep_nesting_is_beside_the_records(caller):
    whole = caller.content(caller.get(expand="evidence"))["value"]
    caller.fault("deep_nesting", depth=500)
    answer = caller.get(expand="evidence")
    assert b"[" * 500 in answer.body
    assert caller.content(answer)["value"] == whole
    assert caller.faults() == {"deep_nesting": 1}


@pytest.mark.parametrize(
    ("kind", "options", "pace"),
    [
        ("slow", {"delay": 4}, Pace(delay=4.0)),
        ("reset", {}, Pace(reset=True)),
    ],
)
def test_the_pace_of_an_answer_is_told_to_the_server(caller, kind, options, pace):
    caller.get()
    caller.fault(kind, **options)
    assert caller.get().pace == pace
    assert caller.get().pace is None
    assert caller.faults() == {kind: 1}


def test_a_cut_answer_ends_in_the_middle(caller):
    caller.fault("cut")
    answer = caller.get()
    assert 0 < answer.pace.cut_after < len(answer.body)


def test_a_trickled_answer_takes_its_time(caller):
    caller.fault("trickle", over=3)
    answer = caller.get()
    pieces = len(answer.body) / answer.pace.piece
    assert 2.5 < pieces * answer.pace.pause < 3.5
    assert "Content-Encoding" not in answer.headers


def test_a_slow_answer_is_an_outage_as_long_as_it_takes(caller):
    caller.get()
    caller.fault("slow", delay=4)
    caller.get()
    assert caller.admin("outages") == {caller.tenant: [[caller.time.now, caller.time.now + 4]]}


def test_the_order_of_a_page_may_be_any(caller):
    asked = {"orderby": "lastUpdateTime asc"}
    ascending = _updated(caller, caller.get(**asked))
    for kind in ("order_descending", "order_random", "order_ignored"):
        caller.fault(kind)
        times = _updated(caller, caller.get(**asked))
        assert times != ascending
        assert sorted(times) == ascending
        assert _updated(caller, caller.get(**asked)) == ascending
    assert caller.faults() == {"order_descending": 1, "order_random": 1, "order_ignored": 1}


def test_an_order_of_one_record_is_not_counted_as_a_fault(caller):
    caller.fault("order_random")
    caller.get(top=1)
    assert caller.faults() == {}


@pytest.mark.parametrize(
    "kind", ["page_cap", "no_next_link", "looping_next_link", "foreign_next_link"]
)
def test_a_capped_page_ends_with_whatever_link_the_fault_has(caller, kind):
    caller.fault(kind, cap=7, count=2)
    answer = caller.content(caller.get(top=100, skip=2))
    assert len(answer["value"]) == 7
    expected = {
        "page_cap": "https://api.test/api/alerts?$top=100&$skip=9",
        "no_next_link": None,
        "looping_next_link": "https://api.test/api/alerts?$top=100&$skip=2",
    }
    link = answer.get("@odata.nextLink")
    if kind == "foreign_next_link":
        assert link.startswith("https://")
        assert not link.startswith("https://api.test/")
    else:
        assert link == expected[kind]
    assert caller.faults() == {kind: 1}
    caller.page(top=5)
    assert caller.faults() == {kind: 1}


def test_pages_without_end_are_of_real_alerts_in_the_window_that_was_asked(caller):
    newest = read_instant(caller.page(top=1)[0]["lastUpdateTime"])
    start = "2027-01-15T08:00:00Z"
    assert newest < read_instant(start)
    window = f"lastUpdateTime ge 2027-01-15T00:00:00Z and lastUpdateTime lt {start}"
    caller.fault("endless_pages", records=4, count=3)
    seen = {}
    for skip in (0, 1000, 2000, 3000):
        answer = caller.get(filter=window, skip=skip, expand="evidence")
        for raw in elements(answer.body.decode(), "value"):
            seen[json.loads(raw)["id"]] = raw
        assert bool(caller.content(answer)["value"]) is (skip < 3000)
    made_up = [line for line in caller.admin("record") if line["alert"] in seen][-12:]
    assert all(
        hashlib.sha256(seen[line["alert"]].encode()).hexdigest() in line["sha256"]
        and line["kind"] == "alert"
        for line in made_up
    )
    now = {alert["id"] for alert in caller.page(filter=window)}
    assert {line["alert"] for line in made_up} <= now
    assert caller.faults() == {"endless_pages": 3}


def test_evidence_in_another_order_is_the_same_version_in_other_bytes(caller):
    before = {alert["id"]: alert for alert in caller.page()}
    versions = len(caller.admin("record"))
    caller.fault("shuffle", count=2)
    answer = caller.get(expand="evidence")
    changed = 0
    for raw in elements(answer.body.decode(), "value"):
        alert = json.loads(raw)
        former = before[alert["id"]]
        changed += alert["evidence"] != former["evidence"]
        assert sorted(map(repr, alert["evidence"])) == sorted(map(repr, former["evidence"]))
        line = next(line for line in caller.admin("record") if line["alert"] == alert["id"])
        assert hashlib.sha256(raw.encode()).hexdigest() in line["sha256"]
    assert changed > 3
    assert len(caller.admin("record")) == versions


def test_a_fault_for_all_tenants_is_one_for_each(caller):
    caller.fault("http_5xx", "*")
    for tenant in caller.cloud.customers:
        assert caller.get(tenant).status >= 500
        assert caller.get(tenant).status == 200
    assert caller.faults() == {"http_5xx": 3}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"tenant": "*", "kind": "plague"}, 400),
        ({"tenant": "*", "kind": "slow", "delai": 3}, 400),
        ({"tenant": "*", "kind": "slow", "delay": "long"}, 400),
        ({"tenant": "*", "kind": "slow", "count": 0}, 400),
        ({"tenant": "*", "kind": "slow", "seconds": True}, 400),
        ({"tenant": "*", "kind": "throttle429", "form": "morse"}, 400),
        ({"tenant": "*", "kind": "malformed", "record": "smudged"}, 400),
        ({"kind": "slow"}, 400),
        ({"tenant": "00000000-0000-0000-0000-000000000000", "kind": "slow"}, 404),
    ],
)
def test_a_fault_that_is_not_understood_is_refused_with_reasons(caller, body, status):
    answer = caller.admin_answer("faults", body)
    assert answer.status == status
    assert json.loads(answer.body)["error"]["message"]
    assert all(not customer.faults for customer in caller.cloud.customers.values())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "not YAML"),
        ("faults: {}", "a list"),
        ("fault: []", "'faults'"),
        ("faults: [3]", r"faults\[0\]: a mapping"),
        ("faults: [{kind: slow}, {kind: slwo}]", r"faults\[1\]: unknown kind 'slwo'"),
        ("faults: [{kind: slow, every: 0}]", "every"),
        ("faults: [{kind: slow, at: soon}]", "at must be a number"),
        ("faults: [{kind: slow, only: 3}]", "only"),
    ],
)
def test_a_script_that_is_not_understood_says_where(text, words):
    with pytest.raises(FaultError, match=words):
        read_script(text, "my.yaml")


def test_a_script_that_cannot_be_read_says_so(tmp_path):
    with pytest.raises(FaultError, match=r"missing\.yaml: cannot be read"):
        load_script(str(tmp_path / "missing.yaml"))


def test_a_script_strikes_whom_and_when_it_says():
    lines = read_script(
        "faults:\n"
        "- {kind: slow, at: 10, every: 5, times: 3, only: [0, -1]}\n"
        "- {kind: cut, at: 12, share: 0.5}\n"
        "- {kind: reset, at: 1, tenants: 2, every: 100}\n",
        "x",
    )
    fleet = ["a", "b", "c", "d"]
    script = Script(lines, 1000.0, random.Random(1))
    assert list(script.due(1000.5, fleet)) == []
    struck = list(script.due(1001.0, fleet))
    assert [fault["kind"] for _, fault in struck] == ["reset", "reset"]
    assert len({tenant for tenant, _ in struck}) == 2
    struck = list(script.due(1090.0, fleet))
    assert [tenant for tenant, fault in struck if fault["kind"] == "slow"] == ["a", "d"] * 3
    assert sum(fault["kind"] == "cut" for _, fault in struck) == 2


def test_the_default_script_serves_every_kind_at_least_three_times_a_minute(make_caller):
    """A plain reader of 200 tenants, every five seconds, retries nothing and meets them all."""
    caller = make_caller(tenants=200, births_per_minute=300.0, faults=tuple(load_script("default")))
    tenants = list(caller.cloud.customers)
    for tenant in tenants:
        caller.sign_in(tenant)
    for turn in range(12):
        for number, tenant in enumerate(tenants):
            wide = (turn + number) % 6 == 0
            window = "ge 2027-01-01T00:00:00Z" if wide else "ge 2027-01-15T07:55:00Z"
            answer = caller.get(tenant, filter=f"lastUpdateTime {window}", expand="evidence")
            if answer.status == 401:
                fresh = caller.token_answer(tenant)
                if fresh.status == 200 and fresh.body.startswith(b"{"):
                    caller.tokens[tenant] = json.loads(fresh.body)["access_token"]
            caller.time.pass_by(5 / len(tenants))
    counts = caller.faults()
    rare = {"roles_missing"}
    assert {kind for kind in KINDS if counts.get(kind, 0) < 3} == rare
    spans = [end - start for spans in caller.admin("outages").values() for start, end in spans]
    assert sum(span <= 10 for span in spans) > 0.95 * len(spans)


def test_a_tenant_that_is_healed_meets_nothing_that_waited_for_it(caller):
    caller.get()
    caller.fault("http_5xx", count=9)
    caller.fault("consent_revoked", seconds=600)
    other = next(one for one in caller.cloud.customers if one != caller.tenant)
    caller.fault("http_5xx", tenant=other)
    assert caller.admin("heal", {"tenant": caller.tenant}) == {"healed": caller.tenant}
    caller.sign_in()
    assert caller.get().status == 200
    # Another's are its own.
    assert caller.admin("summary")["faults_waiting"] == 1


def test_nobody_is_healed_who_is_not_there(caller):
    assert caller.admin_answer("heal", {"tenant": "x"}).status == 404

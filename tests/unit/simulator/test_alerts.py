import json
from email.utils import parsedate_to_datetime

import pytest

from ingest.simulator.times import read_instant


def _error(answer):
    error = json.loads(answer.body)["error"]
    assert set(error) == {"code", "message", "target"}
    return answer.status, error["code"]


def _updated(alert):
    return read_instant(alert["lastUpdateTime"])


def test_a_call_without_a_token_is_refused_with_a_challenge(caller):
    answer = caller.cloud.handle("GET", "/api/alerts", "", {"authorization": "Bearer x.y.z"})
    assert _error(answer) == (401, "Unauthorized")
    assert "invalid_token" in answer.headers["WWW-Authenticate"]


def test_a_tenant_sees_its_own_alerts_only(make_caller):
    caller = make_caller(tenants=2)
    first, second = caller.cloud.customers
    alerts = {tenant: {alert["id"] for alert in caller.page(tenant)} for tenant in (first, second)}
    assert len(alerts[first]) == len(alerts[second]) == 40
    assert not alerts[first] & alerts[second]
    assert {alert["aadTenantId"] for alert in caller.page(first)} == {first}


def test_the_newest_change_comes_first_unless_another_order_is_asked_for(caller):
    times = [_updated(alert) for alert in caller.page()]
    assert times == sorted(times, reverse=True)
    times = [_updated(alert) for alert in caller.page(orderby="lastUpdateTime asc")]
    assert times == sorted(times)
    created = [
        read_instant(alert["alertCreationTime"])
        for alert in caller.page(orderby="alertCreationTime desc")
    ]
    assert created == sorted(created, reverse=True)
    numbers = [alert["investigationId"] for alert in caller.page(orderby="InvestigationId")]
    assert numbers == sorted(numbers, key=lambda number: (number is not None, number or 0))


def test_pages_of_any_size_hold_every_alert_once(caller):
    everything = [alert["id"] for alert in caller.page()]
    for top in (1, 7, 39, 40, 41):
        found = []
        for skip in range(0, 41, top):
            found += [alert["id"] for alert in caller.page(top=top, skip=skip)]
        assert found == everything


@pytest.mark.parametrize("order", ["lastUpdateTime asc", "severity", "lastUpdateTime desc"])
def test_a_filter_finds_what_fits_and_nothing_else(caller, order):
    everything = caller.page()
    middle = sorted(alert["lastUpdateTime"] for alert in everything)[20]
    edge = read_instant(middle)
    text = f"lastUpdateTime ge {middle} and severity ne 'High'"
    found = {alert["id"] for alert in caller.page(filter=text, orderby=order)}
    fitting = {
        alert["id"]
        for alert in everything
        if _updated(alert) >= edge and alert["severity"] != "High"
    }
    assert found == fitting
    assert 0 < len(found) < 40


def test_evidence_comes_only_where_it_is_asked_for(caller):
    bare = {alert["id"]: alert for alert in caller.page(expand="evidence") if alert["evidence"]}
    assert bare
    answer = caller.content(caller.get())
    assert all(alert["evidence"] == [] for alert in answer["value"])


def test_a_page_that_is_cut_offers_a_next_link_to_some_tenants_and_none_to_others(make_caller):
    caller = make_caller(tenants=20)
    offered = 0
    for tenant in caller.cloud.customers:
        link = caller.content(caller.get(tenant, top=30)).get("@odata.nextLink")
        if link is not None:
            offered += 1
            assert link.startswith("https://api.test/api/alerts?")
            rest = caller.content(caller.get(tenant, query=link.partition("?")[2]))
            assert len(rest["value"]) == 10
            assert "@odata.nextLink" not in rest
    assert 0 < offered < 20


def test_a_page_cap_is_below_the_asked_size_and_says_nothing(make_caller):
    caller = make_caller(page_cap=25)
    assert len(caller.page(top=10_000)) == 25
    assert len(caller.page(top=10_000, skip=25)) == 15


def test_a_query_that_is_not_understood_is_a_400_in_the_envelope(caller):
    assert _error(caller.get(top=10_001)) == (400, "BadRequest")
    assert _error(caller.get(filter="title eq 'x'")) == (400, "BadRequest")


def test_other_paths_and_methods_are_refused(caller):
    caller.sign_in()
    headers = {"authorization": f"Bearer {caller.tokens[caller.tenant]}"}
    assert _error(caller.cloud.handle("GET", "/api/machines", "", headers))[0] == 404
    assert _error(caller.cloud.handle("POST", "/api/alerts", "", headers))[0] == 405
    assert caller.cloud.handle("GET", "/api/v1.0/alerts", "", headers).status == 200


def test_answers_carry_the_clouds_own_date(caller):
    caller.admin("clock", {"offset_seconds": -90})
    caller.sign_in()
    date = parsedate_to_datetime(caller.get().headers["Date"]).timestamp()
    assert date == caller.time.now - 90


def test_answers_are_compressed_for_those_who_take_it(caller):
    plain = caller.get(expand="evidence")
    small = caller.get(expand="evidence", gzip=True)
    assert "Content-Encoding" not in plain.headers
    assert small.headers["Content-Encoding"] == "gzip"
    assert len(small.body) < len(plain.body) / 2
    assert caller.content(small) == caller.content(plain)


def test_the_hundred_and_first_call_in_a_minute_is_told_when_to_come_again(caller):
    for _ in range(100):
        assert caller.get(top=1).status == 200
        caller.time.pass_by(0.1)
    answer = caller.get(top=1)
    assert _error(answer) == (429, "TooManyRequests")
    wait = int(answer.headers["Retry-After"])
    caller.time.pass_by(wait - 1.5)
    assert caller.get(top=1).status == 429
    caller.time.pass_by(1.5)
    assert caller.get(top=1).status == 200
    assert caller.admin("outages") == {}


def test_the_hour_has_a_limit_of_its_own(caller):
    for _ in range(1500):
        assert caller.get(top=1).status == 200
        caller.time.pass_by(1.0)
    answer = caller.get(top=1)
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) == 3600 - 1500
    calls = caller.admin("calls")[caller.tenant]
    assert calls["total"] == 1501
    assert calls["max_60s"] == 60
    assert calls["max_3600s"] == 1501
    assert calls["status"] == {"200": 1500, "429": 1}


def test_limits_are_per_tenant_and_can_be_switched_off(make_caller):
    caller = make_caller(limits=False)
    assert all(caller.get(top=1).status == 200 for _ in range(200))
    caller = make_caller()
    first, second, _ = caller.cloud.customers
    assert [caller.get(first, top=1).status for _ in range(101)][-1] == 429
    assert caller.get(second, top=1).status == 200

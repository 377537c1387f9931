import json
from pathlib import Path

import pytest

from ingest.simulator.samples import SamplesError, elements, load_answers


def _raws(body):
    return [raw.encode() for raw in elements(body.decode(), "value")]


@pytest.fixture
def recorded(make_caller, samples):
    return make_caller(answers=tuple(load_answers(samples)))


def test_recorded_answers_are_served_unchanged_one_after_another(recorded, samples):
    files = sorted(samples.glob("mde_*.json"))
    assert len(files) == 4
    for file in files:
        assert recorded.get(expand="evidence").body == file.read_bytes()


def test_after_the_last_answer_every_alert_is_there_in_its_own_bytes(recorded, samples):
    files = [file.read_bytes() for file in sorted(samples.glob("mde_*.json"))]
    for _ in files:
        recorded.get(expand="evidence")
    everything = {raw for body in files for raw in _raws(body)}
    assert len(everything) == 5
    assert set(_raws(recorded.get(expand="evidence").body)) == everything
    late = recorded.page(filter="lastUpdateTime ge 2020-01-01T00:00:00Z")
    assert {alert["lastUpdateTime"] for alert in late} == {
        "2020-07-20T10:53:50.19Z",
        "2021-01-26T20:33:59.2Z",
    }


def test_a_page_beyond_the_first_shows_what_was_served_so_far(recorded):
    assert recorded.page(skip=1) == []
    assert len(recorded.page()) == 2
    assert len(recorded.page(skip=1)) == 1
    assert recorded.page(skip=2) == []


def test_there_is_one_tenant_and_it_is_the_one_that_the_alerts_name(recorded):
    assert list(recorded.cloud.customers) == ["a839b112-1253-6432-9bf6-94542403f21c"]


def test_a_touched_alert_differs_in_one_value_and_is_new(recorded):
    for _ in range(4):
        recorded.get()
    before = {json.loads(raw)["id"]: raw for raw in _raws(recorded.get().body)}
    alert = "da637029414680409372_735564929"
    told = recorded.admin("touch", {"tenant": recorded.tenant, "alert": alert})
    now = recorded.get(filter="lastUpdateTime ge 2027-01-15T00:00:00Z")
    (raw,) = _raws(now.body)
    assert raw == before[alert].replace(b"2019-09-01T13:31:08.57Z", told["updated"].encode())
    former = next(line for line in recorded.admin("record") if "copy" in line)
    assert former["copy"].encode() == before[alert]


def test_an_answer_does_not_bring_a_touched_alert_back(recorded):
    recorded.get()
    recorded.get()
    alert = "da637029414680409372_735564929"
    recorded.admin("touch", {"tenant": recorded.tenant, "alert": alert})
    for _ in range(3):
        times = {found["id"]: found["lastUpdateTime"] for found in recorded.page()}
        assert times[alert].startswith("2027-")


def test_the_record_has_each_recorded_alert_once(recorded):
    for _ in range(6):
        recorded.get()
    record = recorded.admin("record")
    assert len(record) == 5
    assert all(line["to"] is None and line["version"] == 0 for line in record)


def test_answers_that_somebody_else_recorded_are_served_unchanged_too(tmp_path, make_caller):
    alert = {"id": "a", "lastUpdateTime": "2024-01-02T03:04:05Z", "alertCreationTime": None}
    alert["alertCreationTime"] = alert["lastUpdateTime"]
    for number, spaces in enumerate((None, 2), 1):
        body = json.dumps(
            {"value": [alert | {"title": f"é {number}", "id": f"a{number}"}]}, indent=spaces
        )
        (tmp_path / f"mde_{number}.json").write_text(body)
    caller = make_caller(answers=tuple(load_answers(tmp_path)))
    for file in sorted(tmp_path.glob("mde_*.json")):
        assert caller.get(expand="evidence").body == file.read_bytes()
    everything = {raw for file in tmp_path.iterdir() for raw in _raws(file.read_bytes())}
    assert set(_raws(caller.get(expand="evidence").body)) == everything


def test_elements_are_cut_out_as_they_stand():
    text = ' { "a" : [1, "]"] ,\n"value":[ {"x": "}" } ,3 ,\t"é\\u00e9", [ ] ], "z": {} } '
    assert elements(text, "value") == ['{"x": "}" }', "3", '"é\\u00e9"', "[ ]"]
    assert elements('{"value":[]}', "value") == []


@pytest.mark.parametrize("text", ["[]", "{}", '{"value": 3}', '{"value": [1 2]}', '{"value":[', ""])
def test_what_is_no_answer_is_refused(text):
    with pytest.raises((ValueError, IndexError)):
        elements(text, "value")


@pytest.mark.parametrize("body", ["", "[]", '{"value": [', '{"value": [3]}', '{"value": [{}]}'])
def test_a_folder_with_something_else_is_refused_by_name(tmp_path, body):
    (tmp_path / "mde_x.json").write_text(body)
    with pytest.raises(SamplesError, match=r"mde_x\.json"):
        load_answers(tmp_path)


def test_a_folder_without_answers_is_refused(tmp_path):
    with pytest.raises(SamplesError, match="no mde_"):
        load_answers(Path(tmp_path))


def test_an_answer_is_json(recorded):
    assert "value" in recorded.content(recorded.get())

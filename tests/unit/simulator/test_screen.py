"""What the demo prints."""

import json

from ingest.simulator.audit import Observed, Where
from ingest.simulator.screen import Gauges, Screen, _samples

TENANT = "11111111-2222-3333-4444-555555555555"


def alert(
    title: str = "Suspicious", *, timestamp: float = 1_800_000_010.0, **headers: str
) -> Observed:
    headers = {"ce_type": "defender.alert.created.v1"} | headers
    return Observed(
        where=Where.ALERTS,
        partition=0,
        offset=0,
        key=f"{TENANT}/a".encode(),
        value=json.dumps({"severity": "High", "title": title}).encode(),
        headers=[(name, value.encode()) for name, value in headers.items()],
        timestamp=timestamp,
    )


def screen() -> tuple[Screen, list[str]]:
    said: list[str] = []
    return Screen(names={TENANT: "Contoso"}, since=1_800_000_000.0, say=said.append), said


def test_an_alert_is_one_line_with_tenant_severity_kind_and_title() -> None:
    shown, said = screen()
    shown.show([alert()])
    assert said[0].split()[1:] == ["Contoso", "High", "created", "Suspicious"]


def test_what_an_alert_says_cannot_steer_the_terminal() -> None:
    shown, said = screen()
    shown.show([alert("\x1b[2Jgone\nfake line\r")])
    assert all(letter.isprintable() for letter in said[0])
    assert len(said) == 1


def test_many_alerts_at_once_are_sampled_and_counted() -> None:
    shown, said = screen()
    shown.show([alert()] * 12)
    assert len(said) == 6
    assert "and 7 more" in said[-1]
    assert "12 in Kafka" in shown.summary(None, behind=0)


def test_a_value_that_is_no_alert_is_shown_all_the_same() -> None:
    shown, said = screen()
    for value in (b"\xff", b"[]"):
        shown.show([Observed(Where.ALERTS, 0, 0, b"x", value, [])])
    assert len(said) == 2


def test_a_part_in_quarantine_is_shown_with_its_reason() -> None:
    shown, said = screen()
    headers = [("ce_part", b"2"), ("ce_parts", b"3"), ("ce_reason", b"too_large")]
    shown.show([Observed(Where.QUARANTINE, 0, 0, TENANT.encode(), b"x" * 1234, headers)])
    assert "1,234 bytes, part 2 of 3: too_large" in said[0]
    assert "0 in Kafka" in shown.summary(None, behind=0)


def test_the_lag_is_the_median_of_alerts_of_this_run_that_were_not_late() -> None:
    shown, _ = screen()
    shown.show(
        [
            alert(ce_time="2027-01-15T08:00:08.0000000Z"),
            alert(ce_time="2027-01-15T08:00:01.0000000Z", ce_late="true"),
            alert(ce_time="9999-01-15T08:00:01.0000000Z", ce_future="true"),
            alert(ce_time="2027-01-15T07:00:00.0000000Z"),
            alert(ce_time="nonsense"),
        ]
    )
    assert "lag 2.0 s" in shown.summary(None, behind=0)
    assert "lag -" in shown.summary(None, behind=0)


def test_the_summary_says_what_the_daemon_says() -> None:
    shown, _ = screen()
    line = shown.summary(Gauges(190, 200, 1234, 6.4), behind=3)
    assert "190/200 tenants healthy, 1,234 duplicates suppressed, oldest reading 6 s" in line
    assert "3 unread" in line
    assert "does not answer" in shown.summary(None, behind=0)


def test_metrics_are_read_with_their_labels() -> None:
    text = '# HELP x y\n# TYPE x gauge\nx{state="a b"} 3.0\ny_total 1e+06\n'
    assert _samples(text) == {'x{state="a b"}': 3.0, "y_total": 1e6}


def test_a_daemon_that_does_not_answer_has_no_gauges() -> None:
    assert Gauges.ask("http://127.0.0.1:9") is None

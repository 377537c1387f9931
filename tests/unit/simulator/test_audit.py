"""The audit can fail: each way of breaking a pipeline is counted as what it is."""

import hashlib
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from ingest.simulator.audit import Audit, Observed, Where
from ingest.simulator.verdict import FAULTS, Verdict

TENANT = "11111111-2222-3333-4444-555555555555"
OTHER = "99999999-2222-3333-4444-555555555555"
PARTITIONS = 6


def raw(alert: str, version: int) -> bytes:
    return f'{{ "id": "{alert}", "version": {version} }}'.encode()


class Scene:
    """A simulator's record and a topic, each as the test wants them."""

    def __init__(self, poll_interval: float = 10) -> None:
        self.audit = Audit(poll_interval=poll_interval, partitions=PARTITIONS)
        self._offsets = 0

    def serve(
        self,
        alert: str | None = "a",
        version: int = 0,
        *,
        tenant: str = TENANT,
        span: tuple[float, float | None] = (0.0, None),
        bodies: list[bytes] | None = None,
        kind: str = "alert",
    ) -> None:
        bodies = bodies or [raw(alert or "", version)]
        self.audit.expect(
            {
                "tenant": tenant,
                "alert": alert,
                "version": version,
                "updated": "2026-01-01T00:00:00Z",
                "sha256": [hashlib.sha256(body).hexdigest() for body in bodies],
                "from": span[0],
                "to": span[1],
                "kind": kind,
            }
        )

    def publish(
        self,
        alert: str = "a",
        version: int = 0,
        *,
        tenant: str = TENANT,
        value: bytes | None = None,
        partition: int | None = None,
        source: str | None = None,
        key: bytes | None = None,
        at: float = 0.0,
    ) -> None:
        key = key or f"{tenant}/{alert}".encode()
        self._offsets += 1
        self.audit.saw(
            Observed(
                where=Where.ALERTS,
                partition=zlib.crc32(key) % PARTITIONS if partition is None else partition,
                offset=self._offsets,
                key=key,
                value=raw(alert, version) if value is None else value,
                headers=[("ce_source", (source or f"/tenants/{tenant}/mde-alerts").encode())],
                timestamp=at,
            )
        )

    def quarantine(
        self, value: bytes, *, part: int = 1, parts: int = 1, name: str = "1", tenant: str = TENANT
    ) -> None:
        self._offsets += 1
        self.audit.saw(
            Observed(
                where=Where.QUARANTINE,
                partition=0,
                offset=self._offsets,
                key=tenant.encode(),
                value=value,
                headers=[
                    ("ce_source", f"/tenants/{tenant}/mde-alerts".encode()),
                    ("ce_id", name.encode()),
                    ("ce_part", str(part).encode()),
                    ("ce_parts", str(parts).encode()),
                ],
            )
        )


def faults(verdict: Verdict) -> dict[str, int]:
    return {name: count for name, count in verdict.faults.items() if count}


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_perfect_run_is_clean_and_says_so(scene: Scene) -> None:
    scene.serve("a", 0, span=(0, 50))
    scene.serve("a", 1)
    scene.serve("b", 0)
    scene.serve(None, 0, bodies=[b"{}"], kind="malformed")
    for alert, version in (("b", 0), ("a", 0), ("a", 1)):
        scene.publish(alert, version)
    scene.quarantine(b"{}")
    verdict = scene.audit.verdict()
    assert verdict.line == (
        "audit: expected=4 published=3 quarantined=1 excused=0 "
        "lost=0 twice=0 disordered=0 altered=0 misquarantined=0"
    )
    assert (verdict.exit_code, verdict.report()) == (0, [])


def test_an_audit_of_nothing_fails(scene: Scene) -> None:
    verdict = scene.audit.verdict()
    assert verdict.exit_code == 1
    assert verdict.report()


def test_a_version_that_is_current_at_the_end_must_be_there(scene: Scene) -> None:
    scene.serve(span=(1_000_000, None))
    assert faults(scene.audit.verdict()) == {"lost": 1}
    assert scene.audit.missing() == 1


def test_a_version_that_was_visible_for_longer_than_a_poll_must_be_there(scene: Scene) -> None:
    scene.serve(span=(100, 110.5))
    assert faults(scene.audit.verdict()) == {"lost": 1}


def test_a_version_that_was_visible_for_less_than_a_poll_is_excused(scene: Scene) -> None:
    scene.serve(span=(100, 109.5))
    verdict = scene.audit.verdict()
    assert (faults(verdict), verdict.excused) == ({}, 1)


@pytest.mark.parametrize(
    ("outages", "lost"),
    [
        ([(100, 105)], 1),
        ([(90, 105)], 1),
        ([(102, 108), (104, 112)], 0),
        ([(102, 104), (106, 112)], 1),
        ([(0, 50), (200, 250)], 1),
        ([(105, None)], 0),
    ],
)
def test_only_outages_while_it_was_visible_excuse_a_version(
    scene: Scene, outages: list[tuple[float, float | None]], lost: int
) -> None:
    scene.serve(span=(100, 119))
    scene.audit.excuse({TENANT: outages, OTHER: [(0, None)]})
    verdict = scene.audit.verdict()
    assert (verdict.faults["lost"], verdict.excused) == (lost, 1 - lost)


def test_an_outage_of_all_and_one_of_the_tenant_count_once(scene: Scene) -> None:
    scene.serve(span=(100, 119))
    scene.audit.excuse({TENANT: [(100, 105)], "*": [(100, 105)]})
    assert scene.audit.verdict().faults["lost"] == 1


def test_no_outage_excuses_what_is_current_at_the_end(scene: Scene) -> None:
    scene.serve(span=(100, None))
    scene.audit.excuse({TENANT: [(0, None)]})
    assert scene.audit.verdict().faults["lost"] == 1


@pytest.mark.parametrize(
    ("span", "absences", "expected", "lost"),
    [
        pytest.param((100, 150), [(0, 160)], 0, 0, id="gone before the tenant was added"),
        pytest.param((100, 150), [(0, 145)], 0, 0, id="gone within a poll of it"),
        pytest.param((100, 150), [(0, 120)], 1, 1, id="there for long after it was added"),
        pytest.param((100, None), [(0, 120)], 1, 1, id="still there after it was added"),
        pytest.param((100, None), [(90, None)], 0, 0, id="came after the tenant was removed"),
        pytest.param((100, None), [(105, None)], 0, 0, id="came within a poll of it"),
        pytest.param((100, None), [(150, None)], 1, 1, id="came long before it was removed"),
        pytest.param((100, 200), [(50, 130), (138, None)], 0, 0, id="there for less than a poll"),
        pytest.param((100, 200), [(0, 90), (210, None)], 1, 1, id="absent at other times"),
    ],
)
def test_what_could_be_read_only_while_its_tenant_was_none_is_not_expected(
    scene: Scene,
    span: tuple[float, float | None],
    absences: list[tuple[float, float | None]],
    expected: int,
    lost: int,
) -> None:
    scene.serve(span=span)
    scene.audit.absent({TENANT: absences, OTHER: [(0, None)]})
    verdict = scene.audit.verdict()
    assert (verdict.expected, verdict.excused, faults(verdict)) == (
        expected,
        0,
        {"lost": 1} if lost else {},
    )


def test_outages_and_absences_add_up(scene: Scene) -> None:
    scene.serve(span=(100, 150))
    scene.audit.absent({TENANT: [(0, 120)]})
    scene.audit.excuse({"*": [(125, 145)]})
    verdict = scene.audit.verdict()
    assert (verdict.expected, verdict.excused, faults(verdict)) == (0, 0, {})


def test_what_is_there_though_its_tenant_was_none_is_judged_as_all_else(scene: Scene) -> None:
    scene.serve(span=(100, None))
    scene.audit.absent({TENANT: [(0, None)]})
    scene.publish()
    scene.publish()
    verdict = scene.audit.verdict()
    assert (verdict.expected, faults(verdict)) == (1, {"twice": 1})


def test_nothing_is_missing_of_a_tenant_that_is_none_now(scene: Scene) -> None:
    scene.serve("a")
    scene.serve("b", tenant=OTHER)
    scene.audit.absent({TENANT: [(50, None)], OTHER: [(0, 40)]})
    assert scene.audit.missing() == 1


@pytest.mark.parametrize(("excused", "exit_code"), [(2, 0), (3, 1)])
def test_more_than_two_percent_excused_fail_the_run(
    scene: Scene, excused: int, exit_code: int
) -> None:
    for number in range(100 - excused):
        scene.serve(f"seen-{number}")
        scene.publish(f"seen-{number}")
    for number in range(excused):
        scene.serve(f"missed-{number}", span=(0, 5))
    verdict = scene.audit.verdict()
    assert (verdict.excused, faults(verdict), verdict.exit_code) == (excused, {}, exit_code)
    assert bool(verdict.report()) == bool(exit_code)


def test_a_version_that_is_there_twice_is_counted(scene: Scene) -> None:
    scene.serve()
    for _ in range(3):
        scene.publish()
    verdict = scene.audit.verdict()
    assert (faults(verdict), verdict.published) == ({"twice": 2}, 1)


def test_two_ways_of_writing_one_version_are_one_version(scene: Scene) -> None:
    scene.serve(bodies=[b'{"id":"a","e":[1,2]}', b'{"e":[2,1],"id":"a"}'])
    scene.publish(value=b'{"id":"a","e":[1,2]}')
    assert scene.audit.verdict().clean
    scene.publish(value=b'{"e":[2,1],"id":"a"}')
    assert faults(scene.audit.verdict()) == {"twice": 1}


def test_an_older_version_after_a_newer_one_is_out_of_order(scene: Scene) -> None:
    for version in range(4):
        scene.serve(version=version, span=(0, 50))
    for version in (0, 2, 1, 3):
        scene.publish(version=version)
    assert faults(scene.audit.verdict()) == {"disordered": 1}


def test_a_newest_version_that_came_first_disorders_all_others(scene: Scene) -> None:
    for version in range(4):
        scene.serve(version=version, span=(0, 50))
    for version in (3, 0, 1, 2):
        scene.publish(version=version)
    assert faults(scene.audit.verdict()) == {"disordered": 3}


def test_bytes_that_were_never_served_are_altered(scene: Scene) -> None:
    scene.serve()
    scene.publish(value=raw("a", 0).replace(b" ", b""))
    assert faults(scene.audit.verdict()) == {"altered": 1, "lost": 1}


def test_one_tenants_bytes_under_anothers_key_are_altered(scene: Scene) -> None:
    scene.serve(tenant=TENANT)
    scene.serve("b", tenant=OTHER)
    scene.publish("b", tenant=OTHER)
    scene.publish(tenant=OTHER)
    assert faults(scene.audit.verdict()) == {"altered": 1, "lost": 1}


def test_the_same_bytes_in_two_tenants_are_two_versions(scene: Scene) -> None:
    for tenant in (TENANT, OTHER):
        scene.serve(tenant=tenant)
    scene.publish(tenant=TENANT)
    assert faults(scene.audit.verdict()) == {"lost": 1}
    scene.publish(tenant=OTHER)
    assert scene.audit.verdict().clean


def test_a_good_alert_in_quarantine_is_misquarantined(scene: Scene) -> None:
    scene.serve()
    scene.serve("f", kind="future")
    scene.quarantine(raw("a", 0))
    scene.quarantine(raw("f", 0), name="2")
    verdict = scene.audit.verdict()
    assert (faults(verdict), verdict.quarantined) == ({"misquarantined": 2}, 2)


def test_a_malformed_record_among_the_alerts_is_misquarantined(scene: Scene) -> None:
    scene.serve(None, bodies=[b"[]"], kind="malformed")
    scene.publish("", value=b"[]")
    assert faults(scene.audit.verdict()) == {"misquarantined": 1}


def test_a_malformed_record_twice_in_quarantine_is_counted(scene: Scene) -> None:
    scene.serve(None, bodies=[b"[]"], kind="malformed")
    scene.quarantine(b"[]")
    scene.quarantine(b"[]")
    assert faults(scene.audit.verdict()) == {"twice": 1}


def test_a_malformed_record_that_is_nowhere_is_lost(scene: Scene) -> None:
    scene.serve(None, bodies=[b"[]"], kind="malformed")
    assert faults(scene.audit.verdict()) == {"lost": 1}


def test_malformed_records_with_one_id_are_told_apart_by_their_bytes(scene: Scene) -> None:
    for body in (b"[1]", b"[2]"):
        scene.serve("a", bodies=[body], kind="malformed")
        scene.quarantine(body, name=body.decode())
    verdict = scene.audit.verdict()
    assert (verdict.quarantined, verdict.clean) == (2, True)


def test_a_huge_record_is_whole_once_its_parts_are_together(scene: Scene) -> None:
    body = b"x" * 30
    scene.serve(bodies=[body], kind="huge")
    for part in (1, 2, 3):
        assert scene.audit.missing() == 1
        scene.quarantine(body[:10], part=part, parts=3)
    verdict = scene.audit.verdict()
    assert (verdict.quarantined, verdict.clean) == (1, True)


def test_parts_of_two_records_may_lie_between_each_other(scene: Scene) -> None:
    for name in ("a", "b"):
        scene.serve(name, bodies=[2 * name.encode()], kind="huge")
    for part in (1, 2):
        for name in ("a", "b"):
            scene.quarantine(name.encode(), part=part, parts=2, name=name)
    assert scene.audit.verdict().clean


@pytest.mark.parametrize("parts", [(1, 2), (2, 3), (1, 3), (3, 2, 1)])
def test_a_huge_record_with_a_part_missing_is_altered_and_lost(
    scene: Scene, parts: tuple[int, ...]
) -> None:
    scene.serve(bodies=[b"123"], kind="huge")
    for part in parts:
        scene.quarantine(str(part).encode(), part=part, parts=3)
    found = faults(scene.audit.verdict())
    assert found.pop("altered") >= 1
    assert found == {"lost": 1}


def test_a_huge_record_that_the_broker_took_is_published(scene: Scene) -> None:
    scene.serve(bodies=[b"123"], kind="huge")
    scene.publish(value=b"123")
    assert scene.audit.verdict().clean


def test_a_huge_record_in_both_topics_is_there_twice(scene: Scene) -> None:
    scene.serve(bodies=[b"123"], kind="huge")
    scene.publish(value=b"123")
    scene.quarantine(b"123")
    assert faults(scene.audit.verdict()) == {"twice": 1}


def test_a_quarantined_record_that_does_not_say_its_part_is_altered(scene: Scene) -> None:
    scene.serve(None, bodies=[b"[]"], kind="malformed")
    scene.audit.saw(
        Observed(Where.QUARANTINE, partition=0, offset=0, key=b"k", value=b"[]", headers=[])
    )
    assert faults(scene.audit.verdict()) == {"altered": 1, "lost": 1}


@pytest.mark.parametrize(
    "misplace",
    [
        lambda scene: scene.publish(key=f"{TENANT}/b".encode()),
        lambda scene: scene.publish(partition=(zlib.crc32(f"{TENANT}/a".encode()) + 1) % 6),
        lambda scene: scene.publish(source=f"/tenants/{OTHER}/mde-alerts"),
    ],
    ids=["key", "partition", "source"],
)
def test_a_record_with_a_wrong_key_partition_or_source_fails_the_run(
    scene: Scene, misplace: Callable[[Scene], None]
) -> None:
    scene.serve()
    misplace(scene)
    verdict = scene.audit.verdict()
    assert (faults(verdict), verdict.exit_code) == ({"misplaced": 1}, 1)
    assert verdict.report()


def test_what_is_seen_before_it_is_expected_is_recognised_later(scene: Scene) -> None:
    scene.publish()
    scene.publish()
    scene.serve()
    assert scene.audit.missing() == 0
    assert faults(scene.audit.verdict()) == {"twice": 1}


def test_a_later_line_of_a_version_closes_it_and_adds_its_spellings(scene: Scene) -> None:
    scene.serve(span=(0, None))
    scene.serve(span=(0, 5), bodies=[raw("a", 0), b"other"])
    assert (scene.audit.missing(), scene.audit.verdict().excused) == (0, 1)
    scene.publish(value=b"other")
    assert scene.audit.verdict().published == 1


def test_two_versions_with_the_same_bytes_cannot_be_judged(scene: Scene) -> None:
    scene.serve(version=0, bodies=[b"same"])
    with pytest.raises(ValueError, match="same bytes"):
        scene.serve(version=1, bodies=[b"same"])


def test_every_fault_is_told_with_tenant_and_alert_up_to_twenty(scene: Scene) -> None:
    for number in range(30):
        scene.serve(f"alert-{number}")
    verdict = scene.audit.verdict()
    assert verdict.faults["lost"] == 30
    assert len(verdict.report()) == 20
    assert TENANT in verdict.report()[0]
    assert "alert-0" in verdict.report()[0]


def test_what_is_expected_is_somewhere(scene: Scene) -> None:
    numbers: dict[str, Any] = {}
    for number in range(10):
        scene.serve(f"alert-{number}", span=(0, 5 if number < 3 else None))
        if number > 5:
            scene.publish(f"alert-{number}")
    verdict = scene.audit.verdict()
    numbers = dict(pair.split("=") for pair in verdict.line.split()[1:])
    assert int(numbers["expected"]) == sum(
        int(numbers[name]) for name in ("published", "quarantined", "excused", "lost")
    )
    assert set(numbers) > set(FAULTS)


def envelope(data: bytes, **attributes: str) -> bytes:
    told = {"source": f"/tenants/{TENANT}/mde-alerts", "datacontenttype": "application/json"}
    members = [
        json.dumps(name) + ":" + json.dumps(value) for name, value in (told | attributes).items()
    ]
    return b"{" + ",".join(members).encode() + b', "data" :' + data + b"}"


def structured(scene: Scene, value: bytes) -> None:
    key = f"{TENANT}/a".encode()
    headers = [
        ("content-type", b"application/cloudevents+json; charset=UTF-8"),
        ("ce_source", f"/tenants/{TENANT}/mde-alerts".encode()),
    ]
    partition = zlib.crc32(key) % PARTITIONS
    scene.audit.saw(Observed(Where.ALERTS, partition, 1, key, value, headers))


def test_of_an_envelope_the_data_is_judged(scene: Scene) -> None:
    scene.serve("a", 0)
    structured(scene, envelope(raw("a", 0)))
    assert scene.audit.verdict().clean


@pytest.mark.parametrize(
    "value",
    [
        envelope(raw("a", 0).replace(b" ", b"")),
        envelope(raw("a", 0), source="/tenants/another/mde-alerts"),
        envelope(raw("a", 0), late="true"),
        envelope(raw("a", 0))[:-1],
        envelope(raw("a", 0)) + b" x",
        envelope(raw("a", 0), data_base64="IQ=="),
        raw("a", 0),
    ],
)
def test_an_envelope_that_is_not_as_promised_is_altered(scene: Scene, value: bytes) -> None:
    scene.serve("a", 0)
    structured(scene, value)
    assert scene.audit.verdict().faults["altered"] >= 1


def repeated(scene: Scene, *published: tuple[str, float], kills: tuple[float, ...]) -> Verdict:
    """Serve what is published, publish it at these times, and judge with these kills."""
    for alert in sorted({name for name, _ in published}):
        scene.serve(alert)
    for alert, at in published:
        scene.publish(alert, at=at)
    scene.audit.killed(kills)
    return scene.audit.verdict()


def test_what_a_kill_cut_off_from_its_checkpoint_may_be_there_again(scene: Scene) -> None:
    verdict = repeated(scene, ("a", 10), ("b", 20), ("b", 30), ("c", 30), kills=(25,))
    assert (faults(verdict), verdict.repeated, verdict.exit_code) == ({}, 1, 0)
    assert verdict.report() == []


def test_what_was_cut_off_twice_may_be_there_three_times(scene: Scene) -> None:
    verdict = repeated(scene, ("a", 10), ("a", 20), ("a", 30), kills=(15, 25))
    assert (faults(verdict), verdict.repeated) == ({}, 2)


@pytest.mark.parametrize("kills", [(), (5,), (35,)], ids=["no kill", "before it", "after both"])
def test_a_repeat_that_no_kill_explains_is_twice(scene: Scene, kills: tuple[float, ...]) -> None:
    verdict = repeated(scene, ("a", 10), ("a", 30), kills=kills)
    assert (faults(verdict), verdict.repeated) == ({"twice": 1}, 0)


def test_a_repeat_of_what_was_followed_by_another_commit_before_the_kill_is_twice(
    scene: Scene,
) -> None:
    verdict = repeated(scene, ("a", 10), ("b", 20), ("a", 30), kills=(25,))
    assert (faults(verdict), verdict.repeated) == ({"twice": 1}, 0)

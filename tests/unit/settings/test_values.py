"""What a value may be: frozen, strict, finite, and never against a law."""

import pytest
from pydantic import ValidationError

from ingest.settings.models import Settings


def test_settings_are_frozen(desk):
    settings = desk.load()
    for section, key in (("kafka", "prefix"), ("poll", "interval_seconds"), ("entra", "client_id")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(getattr(settings, section), key, "x")
    with pytest.raises(ValidationError, match="frozen"):
        settings.kafka = None


def test_no_default_is_against_its_own_rule(desk):
    # Each section is checked again as if it had been written down.
    settings = desk.load()
    for section in ("source", "poll", "listen", "metrics", "logs", "shutdown", "kafka"):
        written = getattr(settings, section)
        assert type(written).model_validate(written.model_dump()) == written


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("listen", "port", True),
        ("listen", "port", "9464"),
        ("listen", "port", 9464.0),
        ("poll", "interval_seconds", True),
        ("poll", "interval_seconds", "60"),
        ("metrics", "tenants", "on"),
        ("metrics", "tenants", 1),
        ("kafka", "create_topics", "yes"),
    ],
)
def test_a_value_of_another_kind_is_not_taken_for_the_one_meant(desk, section, key, value):
    (problem,) = desk.problems({section: {key: value}})
    assert problem.startswith(f"FILE: {section}.{key}: ")


def test_a_whole_number_of_seconds_is_a_number_of_seconds(desk):
    assert desk.load({"poll": {"interval_seconds": 5}}).poll.interval_seconds == 5.0


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("poll", "interval_seconds"),
        ("poll", "reconcile_look_back_seconds"),
        ("poll", "first_look_back_seconds"),
        ("source", "timeout_seconds"),
        ("shutdown", "grace_seconds"),
    ],
)
@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_seconds_without_end_are_refused(desk, section, key, number):
    (problem,) = desk.problems({section: {key: number}})
    assert problem.startswith(f"FILE: {section}.{key}: ")


def test_a_look_back_before_all_calendars_is_refused(desk):
    # Such a window could not even be written as a query.
    (problem,) = desk.problems({"poll": {"first_look_back_seconds": 1e12}})
    assert problem.startswith("FILE: poll.first_look_back_seconds: ")


@pytest.mark.parametrize(("overlap", "look_back"), [(301, 300), (1, 0), (86_401, None)])
def test_an_overlap_beyond_the_reach_of_memory_is_refused(desk, overlap, look_back):
    changes = {"overlap_seconds": overlap, "reconcile_look_back_seconds": look_back}
    (problem,) = desk.problems({"poll": {k: v for k, v in changes.items() if v is not None}})
    assert problem.startswith("FILE: poll")
    assert "overlap_seconds" in problem
    assert "reconcile_look_back_seconds" in problem


@pytest.mark.parametrize(("overlap", "look_back"), [(300, 300), (0, 0), (0, 1)])
def test_an_overlap_within_the_reach_of_memory_is_taken(desk, overlap, look_back):
    changes = {"overlap_seconds": overlap, "reconcile_look_back_seconds": look_back}
    assert desk.load({"poll": changes}).poll.overlap_seconds == overlap


def test_a_pair_that_does_not_fit_is_found_beside_another_mistake_of_its_section(desk):
    problems = desk.problems({"poll": {"interval_seconds": 0, "overlap_seconds": 90_000}})
    assert len(problems) == 2


def test_memory_that_one_large_answer_would_fill_is_refused_with_the_remedy(desk):
    (problem,) = desk.problems({"source": {"page_bytes": 1_000_000, "memory_bytes": 1_999_999}})
    assert problem.startswith("FILE: source.memory_bytes: ")
    assert "lower page_bytes" in problem
    assert desk.load({"source": {"page_bytes": 1_000_000, "memory_bytes": 2_000_000}})


@pytest.mark.parametrize(
    "server", ["", "kafka-1", "kafka-1:", "kafka-1:port", ":9092", "kafka-1:99999", "a:1,b:2", 9092]
)
def test_a_broker_that_is_no_host_and_port_is_refused(desk, server):
    (problem,) = desk.problems({"kafka": {"bootstrap_servers": ["kafka-1:9092", server]}})
    assert problem.startswith("FILE: kafka.bootstrap_servers[1]: ")


@pytest.mark.parametrize("server", ["kafka-1:9092", "127.0.0.1:1", "[::1]:9092", "a.b-c.d:65535"])
def test_a_broker_that_is_a_host_and_port_is_taken(desk, server):
    assert desk.load({"kafka": {"bootstrap_servers": [server]}})


@pytest.mark.parametrize("agent", ["", "a\nb", "a\r\nX-Header: b", "naïve"])
def test_a_user_agent_that_no_header_can_hold_is_refused(desk, agent):
    (problem,) = desk.problems({"source": {"user_agent": agent}})
    assert problem.startswith("FILE: source.user_agent: ")


def test_settings_know_their_tenants_by_value(desk):
    assert desk.load() == desk.load()
    assert isinstance(desk.load(), Settings)


def test_transactions_are_idempotent_and_to_do_without_is_for_at_least_once(desk):
    (problem,) = desk.problems({"kafka": {"idempotence": False}})
    assert problem == "FILE: kafka.idempotence: must be true for delivery: exactly_once"
    kafka = {"delivery": "at_least_once", "idempotence": False, "request_bytes": 1_000_000}
    assert desk.load({"kafka": kafka}).kafka.idempotence is False
    (problem,) = desk.problems({"kafka": {"request_bytes": 1_000_000}})
    assert problem == "FILE: kafka.request_bytes: is for delivery: at_least_once"

"""Our own credential: when one refusal is one tenant's oddity, and when it is the secret."""

import os
from dataclasses import dataclass

import pytest
import structlog

from ingest.errors import CredentialRejected, SettingsError
from ingest.identity.credential import Credential, read_secret
from ingest.settings.models import Entra

CLIENT = "00000000-aaaa-bbbb-cccc-000000000000"
FIRST, SECOND, THIRD = "tenant-1", "tenant-2", "tenant-3"


@dataclass
class Time:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "secret"
    path.write_text("the first secret\n")
    return path


@pytest.fixture
def credential(file, time, ledger):
    return Credential(
        settings=Entra(client_id=CLIENT, client_secret_file=file),
        monotonic=time,
        metrics=ledger,
        log=structlog.get_logger(),
    )


def refuse(credential, *tenants, reason="secret_expired"):
    for tenant in tenants:
        credential.refused(tenant, CredentialRejected("the secret has expired", reason=reason))


def test_one_tenants_refusal_stops_nobody_however_often_it_comes(credential, ledger):
    refuse(credential, *[FIRST] * 20)
    assert credential.take() == "the first secret"
    assert ledger.rejected() == 0


def test_a_second_tenants_refusal_stops_everybody_and_is_told_once(credential, ledger, events):
    refuse(credential, FIRST, SECOND, THIRD)
    with pytest.raises(CredentialRejected) as refusal:
        credential.take()
    assert refusal.value.reason == "secret_expired"
    assert "entra.client_secret_file" in str(refusal.value)
    assert ledger.rejected() == 1
    assert [event["event"] for event in events] == ["credential_rejected"]


def test_a_success_between_two_refusals_says_that_they_are_two_oddities(credential):
    refuse(credential, FIRST)
    credential.accepted()
    refuse(credential, SECOND)
    assert credential.take()


def test_a_minute_after_the_confirmation_one_probe_may_pass_and_then_one_each_minute(
    credential, time
):
    refuse(credential, FIRST, SECOND)
    passed = []
    for second in range(200):
        time.now = 1000.0 + second
        try:
            credential.take()
        except CredentialRejected:
            continue
        passed.append(second)
        refuse(credential, THIRD)
    assert passed == [60, 120, 180]


def test_a_probe_that_is_accepted_opens_the_way_for_everybody(credential, time, ledger, events):
    refuse(credential, FIRST, SECOND)
    time.now += 60
    credential.take()
    credential.accepted()
    assert [credential.take() for _ in range(3)] == ["the first secret"] * 3
    assert ledger.rejected() == 0
    assert [event["event"] for event in events] == ["credential_rejected", "credential_accepted"]


def test_after_an_accepted_probe_two_new_refusals_are_needed(credential, time):
    refuse(credential, FIRST, SECOND)
    time.now += 60
    credential.take()
    credential.accepted()
    refuse(credential, FIRST)
    assert credential.take()
    refuse(credential, SECOND, reason="bad_secret")
    with pytest.raises(CredentialRejected) as refusal:
        credential.take()
    assert refusal.value.reason == "bad_secret"


def test_a_probe_that_nobody_answered_leaves_the_way_shut(credential, time):
    refuse(credential, FIRST, SECOND)
    time.now += 60
    credential.take()
    time.now += 59
    with pytest.raises(CredentialRejected):
        credential.take()


def test_another_secret_in_the_file_is_taken_at_once_and_opens_the_way(
    credential, file, ledger, events
):
    refuse(credential, FIRST, SECOND)
    file.write_text("another secret\n")
    assert credential.take() == "another secret"
    assert ledger.rejected() == 0
    assert events[-1]["event"] == "credential_reloaded"
    assert "another secret" not in repr(events)
    refuse(credential, FIRST)
    assert credential.take() == "another secret"


def test_a_file_put_in_the_place_of_the_old_one_is_seen_though_size_and_time_are_the_same(
    credential, file, tmp_path
):
    before = file.stat()
    other = tmp_path / "next"
    other.write_text("the other secret")
    other.write_text("the first secreT\n")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)
    assert credential.take() == "the first secreT"


def test_a_file_written_again_with_the_same_secret_opens_nothing(credential, file, events):
    refuse(credential, FIRST, SECOND)
    file.write_text("  the first secret\n\n")
    with pytest.raises(CredentialRejected):
        credential.take()
    assert [event["event"] for event in events] == ["credential_rejected"]


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe\xff"])
def test_a_file_that_is_away_or_empty_for_a_moment_leaves_the_known_secret(
    credential, file, content
):
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    assert credential.take() == "the first secret"
    file.write_text("the next secret")
    assert credential.take() == "the next secret"


def test_a_secret_given_as_a_value_is_used_as_it_is(time, ledger):
    credential = Credential(
        settings=Entra(client_id=CLIENT, client_secret=" kept as written "),
        monotonic=time,
        metrics=ledger,
        log=structlog.get_logger(),
    )
    assert credential.take() == " kept as written "


def test_white_space_around_the_secret_in_a_file_is_ignored(tmp_path):
    path = tmp_path / "secret"
    path.write_text("\r\n  hush hush \t\n")
    assert read_secret(path) == "hush hush"


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), (b" \n", "is empty"), (b"\xff\xfe", "it is not text")],
)
def test_a_secret_file_that_will_not_do_is_named_with_its_key(tmp_path, content, words):
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError) as refusal:
        read_secret(path)
    (problem,) = refusal.value.problems
    assert problem.startswith(f"entra.client_secret_file: {path} ")
    assert words in problem

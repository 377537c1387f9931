"""Our own credential: when one refusal is one tenant's oddity, and when it is the secret."""

from dataclasses import dataclass

import pytest
import structlog

from ingest.errors import CredentialRejected
from ingest.identity.credential import Credential
from ingest.identity.keeper import Keeper
from ingest.identity.proof import Secret
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
    settings = Entra(client_id=CLIENT, client_secret_file=file)
    log = structlog.get_logger()
    keeper = Keeper(settings=settings, log=log)
    return Credential(keeper=keeper, monotonic=time, metrics=ledger, log=log)


def refuse(credential, *tenants, reason="secret_expired"):
    """Let these refuse it, in turn; return whether the last one confirmed it."""
    confirmed = False
    for tenant in tenants:
        error = CredentialRejected("the secret has expired", reason=reason)
        confirmed = credential.refused(tenant, error)
    return confirmed


def test_one_tenants_refusal_stops_nobody_however_often_it_comes(credential, ledger):
    assert not refuse(credential, *[FIRST] * 20)
    assert credential.take() == Secret("the first secret")
    assert ledger.rejected() == 0


def test_a_second_tenants_refusal_stops_everybody_and_is_told_once(credential, ledger, events):
    assert refuse(credential, FIRST, SECOND, THIRD)
    with pytest.raises(CredentialRejected) as refusal:
        credential.take()
    assert refusal.value.reason == "secret_expired"
    assert refusal.value.is_confirmed
    assert "entra.client_secret_file" in str(refusal.value)
    assert ledger.rejected() == 1
    assert [event["event"] for event in events] == ["credential_rejected"]


def test_a_success_between_two_refusals_says_that_they_are_two_oddities(credential):
    refuse(credential, FIRST)
    credential.accepted(credential._proof)
    refuse(credential, SECOND)
    assert credential.take()


def test_after_the_confirmation_probes_pass_ever_more_rarely_as_each_is_refused(credential, time):
    refuse(credential, FIRST, SECOND)
    passed = []
    for second in range(3 * 3600):
        time.now = 1000.0 + second
        try:
            credential.take()
        except CredentialRejected:
            continue
        passed.append(second)
        refuse(credential, THIRD)
    assert passed[:6] == [60, 180, 420, 900, 1800, 2700]
    assert len([second for second in passed if second < 3600]) == 6


def test_a_probe_without_an_answer_says_nothing_and_the_next_one_is_a_minute_later(
    credential, time
):
    refuse(credential, FIRST, SECOND)
    for minute in (1, 2, 3):
        time.now = 1000.0 + 60 * minute
        assert credential.take()


def test_refusals_that_were_under_way_make_no_probe_rarer(credential, time):
    refuse(credential, FIRST, SECOND, *[f"tenant {number}" for number in range(50)])
    time.now += 60
    assert credential.take()


def test_until_it_is_proven_two_may_show_it_at_once_and_after_a_refusal_again(credential, file):
    assert credential.at_once == 2
    credential.accepted(credential.take())
    assert credential.at_once is None
    refuse(credential, FIRST)
    assert credential.at_once == 2
    credential.accepted(credential.take())
    file.write_text("another secret")
    former, _ = credential._proof, credential.take()
    assert credential.at_once == 2
    # What a former one was good for proves nothing.
    credential.accepted(former)
    assert credential.at_once == 2


def test_a_probe_that_is_accepted_opens_the_way_for_everybody(credential, time, ledger, events):
    refuse(credential, FIRST, SECOND)
    time.now += 60
    credential.take()
    credential.accepted(credential._proof)
    assert [credential.take() for _ in range(3)] == [Secret("the first secret")] * 3
    assert ledger.rejected() == 0
    assert [event["event"] for event in events] == ["credential_rejected", "credential_accepted"]


def test_after_an_accepted_probe_two_new_refusals_are_needed(credential, time):
    refuse(credential, FIRST, SECOND)
    time.now += 60
    credential.take()
    credential.accepted(credential._proof)
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
    assert credential.take() == Secret("another secret")
    assert ledger.rejected() == 0
    assert [event["event"] for event in events] == ["credential_rejected", "credential_reloaded"]
    assert "another secret" not in repr(events)
    refuse(credential, FIRST)
    assert credential.take() == Secret("another secret")


def test_a_file_written_again_with_the_same_secret_opens_nothing(credential, file, events):
    refuse(credential, FIRST, SECOND)
    file.write_text("  the first secret\n\n")
    with pytest.raises(CredentialRejected):
        credential.take()
    assert [event["event"] for event in events] == ["credential_rejected"]


def test_a_credential_that_was_exchanged_has_a_successor_and_another_has_none(credential, file):
    former = credential.take()
    assert credential.successor(former) is None
    file.write_text("another secret\n")
    assert credential.successor(former) == Secret("another secret")

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
    for tenant in tenants:
        credential.refused(tenant, CredentialRejected("the secret has expired", reason=reason))


def test_one_tenants_refusal_stops_nobody_however_often_it_comes(credential, ledger):
    refuse(credential, *[FIRST] * 20)
    assert credential.take() == Secret("the first secret")
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
    assert [credential.take() for _ in range(3)] == [Secret("the first secret")] * 3
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

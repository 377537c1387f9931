"""The end of our own credential: known where it can be, told in time, and not all the time."""

import datetime as dt
from dataclasses import dataclass

import pytest
import structlog

from ingest.identity.expiry import Expiry
from ingest.identity.keeper import Keeper
from ingest.settings.models import Entra
from ingest.simulator.credentials import as_pem, federated_token, make_certificate

CLIENT = "00000000-aaaa-bbbb-cccc-000000000000"
DAY = 86_400.0
BEGIN = dt.datetime(2027, 1, 1, tzinfo=dt.UTC)


@dataclass
class Time:
    now: float = BEGIN.timestamp()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def watch(time, ledger):
    def made(**named):
        log = structlog.get_logger()
        settings = Entra(client_id=CLIENT, **named)
        return Expiry(
            keeper=Keeper(settings=settings, log=log),
            warn_days=settings.expiry_warning_days,
            unix=time,
            metrics=ledger,
            log=log,
        )

    return made


def warnings(events):
    return [event["warning"] for event in events if event["event"] == "credential_expires"]


def test_a_secret_ends_at_the_beginning_of_the_day_that_the_operator_states(
    watch, time, ledger, events
):
    expiry = watch(client_secret="hush", client_secret_expires=dt.date(2027, 2, 10))
    expiry.look()
    assert ledger.ends("secret") == BEGIN.timestamp() + 40 * DAY
    assert warnings(events) == []
    time.now += 10 * DAY
    expiry.look()
    assert warnings(events) == [
        (
            "the application's secret expires in 30 days, at 2027-02-10T00:00:00.0000000Z: renew "
            "entra.client_secret"
        )
    ]


def test_it_is_told_once_a_day_and_past_its_end_too(watch, time, events):
    expiry = watch(client_secret="hush", client_secret_expires=dt.date(2027, 1, 3))
    for _ in range(4 * 24):
        expiry.look()
        time.now += DAY / 24
    assert [words[:38] for words in warnings(events)] == [
        "the application's secret expires in 2 ",
        "the application's secret expires in 1 ",
        "the application's secret expired at 20",
        "the application's secret expired at 20",
    ]


def test_a_secret_of_which_nobody_stated_an_end_has_none(watch, ledger, events):
    expiry = watch(client_secret="hush")
    expiry.look()
    assert ledger.ends("secret") is None
    assert expiry.status(is_rejected=False).ends is None
    assert events == []


def test_what_was_stated_of_a_secret_is_not_true_of_the_one_that_follows(
    watch, tmp_path, ledger, events
):
    file = tmp_path / "secret"
    file.write_text("the first")
    expiry = watch(client_secret_file=file, client_secret_expires=dt.date(2027, 1, 3))
    expiry.look()
    assert len(warnings(events)) == 1
    file.write_text("the second")
    expiry.look()
    assert ledger.ends("secret") is None
    assert len(warnings(events)) == 1


def test_a_certificates_end_is_read_from_it_and_a_new_one_ends_the_warning(
    watch, tmp_path, ledger, events
):
    file = tmp_path / "both.pem"
    file.write_bytes(as_pem(*make_certificate(days=10, now=BEGIN)))
    expiry = watch(certificate_file=file)
    expiry.look()
    assert ledger.ends("certificate") == BEGIN.timestamp() + 10 * DAY
    assert len(warnings(events)) == 1
    assert expiry.status(is_rejected=True).is_rejected
    file.write_bytes(as_pem(*make_certificate(days=365, now=BEGIN)))
    expiry.look()
    assert ledger.ends("certificate") == BEGIN.timestamp() + 365 * DAY
    assert len(warnings(events)) == 1


def test_a_federated_token_is_told_of_only_when_nobody_renews_it(watch, tmp_path, time, events):
    key, _ = make_certificate()
    file = tmp_path / "token"
    file.write_text(federated_token(key, now=time.now))
    expiry = watch(federated_token_file=file)
    time.now += 3599
    expiry.look()
    assert warnings(events) == []
    time.now += 1
    expiry.look()
    assert len(warnings(events)) == 1

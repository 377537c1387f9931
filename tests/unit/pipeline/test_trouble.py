"""Every code of Entra ID, and every answer of the API: the state, the reason and who must act."""

import pytest

from ingest.errors import (
    AnswerTooLarge,
    Blame,
    CheckpointUnreadable,
    SinkUnavailable,
    SourceUnavailable,
    TenantRejected,
)
from ingest.identity.refusals import refusal
from ingest.model.status import State
from ingest.model.tenant import Tenant
from ingest.pipeline.trouble import trouble_of

TENANT = Tenant("11111111-1111-1111-1111-111111111111", "Contoso", "commercial")
PARKED, FAILING, THROTTLED = State.PARKED, State.FAILING, State.THROTTLED
US, CUSTOMER, MICROSOFT, NOBODY = Blame.US, Blame.CUSTOMER, Blame.MICROSOFT, Blame.NOBODY

CODES = {
    (PARKED, "not_consented", CUSTOMER): (700016, 7000229, 65001, 90094, 90008, 650056),
    (PARKED, "service_missing", CUSTOMER): (500011, 650052, 650054),
    (PARKED, "bad_resource", US): (650057, 50001, 70011, 28002),
    (PARKED, "unknown_tenant", US): (90002, 90019, 50059),
    (PARKED, "wrong_cloud", US): (90038, 900382, 900432),
    (PARKED, "bad_secret", US): (7000215, 70002),
    (PARKED, "secret_expired", US): (7000222,),
    (PARKED, "no_secret", US): (7000218, 900144),
    (PARKED, "bad_certificate", US): (700027, 700030),
    (PARKED, "bad_assertion", US): (50012, 50027, 700021, 700023),
    (PARKED, "assertion_expired", US): (700024,),
    (PARKED, "bad_federation", US): (70021, 700211, 700212, 700213),
    (PARKED, "app_disabled", CUSTOMER): (7000112, 70001, 1000031),
    (PARKED, "blocked_by_policy", CUSTOMER): (53003, 530032, 500021, 500022),
    (THROTTLED, "throttled", NOBODY): (50196, 90055),
    (FAILING, "entra_unwell", MICROSOFT): (
        *(90033, 90006, 90012, 90024, 90090, 90091, 50033, 50087, 40010),
    ),
    (PARKED, "entra_refused", MICROSOFT): (90036, 90092, 50086),
    (PARKED, "entra_refused", US): (50034, 123456),
}
ROWS = [(code, *expected) for expected, codes in CODES.items() for code in codes]


@pytest.mark.parametrize(("code", "state", "reason", "blame"), ROWS)
def test_a_code_of_entra_leads_to_a_state_a_reason_and_who_must_act(code, state, reason, blame):
    error = refusal(
        status=400,
        content={"error": "invalid_request", "error_codes": [code]},
        headers={},
        tenant=TENANT,
        login_url="https://login.test",
        client_id=TENANT.id,
        credential="client_secret_file",
        now=0.0,
    )
    trouble = trouble_of(error, was_read=False)
    assert (trouble.state, trouble.code, trouble.blame) == (state, reason, blame)
    assert f"AADSTS{code}" in trouble.reason


@pytest.mark.parametrize(
    ("error", "state", "code", "blame"),
    [
        (SourceUnavailable("x", reason="network"), FAILING, "network", US),
        (SourceUnavailable("x", reason="entra_tls"), FAILING, "entra_tls", US),
        (SourceUnavailable("x", reason="entra_proxy"), FAILING, "entra_proxy", US),
        (SourceUnavailable("x", reason="proxy"), FAILING, "proxy", US),
        (SourceUnavailable("x", reason="http_500"), FAILING, "http_500", MICROSOFT),
        (AnswerTooLarge("x", reason="too_large"), FAILING, "too_large", US),
        (SinkUnavailable("x"), FAILING, "kafka", US),
        (CheckpointUnreadable("x"), PARKED, "checkpoint_unreadable", US),
        (TenantRejected("x", reason="forbidden", blame=CUSTOMER), PARKED, "forbidden", CUSTOMER),
    ],
)
def test_any_other_error_leads_to_one_too(error, state, code, blame):
    trouble = trouble_of(error, was_read=True)
    assert (trouble.state, trouble.code, trouble.reason, trouble.blame) == (state, code, "x", blame)

"""What each of Entra's answers asks of whom: the table of what is known, and what is not."""

import random
import re
from email.utils import formatdate

import pytest

from ingest.errors import (
    Blame,
    CredentialRejected,
    Recovery,
    SourceUnavailable,
    TenantRejected,
    Throttled,
)
from ingest.identity.refusals import refusal

NOW = 1_800_000_000.0
CLIENT = "00000000-aaaa-bbbb-cccc-000000000000"
CORRELATION = "99999999-8888-7777-6666-555555555555"
FREE_TEXT = "Application 'x' of analyst@contoso.com was not found. Trace ID: 123"


@pytest.fixture
def refuse(tenant):
    """Return what an answer is taken for; without `content` it is not JSON."""

    def taken_for(
        *codes,
        status=400,
        error="invalid_request",
        headers=None,
        credential="client_secret_file",
        **changes,
    ):
        content = {
            "error": error,
            "error_description": f"AADSTS{codes[0] if codes else ''}: {FREE_TEXT}",
            "error_codes": list(codes),
            "correlation_id": CORRELATION,
            **changes,
        }
        return refusal(
            status=status,
            content=changes.get("content", content),
            headers=headers or {},
            tenant=tenant,
            login_url="https://login.test",
            client_id=CLIENT,
            credential=credential,
            now=NOW,
        )

    return taken_for


@pytest.mark.parametrize(
    ("code", "reason", "blame", "words"),
    [
        *(
            (code, "not_consented", Blame.CUSTOMER, "adminconsent")
            for code in (700016, 7000229, 65001, 90094, 90008, 650056)
        ),
        *(
            (code, "service_missing", Blame.CUSTOMER, "licence")
            for code in (500011, 650052, 650054)
        ),
        *(
            (code, "bad_resource", Blame.US, "regions.eu.resource")
            for code in (650057, 50001, 70011, 28002)
        ),
        *((code, "unknown_tenant", Blame.US, "check its id") for code in (90002, 90019, 50059)),
        *((code, "wrong_cloud", Blame.US, "another") for code in (90038, 900382, 900432)),
        *((code, "app_disabled", Blame.CUSTOMER, "enable") for code in (7000112, 70001, 1000031)),
        *(
            (code, "blocked_by_policy", Blame.CUSTOMER, "exempt")
            for code in (53003, 530032, 500021, 500022)
        ),
        *((code, "entra_refused", Blame.MICROSOFT, "fails") for code in (90036, 90092, 50086)),
    ],
)
def test_a_code_that_is_about_the_tenant_parks_it_and_says_who_must_do_what(
    refuse, code, reason, blame, words
):
    error = refuse(code)
    assert isinstance(error, TenantRejected)
    assert error.recovery is Recovery.PARK
    assert (error.reason, error.blame) == (reason, blame)
    assert words in str(error)
    assert f"AADSTS{code}" in str(error)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (7000215, "bad_secret"),
        (70002, "bad_secret"),
        (7000222, "secret_expired"),
        (7000218, "no_secret"),
        (900144, "no_secret"),
        (700027, "bad_certificate"),
        (700030, "bad_certificate"),
        (50012, "bad_assertion"),
        (50027, "bad_assertion"),
        (700021, "bad_assertion"),
        (700023, "bad_assertion"),
        (700024, "assertion_expired"),
        (70021, "bad_federation"),
        *((code, "bad_federation") for code in (700211, 700212, 700213, 7002137, 7002138)),
        (5000811, "bad_federation"),
    ],
)
@pytest.mark.parametrize(
    ("credential", "words"),
    [
        ("client_secret_file", "a new secret"),
        ("client_secret", "a new secret"),
        ("certificate_file", "register the certificate"),
        ("certificate", "register the certificate"),
        ("federated_token_file", "compare issuer, subject and audience"),
    ],
)
def test_a_code_that_is_about_our_credential_is_ours_to_mend_where_it_is_configured(
    refuse, code, reason, credential, words
):
    error = refuse(code, status=401, error="invalid_client", credential=credential)
    assert isinstance(error, CredentialRejected)
    assert (error.reason, error.blame) == (reason, Blame.US)
    assert f"entra.{credential} " in f"{error} "
    assert words in str(error)
    assert f"AADSTS{code}" in str(error)
    assert ("clock" in str(error)) is (code == 700024)


@pytest.mark.parametrize("code", [90033, 90006, 90012, 90024, 90090, 90091, 50033, 50087, 40010])
def test_a_code_that_passes_by_itself_is_tried_again(refuse, code):
    error = refuse(code)
    assert isinstance(error, SourceUnavailable)
    assert error.recovery is Recovery.RETRY
    assert error.reason == "entra_unwell"


def test_an_error_that_is_called_temporary_is_tried_again_whatever_its_code(refuse):
    assert isinstance(refuse(12345678, error="temporarily_unavailable"), SourceUnavailable)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
def test_a_5xx_is_tried_again_even_where_it_speaks_of_our_secret(refuse, status):
    assert isinstance(refuse(7000215, status=status), SourceUnavailable)
    assert isinstance(refuse(status=status, content=None), SourceUnavailable)


@pytest.mark.parametrize("error", ["invalid_client", "invalid_grant", "access_denied", "new_one"])
def test_an_unknown_code_parks_one_tenant_and_is_shown(refuse, error):
    # `invalid_client` alone is also said where a tenant lacks our application: not our secret.
    refused = refuse(1234567, status=401, error=error)
    assert isinstance(refused, TenantRejected)
    assert (refused.reason, refused.blame) == ("entra_refused", Blame.US)
    assert str(refused) == (
        f"Entra ID refuses the token request (HTTP 401, {error}, AADSTS1234567, "
        f"correlation id {CORRELATION})"
    )


@pytest.mark.parametrize("error", ["unauthorized_client", "consent_required"])
def test_an_error_without_a_code_that_is_known_may_still_say_that_consent_lacks(refuse, error):
    assert refuse(1234567, error=error).reason == "not_consented"
    assert refuse(error=error).reason == "not_consented"


def test_the_link_to_consent_is_for_this_tenant_and_this_application(refuse, tenant):
    link = f"https://login.test/{tenant.id}/adminconsent?client_id={CLIENT}"
    assert link in str(refuse(700016))


def test_a_code_is_read_from_the_description_where_the_list_has_none(refuse):
    for listed in ([], None, "700016", ["700016"], [True]):
        error = refuse(700016, error_codes=listed)
        assert error.reason == "not_consented", listed


def test_a_code_of_many_is_found(refuse):
    assert refuse(1234567, 7000222).reason == "secret_expired"
    assert refuse(7654321, 90002).reason == "unknown_tenant"


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "17"}, 17.0),
        ({"Retry-After": " 17 "}, 17.0),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": formatdate(NOW + 90, usegmt=True)}, 90.0),
        ({"Retry-After": formatdate(NOW - 90, usegmt=True)}, 0.0),
        ({}, 60.0),
        ({"Retry-After": ""}, 60.0),
        ({"Retry-After": "soon"}, 60.0),
        ({"Retry-After": "-5"}, 60.0),
        ({"Retry-After": "1e3"}, 60.0),
        ({"Retry-After": "٣"}, 60.0),
        ({"Retry-After": "9" * 400}, 999_999_999_999.0),
    ],
)
@pytest.mark.parametrize("is_json", [True, False])
def test_a_429_is_obeyed_in_both_forms_and_is_a_minute_where_it_says_nothing(
    refuse, headers, wait, is_json
):
    # A 429 has been seen as plain text.
    changes = {} if is_json else {"content": None}
    error = refuse(status=429, headers=headers, **changes)
    assert isinstance(error, Throttled)
    assert error.retry_after == wait


def test_a_tenant_that_is_throttled_by_code_is_throttled(refuse):
    assert isinstance(refuse(90055, status=400), Throttled)
    assert isinstance(refuse(90055, status=503, error="temporarily_unavailable"), Throttled)


def test_a_429_that_speaks_of_our_secret_says_nothing_of_our_secret(refuse):
    assert isinstance(refuse(7000215, status=429), Throttled)


def test_a_loop_of_requests_is_left_alone_for_long(refuse):
    error = refuse(50196, error="invalid_grant")
    assert isinstance(error, Throttled)
    assert error.retry_after == 900.0


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 0])
def test_an_answer_that_is_not_json_is_tried_again(refuse, status):
    error = refuse(status=status, content=None)
    assert isinstance(error, SourceUnavailable)
    assert error.reason == "entra_unreadable"
    assert f"HTTP {status}" in str(error)


@pytest.mark.parametrize(
    "content",
    [
        {"error": None},
        {"error": 7, "error_codes": {"a": 1}, "error_description": ["AADSTS700016"]},
        {"error": "x" * 5000, "error_codes": [None, -1, 1.5, "x"], "correlation_id": 9},
        {"error": "<script>alert(1)</script>", "correlation_id": "' or 1=1"},
        {"error": ["invalid_client"], "suberror": {}, "claims": "{}"},
    ],
)
def test_an_answer_of_the_wrong_shape_parks_one_tenant_and_is_not_repeated(refuse, content):
    error = refuse(content=content)
    assert isinstance(error, TenantRejected)
    assert "script" not in str(error)
    assert len(str(error)) < 200


def test_an_answer_with_thousands_of_codes_makes_a_line_and_not_a_book(refuse):
    assert len(str(refuse(*range(1_000_000, 1_010_000)))) < 1000


def test_entras_own_words_are_never_repeated(refuse):
    rng = random.Random(1)
    for code in [700016, 7000215, 7000222, 90033, 90055, 50196, 1234567, 90002]:
        said = str(refuse(code, status=rng.choice([400, 401, 429, 503])))
        assert "analyst@contoso.com" not in said
        assert "Trace ID" not in said
        assert CORRELATION in said


def test_every_refusal_has_a_short_stable_reason(refuse):
    for status in (200, 400, 401, 429, 500):
        for code in (700016, 7000215, 90033, 1234567):
            assert re.fullmatch(r"[a-z_]{4,20}", refuse(code, status=status).reason)

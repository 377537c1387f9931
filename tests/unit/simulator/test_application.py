"""Client assertions as the simulated Entra ID takes them: whatever is wrong with one has its own code."""

import base64
import json

import jwt
import pytest
from cryptography.hazmat.primitives import hashes

from ingest.simulator.application import EXCHANGE, Trust
from ingest.simulator.credentials import ISSUER, SUBJECT, make_certificate

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture(scope="module")
def pair():
    return make_certificate(days=36500)


@pytest.fixture(scope="module")
def other():
    return make_certificate(days=36500)


def thumbprint(certificate, kind=hashes.SHA256):
    return base64.urlsafe_b64encode(certificate.fingerprint(kind())).rstrip(b"=").decode()


@pytest.fixture
def shown(caller, pair):
    """Show an assertion; return the AADSTS code that it is refused with, or None."""
    caller.cloud.application.certificates.append(pair[1])
    caller.cloud.application.trusts.append(Trust(ISSUER, SUBJECT, pair[0].public_key()))

    def show(claims, *, key, alg, headers, kind=TYPE):
        token = jwt.encode(claims, key, algorithm=alg, headers=headers)
        answer = caller.token_answer(
            caller.tenant, client_secret=None, client_assertion=token, client_assertion_type=kind
        )
        return None if answer.status == 200 else json.loads(answer.body)["error_codes"][0]

    return show


@pytest.fixture
def certified(caller, shown, pair):
    def show(*, key=pair[0], alg="PS256", headers=None, kind=TYPE, **changes):
        now, client = caller.time.now, caller.cloud.client_id
        claims = {
            "aud": f"https://login.test/{caller.tenant}/oauth2/v2.0/token",
            "iss": client,
            "sub": client,
            "jti": "1",
            "nbf": now,
            "exp": now + 600,
            **changes,
        }
        if headers is None:
            headers = {"x5t#S256": thumbprint(pair[1])}
        return shown(claims, key=key, alg=alg, headers=headers, kind=kind)

    return show


@pytest.fixture
def federated(caller, shown, pair):
    def show(*, key=pair[0], **changes):
        now = caller.time.now
        claims = {"aud": [EXCHANGE], "iss": ISSUER, "sub": SUBJECT, "exp": now + 600, **changes}
        return shown(claims, key=key, alg="RS256", headers={"kid": "1"})

    return show


def test_a_certificate_is_taken_by_either_thumbprint_and_algorithm_and_endpoint(
    certified, pair, caller
):
    assert certified() is None
    assert certified(headers={"x5t": thumbprint(pair[1], hashes.SHA1)}, alg="RS256") is None
    assert certified(aud=f"https://login.test/{caller.tenant}/oauth2/token") is None
    assert certified(aud=f"https://login.test/{caller.tenant}/v2.0") is None


def test_what_is_wrong_with_a_certificates_assertion_has_its_code(certified, caller, pair, other):
    now, nobody = caller.time.now, "00000000-0000-0000-0000-000000000000"
    assert certified(headers={"x5t#S256": thumbprint(other[1])}) == 700027
    both = {"x5t#S256": thumbprint(pair[1]), "x5t": thumbprint(other[1], hashes.SHA1)}
    assert certified(headers=both) == 700027
    assert certified(headers={}) == 700027
    assert certified(key=other[0]) == 700027
    assert certified(aud="https://login.test/another/oauth2/v2.0/token") == 700023
    assert certified(aud=f"https://evil.test/{caller.tenant}/oauth2/v2.0/token") == 700023
    assert certified(iss=nobody) == 700021
    assert certified(sub=nobody) == 700021
    assert certified(exp=now - 301) == 700024
    assert certified(nbf=now + 301) == 700024
    assert certified(exp="tomorrow") == 700024
    assert certified(kind="urn:something:else") == 50027


def test_a_certificate_is_not_taken_after_its_end_or_after_its_removal(certified, caller):
    caller.cloud.application.certificates[:] = [make_certificate(days=1)[1]]
    assert certified() == 700027
    caller.cloud.application.certificates.clear()
    assert certified() == 700027


def test_an_assertion_that_is_signed_with_what_everybody_knows_is_refused(certified, caller):
    assert certified(key="x" * 40, alg="HS256") == 700027
    assert certified(key=None, alg="none") == 700027


def test_a_federated_token_is_taken_for_any_tenant(federated):
    assert federated() is None
    assert federated(aud=EXCHANGE) is None


def test_what_is_wrong_with_a_federated_token_has_its_code(federated, caller, other):
    assert federated(iss="https://another.test") == 700211
    assert federated(sub="system:serviceaccount:default:default") == 700213
    assert federated(aud=["https://kubernetes.default.svc"]) == 700212
    assert federated(key=other[0]) == 5000811
    assert federated(exp=caller.time.now - 301) == 700024


def test_a_secret_is_taken_until_it_expires(caller):
    secrets = caller.cloud.application.secrets
    (secret,) = secrets
    secrets[secret] = caller.time.now + 10
    assert caller.token_answer(caller.tenant).status == 200
    caller.time.pass_by(10)
    answer = caller.token_answer(caller.tenant)
    assert json.loads(answer.body)["error_codes"] == [7000222]
    secrets["another"] = None
    assert caller.token_answer(caller.tenant, client_secret="another").status == 200

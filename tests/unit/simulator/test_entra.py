import json

import jwt
import pytest

from ingest.simulator.token_endpoint import DEFENDER


def _refusal(answer):
    content = json.loads(answer.body)
    code = content["error_description"].partition(":")[0].removeprefix("AADSTS")
    assert content["error_codes"] == [int(code)]
    assert content["correlation_id"] == "11111111-2222-3333-4444-555555555555"
    assert f"Correlation ID: {content['correlation_id']}" in content["error_description"]
    assert content["trace_id"]
    assert content["timestamp"].endswith("Z")
    return answer.status, content["error"], content["error_codes"][0]


def test_the_openid_configuration_names_the_token_endpoint_of_the_host_that_was_asked(caller):
    path = f"/{caller.tenant}/v2.0/.well-known/openid-configuration"
    document = json.loads(caller.cloud.handle("GET", path, "", {"host": "login.test:1"}).body)
    root = f"https://login.test:1/{caller.tenant}"
    assert document["token_endpoint"] == f"{root}/oauth2/v2.0/token"
    assert document["jwks_uri"] == f"{root}/discovery/v2.0/keys"
    assert document["issuer"] == f"{root}/v2.0"


def test_the_older_openid_configuration_names_the_older_endpoint(caller):
    path = f"/{caller.tenant}/.well-known/openid-configuration"
    document = json.loads(caller.cloud.handle("GET", path, "", {"host": "login.test"}).body)
    assert document["token_endpoint"] == f"https://login.test/{caller.tenant}/oauth2/token"


def test_a_tenant_that_is_asked_for_by_its_domain_is_answered_with_its_id(caller):
    customer = caller.cloud.customers[caller.tenant]
    assert customer.domain == "contosobank1.onmicrosoft.com"
    for name in (customer.domain, customer.domain.upper()):
        path = f"/{name}/v2.0/.well-known/openid-configuration"
        document = json.loads(caller.cloud.handle("GET", path, "", {"host": "login.test"}).body)
        root = f"https://login.test/{customer.id}"
        assert document["issuer"] == f"{root}/v2.0"
        assert document["token_endpoint"] == f"{root}/oauth2/v2.0/token"


def test_every_tenant_has_a_domain_of_its_own(make_caller):
    customers = make_caller(tenants=200, backlog=0).cloud.customers.values()
    assert len({customer.domain for customer in customers}) == 200


@pytest.mark.parametrize("name", ["nobody.onmicrosoft.com", "organizations"])
def test_an_unknown_domain_has_no_openid_configuration(caller, name):
    path = f"/{name}/v2.0/.well-known/openid-configuration"
    answer = caller.cloud.handle("GET", path, "", {"host": "login.test"})
    assert answer.status == 400
    assert json.loads(answer.body)["error"] == "invalid_tenant"


def test_an_unknown_tenant_has_no_openid_configuration(caller):
    path = "/00000000-0000-0000-0000-000000000000/v2.0/.well-known/openid-configuration"
    answer = caller.cloud.handle("GET", path, "", {"host": "login.test"})
    assert answer.status == 400
    assert json.loads(answer.body)["error_codes"] == [90002]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_token_is_signed_with_a_published_key_and_says_whose_it_is(caller, version):
    answer = caller.token_answer(caller.tenant, version)
    content = json.loads(answer.body)
    keys = json.loads(
        caller.cloud.handle("GET", f"/{caller.tenant}/discovery/v2.0/keys", "", {}).body
    )
    token = content["access_token"]
    key = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(
        token,
        key,
        algorithms=["RS256"],
        audience=DEFENDER,
        # The clock of this test stands still elsewhere.
        options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
    )
    assert claims["tid"] == caller.tenant
    assert claims["roles"] == ["Alert.Read.All"]
    assert claims["appid"] == caller.cloud.client_id
    assert claims["iss"] == f"https://sts.windows.net/{caller.tenant}/"
    assert claims["exp"] == int(caller.time.now) + 3600
    assert content["expires_in"] == (3599 if version == "v2" else "3599")


def test_what_is_wrong_with_a_token_request_is_said_in_entras_words(caller):
    tenant = caller.tenant

    def refused(owner=tenant, **changes):
        return _refusal(caller.token_answer(owner, **changes))

    nobody = "00000000-0000-0000-0000-000000000000"
    assert refused(owner=nobody) == (400, "invalid_request", 90002)
    assert refused(client_id=nobody) == (400, "unauthorized_client", 700016)
    assert refused(client_secret="wrong") == (401, "invalid_client", 7000215)
    assert refused(client_secret=None) == (401, "invalid_client", 7000218)
    assert refused(client_assertion="x") == (401, "invalid_client", 50027)
    assert refused(grant_type="password") == (400, "unsupported_grant_type", 70003)
    assert refused(grant_type=None) == (400, "invalid_request", 900144)
    assert refused(scope="https://other.example/.default") == (400, "invalid_resource", 500011)
    assert refused(scope=DEFENDER) == (400, "invalid_scope", 1002012)


def test_a_token_of_another_resource_is_given_and_does_not_open_the_alerts(caller):
    answer = caller.token_answer(caller.tenant, scope="https://graph.microsoft.com/.default")
    caller.tokens[caller.tenant] = json.loads(answer.body)["access_token"]
    assert caller.get().status == 403


def test_a_refusal_never_repeats_the_secret(caller):
    assert (
        b"wrong-secret" not in caller.token_answer(caller.tenant, client_secret="wrong-secret").body
    )


def test_tokens_end(caller):
    assert caller.get().status == 200
    caller.time.pass_by(3601)
    assert caller.get().status == 401
    caller.sign_in()
    assert caller.get().status == 200


def test_a_revoked_consent_is_felt_at_once_by_those_who_hold_a_token(caller):
    caller.sign_in()
    caller.fault("consent_revoked")
    assert caller.get().status == 401
    assert _refusal(caller.token_answer(caller.tenant)) == (400, "unauthorized_client", 700016)
    caller.sign_in()
    assert caller.get().status == 200
    assert caller.faults() == {"consent_revoked": 1}


def test_another_tenants_token_is_not_harmed_by_a_revoked_consent(caller):
    first, second, _ = caller.cloud.customers
    caller.sign_in(second)
    caller.fault("consent_revoked", first)
    assert caller.get(second).status == 200


def test_an_expired_secret_is_a_401(caller):
    caller.fault("secret_expired", count=2)
    for _ in range(2):
        refusal = _refusal(caller.token_answer(caller.tenant))
        assert refusal == (401, "invalid_client", 7000222)
    caller.sign_in()


def test_the_token_endpoint_may_answer_in_html_and_in_plain_text(caller):
    caller.fault("token_not_json")
    answer = caller.token_answer(caller.tenant)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html"
    caller.fault("token_429", retry_after=7)
    answer = caller.token_answer(caller.tenant)
    assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
    assert answer.body == b"Too Many Requests"


def test_a_token_without_roles_is_given_and_opens_nothing(caller):
    caller.fault("roles_missing")
    caller.sign_in()
    assert caller.get().status == 403
    caller.sign_in()
    assert caller.get().status == 200


def test_any_of_entras_codes_can_be_had(caller):
    caller.fault("entra_error", code=650052)
    assert _refusal(caller.token_answer(caller.tenant))[2] == 650052

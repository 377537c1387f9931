"""National clouds as separate hosts: what is asked of the wrong one is refused as the real ones refuse it."""

import json

import pytest

from ingest.simulator.clouds import REGIONS


@pytest.fixture
def caller(make_caller):
    return make_caller(tenants=5, backlog=0, regions=tuple(REGIONS))


@pytest.fixture
def tenants(caller):
    """The tenant of each region."""
    return {one.region: one.id for one in caller.cloud.customers.values()}


def token(caller, tenant, region, *, login):
    hosts = REGIONS[region]
    form = (
        f"grant_type=client_credentials&client_id={caller.cloud.client_id}"
        f"&client_secret={caller.cloud.plan.client_secret}&resource={hosts.resource}"
    )
    path = f"/{tenant}/oauth2/token"
    return caller.cloud.handle("POST", path, "", {"host": login}, form.encode())


def alerts(caller, tenant, region, *, api):
    answer = token(caller, tenant, region, login=REGIONS[region].login)
    bearer = json.loads(answer.body)["access_token"]
    headers = {"host": api, "authorization": f"Bearer {bearer}"}
    return caller.cloud.handle("GET", "/api/alerts", "", headers).status


@pytest.mark.parametrize("region", REGIONS)
def test_a_tenant_signs_in_at_its_clouds_login_host_and_reads_at_its_regions_api(
    caller, tenants, region
):
    tenant, hosts = tenants[region], REGIONS[region]
    for login in {one.login for one in REGIONS.values()}:
        answer = token(caller, tenant, region, login=login)
        if login == hosts.login:
            assert answer.status == 200
        else:
            assert json.loads(answer.body)["error_codes"] == [900382]
    for api in {one.api for one in REGIONS.values()}:
        assert alerts(caller, tenant, region, api=api) == (200 if api == hosts.api else 401)


def test_a_token_for_another_clouds_resource_opens_nothing(caller, tenants):
    tenant, gov = tenants["gcc-high"], REGIONS["gcc-high"]
    answer = token(caller, tenant, "commercial", login=gov.login)
    bearer = json.loads(answer.body)["access_token"]
    headers = {"host": gov.api, "authorization": f"Bearer {bearer}"}
    assert caller.cloud.handle("GET", "/api/alerts", "", headers).status == 403


def test_a_login_host_has_no_alerts_and_an_api_host_no_tokens(caller, tenants):
    hosts = REGIONS["commercial"]
    assert alerts(caller, tenants["commercial"], "commercial", api=hosts.login) == 404
    assert token(caller, tenants["commercial"], "commercial", login=hosts.api).status == 404


def test_a_tenant_of_another_cloud_is_told_by_the_login_host_of_its_own(caller, tenants):
    path = f"/{tenants['dod']}/v2.0/.well-known/openid-configuration"
    asked = {"host": REGIONS["commercial"].login}
    document = json.loads(caller.cloud.handle("GET", path, "", asked).body)
    assert document["token_endpoint"].startswith("https://login-us.simulated.test/")

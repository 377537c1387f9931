"""A file of tenants: two forms, and every mistake of it in one run with file, key, tenant, remedy."""

import pytest

from ingest.errors import TenantsFileRefused
from ingest.model.route import Route
from ingest.settings.tenants_file import load_tenants

ONE, TWO, THREE = (f"{n}1111111-1111-1111-1111-111111111111" for n in (1, 2, 3))
FORM = "a list of tenants, or `tenants:` with such a list"
NO_DOMAIN = "must be a GUID (the tenant's directory id, not its domain name)"
LOGIN = "https://login.test"
REGIONS = {"commercial": None, "eu": LOGIN, "dod": "https://login.other.test"}
ROUTE = Route("{prefix}.alerts", [], prefix="defender")


@pytest.fixture
def load(tmp_path):
    def from_text(text):
        path = tmp_path / "tenants.yaml"
        path.write_text(text)
        try:
            return load_tenants(path, REGIONS, LOGIN, ROUTE)
        except TenantsFileRefused as error:
            return [problem.replace(str(path), "FILE") for problem in error.problems]

    return from_text


LIST = f"""
- {{id: {ONE}, name: Contoso}}
- {{id: {TWO.upper()}, name: Fabrikam, region: eu}}
"""


@pytest.mark.parametrize("text", [LIST, "tenants:" + LIST])
def test_a_list_and_a_mapping_say_the_same(load, text):
    assert [(one.id, one.name, one.region) for one in load(text)] == [
        (ONE, "Contoso", "commercial"),
        (TWO, "Fabrikam", "eu"),
    ]


@pytest.mark.parametrize("text", ["", "# nobody\n", "[]", "tenants:", "tenants: []", "{}", "---\n"])
def test_an_empty_file_has_no_tenants(load, text):
    assert load(text) == []


def test_every_mistake_is_told_in_one_run(load):
    assert load(
        f"""
tenants:
- {{id: {ONE}, name: Contoso, regionn: eu}}
- {{id: {ONE}, name: Other}}
- {{id: contoso.com, name: Domain}}
- {{id: {TWO}, name: CONTOSO}}
- {{id: {THREE}, name: Far, region: mars}}
- {{name: Nobody}}
- Litware
teanants: 1
"""
    ) == [
        f"FILE: teanants: unknown key; the file is {FORM}, and nothing else",
        "FILE: tenants[0].regionn (tenant Contoso): unknown key; did you mean region?",
        "FILE: tenants[1].id (tenant Other): is that of tenants[0] too; remove one",
        f"FILE: tenants[2].id (tenant Domain): {NO_DOMAIN}",
        "FILE: tenants[3].name (tenant CONTOSO): is that of tenants[0] too; name one otherwise",
        "FILE: tenants[4].region (tenant Far): is not a key of regions; one of commercial, eu",
        "FILE: tenants[5].id (tenant Nobody): is needed and not there; add it",
        "FILE: tenants[6]: input should be a valid dictionary or instance of TenantEntry",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("contoso", f"FILE: must be {FORM}"),
        ("- {id: 1, id: 2}", "FILE: line 1, column 11: the key 'id' is given twice"),
        ("tenants: {a: 1}", "FILE: tenants: input should be a valid list"),
        ("[" * 100, "FILE: line 1, column 33: is nested too deeply"),
        ("tenants: false", "FILE: tenants: input should be a valid list"),
        ("tenants: Litware", "FILE: tenants: input should be a valid list"),
    ],
)
def test_what_is_no_list_of_tenants_is_refused(load, text, problem):
    assert load(text) == [problem]


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(
        TenantsFileRefused, match="No such file or directory; give a file of tenants"
    ):
        load_tenants(tmp_path / "absent.yaml", REGIONS, LOGIN, ROUTE)


def test_a_tenant_of_another_cloud_or_with_a_host_of_its_own_is_refused(load):
    problems = load(
        f"""
- {{id: {ONE}, name: Contoso, region: dod}}
- {{id: {TWO}, name: Fabrikam, api_url: "https://evil.test"}}
- {{id: {THREE}, name: Litware, region: "https://evil.test"}}
"""
    )
    assert problems == [
        (
            "FILE: tenants[0].region (tenant Contoso): is of another cloud: its tenants sign in at "
            "https://login.other.test, and entra.login_url is https://login.test; each cloud needs an "
            "application and a daemon of its own"
        ),
        "FILE: tenants[1].api_url (tenant Fabrikam): unknown key; remove it",
        "FILE: tenants[2].region (tenant Litware): is not a key of regions; one of commercial, eu",
    ]

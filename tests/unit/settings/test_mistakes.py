"""Every mistake is told in one run: file, full key path, tenant, and what is probably meant."""

import pytest

CONTOSO = "11111111-1111-1111-1111-111111111111"
FABRIKAM = "22222222-2222-2222-2222-222222222222"


def tenant(**changes):
    return {"id": CONTOSO, "name": "contoso", **changes}


def test_a_configuration_that_fits_has_no_problems(desk):
    settings = desk.load()
    assert settings.kafka.prefix == "defender"
    assert [one.name for one in settings.tenants] == ["contoso"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"kafak": {}}, "FILE: kafak: unknown key; did you mean kafka?"),
        ({"zzz": 1}, "FILE: zzz: unknown key; remove it"),
        ({"kafka": {"prefx": "x"}}, "FILE: kafka.prefx: unknown key; did you mean prefix?"),
        (
            {"poll": {"interval": 60}},
            "FILE: poll.interval: unknown key; did you mean interval_seconds?",
        ),
        (
            {"tenants": [tenant(regionn="eu")]},
            "FILE: tenants[0].regionn (tenant contoso): unknown key; did you mean region?",
        ),
        (
            {"regions": {"commercial": {"api_url": "https://api.test", "resourcee": "x"}}},
            "FILE: regions.commercial.resourcee: unknown key; did you mean resource?",
        ),
    ],
)
def test_an_unknown_key_is_told_with_its_path_and_the_key_probably_meant(desk, changes, problem):
    assert desk.problems(changes) == [problem]


@pytest.mark.parametrize("path", ["entra", "kafka"])
def test_a_section_that_is_needed_and_absent_is_told(desk, path):
    assert desk.problems({path: None}) == [f"FILE: {path}: is needed and not there; add it"]


def test_a_key_that_is_needed_and_absent_is_told(desk):
    problems = desk.problems({"entra": {"client_id": None}, "tenants": [{"name": "contoso"}]})
    assert problems == [
        "FILE: entra.client_id: is needed and not there; add it",
        "FILE: tenants[0].id (tenant contoso): is needed and not there; add it",
    ]


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("poll", "interval_seconds", "60s"),
        ("poll", "interval_seconds", "1m"),
        ("poll", "interval_seconds", 0),
        ("poll", "overlap_seconds", -1),
        ("source", "page_bytes", "64MiB"),
        ("source", "page_size", 10_001),
        ("source", "page_size", 1.5),
        ("kafka", "retention_hours", "7d"),
        ("kafka", "shards", 0),
        ("kafka", "prefix", "with space"),
        ("kafka", "prefix", "x" * 101),
        ("kafka", "bootstrap_servers", []),
        ("kafka", "bootstrap_servers", "kafka-1:9092"),
        ("kafka", "transaction_timeout_seconds", 901),
        ("listen", "port", 65_536),
        ("logs", "level", "chatty"),
        ("metrics", "tenants", "perhaps"),
        ("entra", "login_url", "http://login.test"),
        ("entra", "login_url", "https://login.test/common"),
        ("entra", "login_url", "https://user@login.test"),
        ("entra", "token_version", "v3"),
        ("entra", "client_id", "contoso.onmicrosoft.com"),
    ],
)
def test_a_value_that_does_not_fit_is_told_with_its_path_and_not_shown(desk, section, key, value):
    (problem,) = desk.problems({section: {key: value}})
    where, words = problem.split(": ", 2)[1:]
    assert where == f"{section}.{key}"
    assert words
    if isinstance(value, str):
        assert value not in words


@pytest.mark.parametrize("value", [3, "text", ["list"]])
def test_a_section_that_is_no_mapping_is_told(desk, value):
    (problem,) = desk.problems({"poll": value})
    assert problem.startswith("FILE: poll: ")


def test_every_mistake_is_found_in_one_run(desk):
    problems = desk.problems(
        {
            "entra": {"client_id": "x", "client_secret_file": "/nowhere/secret"},
            "kafka": {"prefix": "!", "shards": "many"},
            "ca_file": "/nowhere/ca.pem",
            "poll": {"interval_seconds": -1},
            "listn": {},
            "tenants": [
                tenant(),
                tenant(name="again"),
                {"id": "not-a-guid", "name": "fabrikam", "region": "euu"},
            ],
        },
        KAFKA__PREFX="x",
    )
    assert [problem.split(": ")[:2] for problem in problems[:-1]] == [
        ["FILE", "ca_file"],
        ["FILE", "entra.client_id"],
        ["FILE", "entra.client_secret"],
        ["FILE", "entra.client_secret_file"],
        ["FILE", "kafka.prefix"],
        ["FILE", "kafka.shards"],
        ["FILE", "listn"],
        ["FILE", "poll.interval_seconds"],
        ["FILE", "tenants[1].id (tenant again)"],
        ["FILE", "tenants[2].id (tenant fabrikam)"],
        ["FILE", "tenants[2].region (tenant fabrikam)"],
    ]
    assert problems[-1].startswith("environment variable DEFENDER_INGEST_KAFKA__PREFX: ")


@pytest.mark.parametrize(
    "identity",
    ["contoso.onmicrosoft.com", "", f"{{{CONTOSO}}}", CONTOSO.replace("-", ""), CONTOSO + "0", 7],
)
def test_a_tenant_that_is_not_named_by_a_guid_is_told(desk, identity):
    problems = desk.problems({"tenants": [tenant(), {"id": identity, "name": "fabrikam"}]})
    assert [problem.split(": ")[1] for problem in problems] == ["tenants[1].id (tenant fabrikam)"]


def test_a_guid_may_be_in_upper_case(desk):
    identity = "ABCDEFAB-1111-1111-1111-111111111111"
    settings = desk.load({"entra": {"client_id": identity}, "tenants": [tenant(id=identity)]})
    assert settings.entra.client_id == identity.lower()
    assert settings.tenants[0].id == identity.lower()


def test_a_tenant_that_is_given_twice_is_told_whatever_its_case(desk):
    identity = "abcdefab-1111-1111-1111-111111111111"
    problems = desk.problems(
        {"tenants": [tenant(), tenant(id=identity), tenant(id=identity.upper(), name="again")]}
    )
    assert problems == ["FILE: tenants[2].id (tenant again): is that of tenants[1] too; remove one"]


def test_a_tenant_without_a_name_is_told_by_its_id(desk):
    problems = desk.problems({"tenants": [{"id": FABRIKAM}]})
    assert problems == [
        f"FILE: tenants[0].name (tenant {FABRIKAM}): is needed and not there; add it"
    ]


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_a_name_of_no_or_too_many_letters_is_told(desk, name):
    (problem,) = desk.problems({"tenants": [tenant(name=name)]})
    assert problem.startswith("FILE: tenants[0].name (tenant ")
    assert len(problem) < 300


def test_a_region_that_nobody_named_is_told_with_the_one_meant(desk):
    (problem,) = desk.problems({"tenants": [tenant(region="commerciall")]})
    assert problem == (
        "FILE: tenants[0].region (tenant contoso): "
        "is not a key of regions; did you mean commercial?"
    )


def test_regions_that_are_given_stand_beside_microsofts_and_win_over_them(desk):
    settings = desk.load(
        {
            "regions": {
                "lab": {"api_url": "https://lab.test:8443"},
                "eu": {"api_url": "https://eu.test", "resource": "https://other.test"},
            },
            "tenants": [tenant(region="lab")],
        }
    )
    assert {"lab", "commercial", "eu", "gcc", "gcc-high", "dod"} <= set(settings.regions)
    assert settings.regions["eu"].api_url == "https://eu.test"
    assert settings.regions["commercial"].api_url == "https://api.security.microsoft.com"


@pytest.mark.parametrize(
    ("login", "served", "elsewhere"),
    [
        (
            "https://login.microsoftonline.com",
            {"commercial", "us", "eu", "uk", "au", "swa", "ina", "gcc"},
            {"gcc-high", "dod"},
        ),
        ("https://login.microsoftonline.us", {"gcc-high", "dod"}, {"commercial", "gcc", "eu"}),
        ("https://login.lab.test", set(), {"commercial", "gcc", "gcc-high"}),
    ],
)
def test_a_daemon_serves_the_regions_of_its_login_host_and_no_other(desk, login, served, elsewhere):
    for region in served:
        settings = desk.load({"entra": {"login_url": login}, "tenants": [tenant(region=region)]})
        assert set(settings.served) == served
    for region in elsewhere:
        (problem,) = desk.problems(
            {"entra": {"login_url": login}, "tenants": [tenant(region=region)]}
        )
        assert problem.startswith(
            "FILE: tenants[0].region (tenant contoso): is of another cloud: its tenants sign in at "
        )
        assert f"entra.login_url is {login};" in problem


@pytest.mark.parametrize(
    "entry",
    [
        {"api_url": "https://evil.test"},
        {"login_url": "https://evil.test"},
        {"host": "evil.test"},
        {"region": "https://evil.test"},
        {"region": "evil.test"},
    ],
)
def test_a_tenant_that_names_a_host_is_refused(desk, entry):
    (problem,) = desk.problems({"tenants": [tenant(**entry)]})
    assert problem.startswith(f"FILE: tenants[0].{next(iter(entry))} (tenant contoso): ")
    assert "unknown key" in problem or "is not a key of regions; one of" in problem


@pytest.mark.parametrize(
    "url", ["http://lab.test", "lab.test", "https://lab.test/", "https://a@lab.test", "https://"]
)
def test_an_api_host_with_anything_but_a_host_is_told(desk, url):
    (problem,) = desk.problems({"regions": {"commercial": {"api_url": url}}})
    assert problem == (
        "FILE: regions.commercial.api_url: "
        "must be https://HOST or https://HOST:PORT, without a path"
    )


@pytest.mark.parametrize("tenants", [{}, "contoso", ["contoso"]])
def test_tenants_that_are_no_list_of_tenants_are_told(desk, tenants):
    (problem,) = desk.problems({"tenants": tenants})
    assert problem.startswith(("FILE: tenants: ", "FILE: tenants[0]: "))


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "holds no certificates"), ("-----BEGIN CERTIFICATE-----\n!\n", "holds no certificates")],
)
def test_an_authority_file_without_certificates_is_told(desk, content, words):
    (problem,) = desk.problems({"ca_file": str(desk.file("ca.pem", content))})
    assert problem.startswith("FILE: ca_file: ")
    assert words in problem


@pytest.mark.parametrize(
    ("name", "words"), [("absent.pem", "No such file"), (".", "Is a directory")]
)
def test_an_authority_file_that_cannot_be_read_is_told(desk, name, words):
    (problem,) = desk.problems({"ca_file": str(desk.folder / name)})
    assert problem.startswith("FILE: ca_file: ")
    assert words in problem


def test_a_configuration_without_tenants_is_one_since_the_topic_has_them(desk):
    assert desk.load({"tenants": None}).tenants == []


def test_a_route_that_leads_nowhere_is_told_at_its_key(desk):
    (problem,) = desk.problems({"kafka": {"route": "{prefix}.{severity}"}})
    assert problem == (
        "FILE: kafka.route: {severity} is nothing that a route can go by; use {prefix}, {feed}, {region} or "
        "{label.NAME}, which never change in an alert's life"
    )
    (problem,) = desk.problems({"kafka": {"route": "{prefix}.{region}"}})
    assert problem == (
        "FILE: kafka.route_topics: must name every topic that kafka.route may lead to, since it goes by "
        "region"
    )
    assert desk.problems({"kafka": {"route": "{region}", "route_topics": ["a b"]}}) == [
        "FILE: kafka.route_topics: 'a b' is no name that Kafka takes"
    ]


def test_a_tenant_whose_alerts_have_no_topic_is_told_before_anything_starts(desk):
    kafka = {"route": "{prefix}.{region}", "route_topics": ["defender.eu"]}
    (problem,) = desk.problems(
        {"kafka": kafka, "tenants": [tenant(), tenant(id=FABRIKAM, region="eu")]}
    )
    assert problem.startswith(
        f"FILE: tenants[0] (tenant contoso): tenant contoso ({CONTOSO}): its alerts"
    )
    assert "topic defender.commercial, which is none of kafka.route_topics" in problem


def test_a_label_that_cannot_be_one_is_told(desk):
    (problem,) = desk.problems({"tenants": [tenant(labels={"Tier": "gold"})]})
    assert problem == (
        "FILE: tenants[0].labels (tenant contoso): a label's name must be 1 to 15 letters a-z and digits, a "
        "letter first; 'Tier' is not"
    )

"""`kafka.tls` and `kafka.sasl`: every mistake is told, with its remedy, and no secret with it."""

import pytest
import trustme

LOOPBACK = ["127.0.0.1:9093", "localhost:9093", "[::1]:9093"]
AWAY = ["kafka-1:9093"]
PASSWORD = "hush~Q8secret~value"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(desk, authority):
    """Return the settings of TLS with files that fit."""
    issued = authority.issue_cert("client@test.invalid")
    return {
        "enabled": True,
        "ca_file": str(desk.file("ca.pem", authority.cert_pem.bytes())),
        "certificate_file": str(desk.file("me.pem", issued.cert_chain_pems[0].bytes())),
        "key_file": str(desk.file("me.key", issued.private_key_pem.bytes())),
    }


def kafka(servers=AWAY, **sections):
    return {"kafka": {"bootstrap_servers": servers, **sections}}


def by_password(**more):
    return {"mechanism": "SCRAM-SHA-512", "username": "ingest", "password": PASSWORD, **more}


def by_token(**more):
    client = {"token_url": "https://login.test/token", "client_id": "ingest"}
    return {"mechanism": "OAUTHBEARER", **client, "client_secret": PASSWORD, **more}


def test_everything_that_is_needed_loads(desk, files):
    settings = desk.load(kafka(tls=files, sasl=by_password()))
    assert settings.kafka.sasl.password.get_secret_value() == PASSWORD
    assert PASSWORD not in repr(settings)
    assert desk.load(kafka(tls=files, sasl=by_token()))


def test_secrets_can_be_files_and_come_from_the_environment(desk, files):
    path = desk.file("password", f"{PASSWORD}\n")
    sasl = by_password(password=None, password_file=str(path))
    assert desk.load(kafka(tls=files, sasl=sasl)).kafka.sasl.password_file == path
    bare = {"mechanism": "PLAIN", "username": "ingest"}
    settings = desk.load(kafka(tls=files, sasl=bare), KAFKA__SASL__PASSWORD="0123")
    assert settings.kafka.sasl.password.get_secret_value() == "0123"


@pytest.mark.parametrize("sasl", [by_password(), by_password(mechanism="PLAIN"), by_token()])
def test_credentials_do_not_leave_the_machine_without_tls(desk, sasl):
    (problem,) = desk.problems(kafka(sasl=sasl))
    assert problem == (
        "FILE: kafka.sasl.mechanism: would send credentials to kafka-1:9093 without TLS; set "
        "kafka.tls.enabled: true (or, if that is meant, kafka.sasl.allow_without_tls: true)"
    )
    assert desk.load(kafka(LOOPBACK, sasl=sasl))
    assert desk.load(kafka(sasl=sasl | {"allow_without_tls": True}))
    assert desk.problems(kafka([*LOOPBACK, *AWAY], sasl=sasl))


@pytest.mark.parametrize(
    ("sasl", "said"),
    [
        ({"username": "x"}, ["username: means nothing without kafka.sasl.mechanism; remove it"]),
        (
            by_password(username=None),
            ["username: is needed for SCRAM-SHA-512 and not there; add it"],
        ),
        (
            by_password(password=None),
            ["password_file: is needed and not there; add it (or password)"],
        ),
        (by_password(password=" "), ["password: is empty"]),
        (
            by_password(password_file="/absent/file"),
            [
                "password: is given beside password_file; remove one of the two",
                "password_file: /absent/file cannot be read: No such file or directory",
            ],
        ),
        (
            by_password(token_url="https://login.test/token"),
            ["token_url: means nothing for SCRAM-SHA-512; remove it"],
        ),
        (
            by_token(client_id=None, token_url=None, username="x"),
            [
                "client_id: is needed for OAUTHBEARER and not there; add it",
                "token_url: is needed for OAUTHBEARER and not there; add it",
                "username: means nothing for OAUTHBEARER; remove it",
            ],
        ),
    ],
)
def test_each_mistake_about_who_we_are_is_told(desk, sasl, said):
    problems = desk.problems(kafka(LOOPBACK, sasl=sasl))
    assert problems == [f"FILE: kafka.sasl.{line}" for line in said]


@pytest.mark.parametrize("url", ["http://login.test/token", "https://login.test", "login.test/t"])
def test_a_token_endpoint_has_to_be_https_with_a_path(desk, url):
    (problem,) = desk.problems(kafka(LOOPBACK, sasl=by_token(token_url=url)))
    assert problem.startswith("FILE: kafka.sasl.token_url: must ")


def test_files_mean_nothing_without_tls(desk, files):
    (problem,) = desk.problems(kafka(tls=files | {"enabled": False}))
    assert problem == (
        "FILE: kafka.tls.ca_file: means nothing without TLS; set kafka.tls.enabled: true"
    )


PAIR = ("certificate_file", "key_file")


@pytest.mark.parametrize(("lacks", "given"), [PAIR, PAIR[::-1]])
def test_a_certificate_needs_its_key_and_a_key_its_certificate(desk, files, lacks, given):
    tls = {name: value for name, value in files.items() if name != lacks}
    assert desk.problems(kafka(tls=tls)) == [
        f"FILE: kafka.tls.{lacks}: is needed beside {given} and not there; add it"
    ]


def test_a_key_of_another_certificate_is_told(desk, files, authority):
    other = authority.issue_cert("other@test.invalid").private_key_pem.bytes()
    key = desk.file("me.key", other)
    (problem,) = desk.problems(kafka(tls=files))
    assert problem == (
        f"FILE: kafka.tls.key_file: {key}: is not the key of the certificate in "
        f"{files['certificate_file']}"
    )


def test_files_that_hold_no_pem_are_told(desk, files):
    desk.file("me.pem", "nothing")
    ca = desk.file("ca.pem", "nothing")
    first, second = desk.problems(kafka(tls=files))
    assert first == f"FILE: kafka.tls.ca_file: {ca} holds no certificates in PEM form"
    assert "kafka.tls.key_file" in second
    assert "no certificate and key in PEM form" in second


def test_a_file_that_is_not_there_is_told(desk, files):
    files |= {"ca_file": "/absent/ca", "key_file": "/absent/key"}
    assert desk.problems(kafka(tls=files)) == [
        "FILE: kafka.tls.ca_file: /absent/ca cannot be read: No such file or directory",
        "FILE: kafka.tls.key_file: /absent/key cannot be read: No such file or directory",
    ]

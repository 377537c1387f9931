"""The credential in the configuration: one kind of it, and each mistake in it told with its remedy."""

import datetime as dt

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ingest.simulator.credentials import as_pem, as_pfx, make_certificate

WORD = "correct horse battery"


@pytest.fixture(scope="module")
def pair():
    return make_certificate()


@pytest.fixture
def told(desk):
    """Return the problems of an `entra` that has these keys and no secret."""
    return lambda **keys: desk.problems({"entra": {"client_secret": None, **keys}})


@pytest.fixture
def taken(desk):
    return lambda **keys: desk.load({"entra": {"client_secret": None, **keys}}).entra


def halves(pair, word=""):
    pem = as_pem(*pair, word)
    at = pem.index(b"-----BEGIN", 20)
    return pem[:at], pem[at:]


def test_each_kind_is_enough_by_itself(desk, taken, pair):
    pem = desk.file("both.pem", as_pem(*pair))
    pfx, word = desk.file("app.pfx", as_pfx(*pair, WORD)), desk.file("word", f"{WORD}\n")
    assert taken(certificate_file=str(pem)).certificate_file == pem
    assert taken(certificate=as_pem(*pair).decode())
    assert taken(certificate_file=str(pfx), certificate_passphrase_file=str(word))
    assert taken(certificate_file=str(pfx), certificate_passphrase=WORD)
    assert taken(federated_token_file=str(desk.file("token", "a.b.c")))


def test_two_kinds_are_one_too_many(desk, pair):
    pem, token = desk.file("both.pem", as_pem(*pair)), desk.file("token", "a.b.c")
    keys = {"certificate_file": str(pem), "federated_token_file": str(token)}
    assert desk.problems({"entra": keys}) == [
        "FILE: entra.certificate_file: is given beside client_secret; remove one of the two",
        "FILE: entra.federated_token_file: is given beside client_secret; remove one of the two",
    ]


def test_a_certificate_as_value_and_as_file_is_one_too_many(desk, told, pair):
    pem = as_pem(*pair)
    keys = {"certificate": pem.decode(), "certificate_file": str(desk.file("a", pem))}
    assert told(**keys) == [
        "FILE: entra.certificate: is given beside certificate_file; remove one of the two"
    ]


def test_a_passphrase_without_a_certificate_means_nothing(desk):
    assert desk.problems({"entra": {"certificate_passphrase": WORD}}) == [
        "FILE: entra.certificate_passphrase: means nothing without certificate_file; remove it"
    ]


def test_a_certificate_without_its_key_is_told_where_the_key_may_stand(desk, told, pair):
    path = desk.file("tls.crt", halves(pair)[0])
    assert told(certificate_file=str(path)) == [
        (
            f"FILE: entra.certificate_file: {path} holds no private key in PEM form; add it, or name its "
            "file (certificate_key_file)"
        )
    ]


def test_a_key_of_another_certificate_is_told(desk, told, pair):
    certificate = desk.file("tls.crt", halves(pair)[0])
    key = desk.file("tls.key", halves(make_certificate())[1])
    assert told(certificate_file=str(certificate), certificate_key_file=str(key)) == [
        f"FILE: entra.certificate_file: {certificate} has no certificate that the private key belongs to"
    ]


@pytest.mark.parametrize("word", [None, "wrong"])
@pytest.mark.parametrize("form", [as_pem, as_pfx])
def test_a_passphrase_that_is_missing_or_wrong_is_told_and_not_shown(desk, told, pair, form, word):
    path = desk.file("locked", form(*pair, WORD))
    keys = {} if word is None else {"certificate_passphrase_file": str(desk.file("word", word))}
    (problem,) = told(certificate_file=str(path), **keys)
    assert problem.startswith(f"FILE: entra.certificate_file: {path} ")
    assert "its passphrase (certificate_passphrase_file) is missing or wrong" in problem
    assert WORD not in problem


@pytest.mark.parametrize("content", [b"", b"\0\1\2", b"-----BEGIN NOTHING-----", b"no certificate"])
def test_what_is_no_certificate_at_all_is_told(desk, told, content):
    path = desk.file("file", content)
    (problem,) = told(certificate_file=str(path))
    assert problem.startswith(
        f"FILE: entra.certificate_file: {path} holds no certificate in PEM form"
    )


def test_a_key_that_entra_id_would_not_take_is_told(desk, told, pair):
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = desk.file("ec.pem", halves(pair)[0] + key)
    assert told(certificate_file=str(path)) == [
        f"FILE: entra.certificate_file: {path} has a key that is not RSA, and Entra ID takes no other"
    ]


@pytest.mark.parametrize(
    "name", ["certificate_key_file", "certificate_passphrase_file", "federated_token_file"]
)
def test_a_file_that_is_not_there_is_told_by_its_own_key(desk, told, pair, name):
    path = desk.folder / "absent"
    keys = {name: str(path)}
    if name != "federated_token_file":
        keys["certificate_file"] = str(desk.file("tls.crt", halves(pair)[0]))
    assert told(**keys) == [f"FILE: entra.{name}: {path} cannot be read: No such file or directory"]


def test_no_value_of_a_certificate_is_shown(taken, pair):
    pem = as_pem(*pair, WORD).decode()
    entra = taken(certificate=pem, certificate_passphrase=WORD)
    assert WORD not in repr(entra)
    assert pem[40:80] not in repr(entra)


def test_the_day_on_which_a_secret_expires_is_a_day(desk):
    for written in ("2027-03-31", dt.date(2027, 3, 31)):
        entra = desk.load({"entra": {"client_secret_expires": written}}).entra
        assert entra.client_secret_expires == dt.date(2027, 3, 31)
    entra = desk.load(ENTRA__CLIENT_SECRET_EXPIRES="2027-03-31").entra
    assert entra.client_secret_expires == dt.date(2027, 3, 31)
    for wrong in ("soon", 12, "2027-02-30", "2027-03-31T12:00:00Z"):
        (problem,) = desk.problems({"entra": {"client_secret_expires": wrong}})
        assert problem.startswith("FILE: entra.client_secret_expires: ")


def test_the_end_of_a_secret_means_nothing_beside_a_certificate(desk, told, pair):
    path = desk.file("both.pem", as_pem(*pair))
    assert told(certificate_file=str(path), client_secret_expires="2027-03-31") == [
        "FILE: entra.client_secret_expires: means nothing without client_secret_file; remove it"
    ]

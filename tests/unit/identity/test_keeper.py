"""The credential on disk: exchanged at any moment, in any way, and never lost by half an exchange."""

import base64
import datetime as dt
import os

import pytest
import structlog
from cryptography.hazmat.primitives import serialization

from ingest.errors import SettingsError
from ingest.identity.keeper import Keeper
from ingest.identity.proof import Certificate, Federated, Secret
from ingest.settings.models import Entra
from ingest.simulator.credentials import as_pem, as_pfx, federated_token, make_certificate

CLIENT = "00000000-aaaa-bbbb-cccc-000000000000"
PASSPHRASE = "correct horse battery"


@pytest.fixture(scope="module")
def first():
    return make_certificate(days=30)


@pytest.fixture(scope="module")
def second():
    return make_certificate(days=60)


@pytest.fixture
def keep():
    return lambda **named: Keeper(
        settings=Entra(client_id=CLIENT, **named), log=structlog.get_logger()
    )


def key_of(proof):
    return proof._pair.key.private_numbers()


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_secret_given_as_a_value_is_used_as_it_is(keep):
    assert keep(client_secret=" kept as written ").now() == Secret(" kept as written ")


def test_white_space_around_the_secret_in_a_file_is_ignored(keep, tmp_path):
    path = write(tmp_path / "secret", "\r\n  hush hush \t\n")
    assert keep(client_secret_file=path).now() == Secret("hush hush")


def test_as_long_as_nothing_is_exchanged_it_is_the_same_object(keep, tmp_path, first, events):
    path = write(tmp_path / "both.pem", as_pem(*first))
    keeper = keep(certificate_file=path)
    found = keeper.now()
    write(path, as_pem(*first))
    assert keeper.now() is found
    assert events == []


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe\xff"])
def test_a_file_that_is_away_or_empty_for_a_moment_leaves_the_known_secret(
    keep, tmp_path, content, events
):
    path = write(tmp_path / "secret", "the first secret")
    keeper = keep(client_secret_file=path)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert [keeper.now(), keeper.now()] == [Secret("the first secret")] * 2
    (told,) = events
    assert (told["event"], told["setting"]) == ("credential_unreadable", "entra.client_secret_file")
    assert str(path) in told["error"]
    path.write_text("the next secret")
    assert keeper.now() == Secret("the next secret")


def test_a_file_put_in_the_place_of_the_old_one_is_seen_though_size_and_time_are_the_same(
    keep, tmp_path
):
    path, other = tmp_path / "secret", tmp_path / "next"
    write(path, "the first secret")
    keeper = keep(client_secret_file=path)
    before = path.stat()
    write(other, "the first secreT")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    assert keeper.now() == Secret("the first secreT")


def test_a_new_certificate_with_its_key_in_one_file_is_taken(keep, tmp_path, first, second, events):
    path = write(tmp_path / "both.pem", as_pem(*first))
    keeper = keep(certificate_file=path)
    assert key_of(keeper.now()) == first[0].private_numbers()
    write(path, as_pem(*second))
    assert key_of(keeper.now()) == second[0].private_numbers()
    assert [event["event"] for event in events] == ["credential_reloaded"]
    assert "PRIVATE" not in repr(events)


@pytest.mark.parametrize("key_comes_first", [True, False])
def test_between_the_two_files_of_an_exchange_the_former_pair_is_used(
    keep, tmp_path, first, second, key_comes_first
):
    def parts(pair):
        pem = as_pem(*pair)
        at = pem.index(b"-----BEGIN PRIVATE")
        return {"tls.crt": pem[:at], "tls.key": pem[at:]}

    for name, content in parts(first).items():
        write(tmp_path / name, content)
    keeper = keep(certificate_file=tmp_path / "tls.crt", certificate_key_file=tmp_path / "tls.key")
    order = sorted(parts(second), reverse=key_comes_first)
    write(tmp_path / order[0], parts(second)[order[0]])
    assert key_of(keeper.now()) == first[0].private_numbers()
    write(tmp_path / order[1], parts(second)[order[1]])
    assert key_of(keeper.now()) == second[0].private_numbers()


def test_a_folder_that_kubernetes_swaps_by_a_symbolic_link_is_seen(keep, tmp_path, first, second):
    for name, pair in (("one", first), ("two", second)):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "both.pem", as_pem(*pair))
    link, other = tmp_path / "data", tmp_path / "next"
    link.symlink_to(tmp_path / "one")
    keeper = keep(certificate_file=link / "both.pem")
    other.symlink_to(tmp_path / "two")
    other.replace(link)
    assert key_of(keeper.now()) == second[0].private_numbers()


def test_a_pfx_is_opened_with_its_passphrase_and_exchanged_together_with_it(
    keep, tmp_path, first, second
):
    path, word = tmp_path / "app.pfx", write(tmp_path / "word", PASSPHRASE + "\n")
    write(path, as_pfx(*first, PASSPHRASE))
    keeper = keep(certificate_file=path, certificate_passphrase_file=word)
    assert key_of(keeper.now()) == first[0].private_numbers()
    write(path, as_pfx(*second, "another one"))
    assert key_of(keeper.now()) == first[0].private_numbers()
    write(word, "another one")
    assert key_of(keeper.now()) == second[0].private_numbers()


def test_a_certificate_may_be_a_value_in_either_form(keep, first):
    locked = as_pem(*first, PASSPHRASE).decode()
    pfx = base64.b64encode(as_pfx(*first, PASSPHRASE)).decode()
    for value in (locked, pfx):
        proof = keep(certificate=value, certificate_passphrase=PASSPHRASE).now()
        assert key_of(proof) == first[0].private_numbers()
    assert key_of(keep(certificate=as_pem(*first).decode()).now()) == first[0].private_numbers()


def test_of_a_chain_the_certificate_is_the_one_that_the_key_belongs_to(keep, first, second):
    authority = second[1].public_bytes(serialization.Encoding.PEM)
    found = keep(certificate=(authority + as_pem(*first)).decode()).now()
    assert isinstance(found, Certificate)
    assert found.ends == first[1].not_valid_after_utc.timestamp()


def test_a_federated_token_is_read_anew_and_tells_when_it_ends(keep, tmp_path, first):
    path = write(tmp_path / "token", federated_token(first[0], now=1_800_000_000.0) + "\n")
    keeper = keep(federated_token_file=path)
    assert keeper.now().ends == 1_800_003_600
    later = federated_token(first[0], now=1_800_001_800.0)
    write(path, later)
    assert keeper.now() == Federated(later)
    write(path, "not.a.token")
    assert keeper.now().ends is None


def test_nothing_shows_what_it_holds(keep, tmp_path, first):
    token = federated_token(first[0], now=1.0)
    path = write(tmp_path / "token", token)
    shown = repr(keep(federated_token_file=path).now()) + repr(
        keep(certificate=as_pem(*first).decode()).now()
    )
    shown += repr(keep(client_secret="hush-hush").now())
    assert token not in shown
    assert "hush" not in shown
    assert "RSA" not in shown


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), (b" \n", "is empty"), (b"\xff\xfe", "it is not text")],
)
@pytest.mark.parametrize("name", ["client_secret_file", "federated_token_file"])
def test_a_file_that_will_not_do_at_the_start_is_named_with_its_key(
    keep, tmp_path, name, content, words
):
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError) as refusal:
        keep(**{name: path})
    (problem,) = refusal.value.problems
    assert problem.startswith(f"entra.{name}: {path} ")
    assert words in problem


def test_when_a_certificate_ends_is_read_from_it(keep, first):
    ends = keep(certificate=as_pem(*first).decode()).now().ends
    left = dt.datetime.fromtimestamp(ends, dt.UTC) - dt.datetime.now(dt.UTC)
    assert dt.timedelta(days=29) < left <= dt.timedelta(days=30)

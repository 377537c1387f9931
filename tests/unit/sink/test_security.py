"""What every Kafka client is given, while files change under it."""

import asyncio
import ssl

import pytest
import trustme
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from ingest.errors import SettingsError, SinkForbidden, SinkUnavailable
from ingest.settings.models import Kafka
from ingest.sink.connection import Connection
from ingest.sink.refusals import translate
from ingest.sink.security import ReloadingContext, Security


class Place:
    """A certificate authority, and files that it signs again and again."""

    def __init__(self, folder):
        self.folder = folder
        self.ca = trustme.CA()
        self.ca.cert_pem.write_to_path(folder / "ca.pem")
        self.issue()

    def issue(self):
        issued = self.ca.issue_cert("me@test.invalid", common_name="me")
        (self.folder / "me.pem").write_bytes(issued.cert_chain_pems[0].bytes())
        (self.folder / "me.key").write_bytes(issued.private_key_pem.bytes())
        return issued

    def settings(self, **sasl) -> Kafka:
        tls = {"enabled": True, "ca_file": str(self.folder / "ca.pem")}
        tls |= {"certificate_file": str(self.folder / "me.pem")}
        tls |= {"key_file": str(self.folder / "me.key")}
        return Kafka.model_validate({"bootstrap_servers": ["kafka:9093"], "tls": tls, "sasl": sasl})


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


def wrapped(context: ssl.SSLContext) -> ssl.SSLContext:
    """Return the context that a new connection gets, by asyncio's way to it."""
    return context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="kafka").context


def test_a_connection_gets_what_the_files_hold_when_it_is_made(place):
    context = ReloadingContext(place.settings().tls)
    first = wrapped(context)
    assert wrapped(context) is first
    place.issue()
    second = wrapped(context)
    assert second is not first
    assert (second.verify_mode, second.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize("name", ["ca.pem", "me.pem", "me.key"])
@pytest.mark.parametrize("content", [b"", b"half a fi", None])
def test_files_that_cannot_be_used_leave_the_former_ones_in_use(place, name, content):
    context = ReloadingContext(place.settings().tls)
    first = wrapped(context)
    file = place.folder / name
    before = file.read_bytes()
    file.unlink() if content is None else file.write_bytes(content)
    assert wrapped(context) is first
    file.write_bytes(before)
    assert wrapped(context) is first


def test_a_certificate_is_not_used_before_its_key_has_come_too(place):
    context = ReloadingContext(place.settings().tls)
    first, key = wrapped(context), (place.folder / "me.key").read_bytes()
    place.issue()
    fresh = (place.folder / "me.key").read_bytes()
    (place.folder / "me.key").write_bytes(key)
    assert wrapped(context) is first
    (place.folder / "me.key").write_bytes(fresh)
    assert wrapped(context) is not first


def test_files_that_cannot_be_used_at_the_start_are_a_mistake_in_the_settings(place):
    (place.folder / "me.key").write_bytes(b"nothing")
    with pytest.raises(SettingsError, match=r"kafka\.tls: the files do not fit together"):
        Security(place.settings())


async def test_every_kind_of_client_reads_the_password_at_each_login(place):
    file = place.folder / "password"
    file.write_text("first\n")
    settings = place.settings(mechanism="PLAIN", username="me", password_file=str(file))
    connection = Connection(settings=settings, client_id="x")
    producer, plain = connection.producer("t", batch_bytes=1024), connection.plain_producer()
    consumers = [connection.consumer(), connection.member("g", "x")]
    admin = connection.admin()
    inner = [producer.client, plain.client, *(one._client for one in consumers), admin._client]
    for words in ("first", "second"):
        file.write_text(f"{words}\n")
        assert {one._sasl_plain_password for one in inner} == {words}
    # What cannot be read leaves the former one in use.
    for content in ("", None):
        file.unlink() if content is None else file.write_text(content)
        assert {one._sasl_plain_password for one in inner} == {"second"}
    await asyncio.gather(*(one.stop() for one in (producer, plain, *consumers)), admin.close())


def test_the_principal_is_the_one_that_an_administrator_would_grant_to(place):
    sasl = {"mechanism": "SCRAM-SHA-256", "username": "ingest", "password": "hush-hush"}
    assert Security(place.settings(**sasl)).principal == "User:ingest"
    assert Security(place.settings()).principal.startswith("User:CN=me,")
    assert Security(Kafka(bootstrap_servers=["kafka:9092"])).principal == "User:ANONYMOUS"


@pytest.mark.parametrize(
    ("error", "doing", "what"),
    [
        (TopicAuthorizationFailedError("a.b"), "read", "Read topic a.b"),
        (TopicAuthorizationFailedError("a.b"), "write to", "Write topic a.b"),
        (TopicAuthorizationFailedError({"c", "b"}), "write to", "Write topic b and Write topic c"),
        (TopicAuthorizationFailedError(), "read", "Read topic other"),
        (GroupAuthorizationFailedError("g"), "be a member of group", "Read group g"),
        (TransactionalIdAuthorizationFailed("t-1"), "write to", "Write transactional-id t-1"),
    ],
)
def test_a_right_that_lacks_is_named_with_principal_and_resource_and_remedy(error, doing, what):
    found = translate(error, doing, "other", principal="User:me")
    assert isinstance(found, SinkForbidden)
    assert str(found).startswith(
        f"Kafka does not allow User:me to {what}: grant it with kafka-acls"
    )


def test_a_right_that_lacks_is_found_behind_what_hides_it():
    hidden = KafkaError("Unexpected error during batch delivery")
    hidden.__cause__ = GroupAuthorizationFailedError("g")
    assert isinstance(translate(hidden, "read", "t", principal="User:me"), SinkForbidden)
    assert isinstance(translate(KafkaError(), "read", "t", principal="User:me"), SinkUnavailable)

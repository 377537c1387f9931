"""TLS and SASL for every Kafka client of ours, from files that may be exchanged at any time.

A long-lived client opens connections for as long as it lives, and aiokafka keeps what it was made with. So
what it is given here asks the files anew: a TLS context that is built again once its files have changed, a
password that is read at each login, tokens that are fetched when they are due. A file that cannot be used
just then, half-written or of a pair that does not fit yet, leaves the former content in use.
"""

import ssl
from pathlib import Path
from typing import Any, Self

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from cryptography import x509

from ingest.errors import SettingsError
from ingest.settings.brokers import Tls, load_pair
from ingest.settings.models import Kafka
from ingest.sink.secret import Secret
from ingest.sink.token import ClientCredentials

_log: structlog.stdlib.BoundLogger = structlog.get_logger("defender_ingest")


class Security:
    """What a client has to be given, and whom the brokers will take us for.

    Raises:
        SettingsError: a file cannot be used.
    """

    def __init__(self, settings: Kafka) -> None:
        tls, sasl = settings.tls, settings.sasl
        self._tls, self._username = tls, sasl.username
        self._tokens: ClientCredentials | None = None
        self._password: Secret | None = None
        wire = "SSL" if tls.enabled else "PLAINTEXT"
        self._options: dict[str, Any] = {"security_protocol": wire}
        if tls.enabled:
            self._options["ssl_context"] = ReloadingContext(tls)
        if sasl.mechanism is None:
            return
        self._options |= {"security_protocol": f"SASL_{wire}", "sasl_mechanism": sasl.mechanism}
        if sasl.mechanism == "OAUTHBEARER":
            self._tokens = ClientCredentials(sasl)
            self._options["sasl_oauth_token_provider"] = self._tokens
        else:
            self._password = Secret(
                key="kafka.sasl.password_file", value=sasl.password, file=sasl.password_file
            )
            self._options["sasl_plain_username"] = sasl.username

    @property
    def options(self) -> dict[str, Any]:
        """What any of aiokafka's clients, or one connection, is made with at this moment."""
        if self._password is None:
            return self._options
        return {**self._options, "sasl_plain_password": self._password.read()}

    @property
    def principal(self) -> str:
        """Whom an administrator would grant a right, as far as that can be known from here."""
        if self._tokens is not None:
            return self._tokens.principal
        if self._password is not None:
            return f"User:{self._username}"
        if self._tls.certificate_file is not None:
            return _subject(self._tls.certificate_file)
        return "User:ANONYMOUS"

    def follow(self, client: AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient) -> None:
        """Let a client read the password at each login: by itself it keeps the one it was made with."""
        if self._password is not None:
            inner = client.client if isinstance(client, AIOKafkaProducer) else client._client  # noqa: SLF001
            inner.__class__ = _Client
            inner.password = self._password


class _Client(AIOKafkaClient):  # type: ignore[misc]
    """aiokafka's client with a password that is read when a connection is made.

    It has no such hook: it hands this attribute to each connection that it makes. A test exchanges a
    password under every kind of client, so that a release that does it otherwise is noticed.
    """

    password: Secret

    @property
    def _sasl_plain_password(self) -> str:
        return self.password.read()


class ReloadingContext(ssl.SSLContext):
    """A client's TLS context that is built anew once its files hold something else.

    Every connection is wrapped by asyncio through `wrap_bio`, which is where it looks.

    Raises:
        SettingsError: a file cannot be used.
    """

    def __new__(cls, _: Tls) -> Self:
        """Make a context; whatever is set on it directly has no effect."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._files = [
            file
            for file in (tls.ca_file, tls.certificate_file, tls.key_file, tls.key_password_file)
            if file is not None
        ]
        self._said = ""
        try:
            self._held = self._contents()
            self._now = _context(tls)
        except (OSError, ValueError) as error:
            raise SettingsError([f"kafka.tls: {_words(error)}"]) from None

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        """Begin TLS on one connection, with the files as they are now."""
        return self._fresh().wrap_bio(*arguments, **named)

    def _fresh(self) -> ssl.SSLContext:
        try:
            contents = self._contents()
            if contents != self._held:
                self._now, self._held = _context(self._tls), contents
                _log.info("tls_files_read_again", files=[str(file) for file in self._files])
            self._said = ""
        except (OSError, ValueError) as error:
            words = f"kafka.tls: {_words(error)}; the former content is used"
            if words != self._said:
                _log.warning("tls_files_unusable", error=words)
            self._said = words
        return self._now

    def _contents(self) -> list[bytes]:
        # A few kilobytes at each new connection: no clock or inode can then hide an exchange.
        return [file.read_bytes() for file in self._files]


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca_file)
    if tls.certificate_file is not None and tls.key_file is not None:
        load_pair(context, tls.certificate_file, tls.key_file, tls.key_password_file)
    return context


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"the files do not fit together or hold no PEM ({error.reason or 'unknown'})"
    if isinstance(error, OSError):
        return f"{error.filename} cannot be read: {error.strerror}"
    return "a file is not text"


def _subject(certificate: Path) -> str:
    """Return the principal that brokers make of a certificate, unless they have rules of their own."""
    try:
        subject = x509.load_pem_x509_certificate(certificate.read_bytes()).subject
    except (OSError, ValueError):
        return f"the principal of the certificate in {certificate}"
    return f"User:{subject.rfc4514_string()}"

"""How the brokers are reached and who we are to them; the checks that no field can make alone."""

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr

from ingest.settings.files import Path_, Problems, check_authorities, check_secret, unreadable
from ingest.settings.hosts import is_loopback
from ingest.settings.section import File, Section

TokenUrl = Annotated[str, Field(pattern=r"^https://[^/\s@?#]+/[^\s?#]*$")]


class Tls(Section):
    """TLS to the brokers. Its files are read again at each new connection, so they can be exchanged."""

    enabled: bool = False
    """Speak TLS; the brokers' names are always checked."""

    ca_file: File | None = None
    """A PEM file of the authorities that vouch for the brokers, in place of the system's."""

    certificate_file: File | None = None
    """For mutual TLS: a PEM file with our certificate and its chain."""

    key_file: File | None = None
    """For mutual TLS: a PEM file with the certificate's private key."""

    key_password_file: File | None = None
    """A file that holds the password of the private key, where it has one."""


class Sasl(Section):
    """Who we are to the brokers. Its files are read again at each new connection."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = None
    """How we prove who we are; without one, a client certificate does, or nothing."""

    username: str | None = None
    """For PLAIN and SCRAM: our name; Event Hubs wants `$ConnectionString`."""

    password: SecretStr | None = None
    """For PLAIN and SCRAM. Better: `password_file`. Exactly one of the two is needed."""

    password_file: File | None = None
    """A file that holds the password; white space around it is ignored."""

    token_url: TokenUrl | None = None
    """For OAUTHBEARER: the token endpoint, asked with the grant `client_credentials`."""

    client_id: str | None = None
    """For OAUTHBEARER: the client that asks for tokens."""

    client_secret: SecretStr | None = None
    """For OAUTHBEARER. Better: `client_secret_file`. Exactly one of the two is needed."""

    client_secret_file: File | None = None
    """A file that holds the client's secret; white space around it is ignored."""

    client_authentication: Literal["post", "basic"] = "post"
    """Where the secret is sent: in the form (`post`), or in the `Authorization` header (`basic`)."""

    scope: str | None = None
    """For OAUTHBEARER, where it is wanted; Event Hubs: `https://NAMESPACE.servicebus.windows.net/.default`."""

    token_ca_file: File | None = None
    """A PEM file of the authorities that vouch for the token endpoint, in place of the system's."""

    allow_without_tls: bool = False
    """Let a password or token pass where it can be read on the way; to loopback it needs no leave."""


_BY_PASSWORD = frozenset({"username", "password", "password_file"})
_BY_TOKEN = frozenset(
    {
        *("token_url", "client_id", "client_secret", "client_secret_file"),
        *("client_authentication", "scope", "token_ca_file"),
    }
)


def check_brokers(kafka: Mapping[str, Any]) -> Problems:
    """Yield what is wrong with `kafka.tls` and `kafka.sasl` as they were written."""
    tls, sasl = kafka.get("tls", {}), kafka.get("sasl", {})
    if not isinstance(tls, dict) or not isinstance(sasl, dict):
        return
    yield from _check_tls(tls)
    yield from _check_sasl(sasl)
    if sasl.get("mechanism") and tls.get("enabled") is not True:
        yield from _check_exposure(kafka.get("bootstrap_servers"), sasl)


def _check_exposure(servers: Any, sasl: Mapping[str, Any]) -> Problems:
    if sasl.get("allow_without_tls") is True or not isinstance(servers, list):
        return
    if away := [str(one) for one in servers if not _is_loopback(str(one))]:
        words = (
            f"would send credentials to {away[0]} without TLS; set kafka.tls.enabled: true (or, if that "
            "is meant, kafka.sasl.allow_without_tls: true)"
        )
        yield ("kafka", "sasl", "mechanism"), words


def _check_tls(tls: Mapping[str, Any]) -> Problems:
    at = ("kafka", "tls")
    given = [name for name in Tls.model_fields if name != "enabled" and tls.get(name) is not None]
    if given and tls.get("enabled") is not True:
        yield (*at, given[0]), "means nothing without TLS; set kafka.tls.enabled: true"
    certificate, key = tls.get("certificate_file"), tls.get("key_file")
    if certificate is not None and key is None:
        yield (*at, "key_file"), "is needed beside certificate_file and not there; add it"
    if key is not None and certificate is None:
        yield (*at, "certificate_file"), "is needed beside key_file and not there; add it"
    if tls.get("key_password_file") is not None and key is None:
        yield (*at, "key_password_file"), "means nothing without key_file; remove it"
    if isinstance(tls.get("ca_file"), str):
        yield from check_authorities((*at, "ca_file"), tls["ca_file"])
    password = tls.get("key_password_file")
    if isinstance(password, str) and (why := unreadable(password)):
        yield (*at, "key_password_file"), why
    elif isinstance(certificate, str) and isinstance(key, str):
        yield from _check_pair(at, certificate, key, password)


def _check_pair(at: Path_, certificate: str, key: str, password: Any) -> Problems:
    files = {"certificate_file": certificate, "key_file": key}
    told = {name: why for name, file in files.items() if (why := unreadable(file))}
    for name, why in told.items():
        yield (*at, name), why
    if told:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    secret = Path(password) if isinstance(password, str) else None
    try:
        load_pair(context, Path(certificate), Path(key), secret)
    except ssl.SSLError as error:
        why = (
            f"is not the key of the certificate in {certificate}"
            if error.reason == "KEY_VALUES_MISMATCH"
            else f"no certificate and key in PEM form are in {certificate} and here, or the password "
            "of the key (key_password_file) is missing or wrong"
        )
        yield (*at, "key_file"), f"{key}: {why}"
    except (OSError, ValueError):
        yield (*at, "key_file"), f"{key} and {certificate} cannot be used together"


def load_pair(context: ssl.SSLContext, certificate: Path, key: Path, password: Path | None) -> None:
    """Load a client certificate and its key into a context; never asks the terminal for a password.

    Raises:
        OSError: a file cannot be read, or (`ssl.SSLError`) does not hold what it should.
    """
    secret = "" if password is None else password.read_text().strip()
    context.load_cert_chain(certificate, key, lambda: secret)


def _check_sasl(sasl: Mapping[str, Any]) -> Problems:
    at = ("kafka", "sasl")
    mechanism = sasl.get("mechanism")
    wanted: frozenset[str]
    needed: tuple[str, ...]
    if mechanism == "OAUTHBEARER":
        wanted, needed, secret = _BY_TOKEN, ("token_url", "client_id"), "client_secret"
    elif mechanism:
        wanted, needed, secret = _BY_PASSWORD, ("username",), "password"
    else:
        wanted, needed, secret = frozenset(), (), ""
    for name in Sasl.model_fields:
        stray = name in _BY_PASSWORD | _BY_TOKEN and name not in wanted
        if stray and sasl.get(name) is not None and name != "client_authentication":
            what = f"for {mechanism}" if mechanism else "without kafka.sasl.mechanism"
            yield (*at, name), f"means nothing {what}; remove it"
    for name in needed:
        if not sasl.get(name):
            yield (*at, name), f"is needed for {mechanism} and not there; add it"
    if secret:
        yield from check_secret(at, secret, sasl)
    if isinstance(sasl.get("token_ca_file"), str):
        yield from check_authorities((*at, "token_ca_file"), sasl["token_ca_file"])


def _is_loopback(server: str) -> bool:
    return is_loopback(re.sub(r"^\[(.*)\]$", r"\1", server.rpartition(":")[0]))

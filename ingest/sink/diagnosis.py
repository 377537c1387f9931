"""Why no broker takes us, in words: aiokafka tells its log alone, and retries for ever."""

import asyncio
import ssl
from typing import Any

from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from ingest.errors import SinkError, SinkForbidden, SinkUnavailable
from ingest.settings.models import Kafka
from ingest.sink.token import NoToken

_PATIENCE = 3
"""Requests' bounds: a login takes several of them."""


async def diagnose(settings: Kafka, options: dict[str, Any], principal: str) -> SinkError | None:
    """Connect to each bootstrap server; return what is wrong, None if one takes us."""
    found = await asyncio.gather(
        *(_try(server, settings, options, principal) for server in settings.bootstrap_servers)
    )
    troubles = [one for one in found if one is not None]
    if len(troubles) < len(found):
        return None
    # One that refuses us says more than another one that is down.
    refusals = [one for one in troubles if isinstance(one, SinkForbidden)]
    return next(iter([*refusals, *troubles]), None)


async def _try(
    server: str, settings: Kafka, options: dict[str, Any], principal: str
) -> SinkError | None:
    host, _, port = server.rpartition(":")
    connection = AIOKafkaConnection(
        host.strip("[]"),
        int(port),
        client_id="defender-ingest-diagnosis",
        request_timeout_ms=round(settings.request_timeout_seconds * 1000),
        **options,
    )
    try:
        async with asyncio.timeout(settings.request_timeout_seconds * _PATIENCE):
            await connection.connect()
    except (KafkaError, OSError, TimeoutError, AssertionError, ValueError) as error:
        return _in_words(error, server, settings, principal)
    finally:
        connection.close()
    return None


def _in_words(error: Exception, server: str, settings: Kafka, principal: str) -> SinkError:
    mechanism = settings.sasl.mechanism
    kind: type[SinkError] = SinkUnavailable
    match error:
        case NoToken():
            kind = SinkForbidden if error.is_refusal else SinkUnavailable
            words = str(error.args[0])
        case SaslAuthenticationFailed():
            kind = SinkForbidden
            words = f"{server} does not take {principal} by {mechanism}: check " + (
                "which issuer, audience and keys its listener expects, and kafka.sasl.scope"
                if mechanism == "OAUTHBEARER"
                else "kafka.sasl.username and password_file"
            )
        case UnsupportedSaslMechanismError() | IllegalSaslStateError():
            kind = SinkForbidden
            words = f"{server} does not offer {mechanism}: check kafka.sasl.mechanism, and the port"
        case ssl.SSLCertVerificationError():
            words = (
                f"the certificate of {server} is not trusted ({error.verify_message}): check "
                "kafka.tls.ca_file, and the name in kafka.bootstrap_servers"
            )
        case ssl.SSLError():
            words = (
                f"no TLS with {server} ({error.reason}): check that its port speaks TLS, and "
                "kafka.tls.certificate_file where it asks for one"
            )
        case KafkaConnectionError():
            words = f"{server} ended the connection at once: check " + (
                "kafka.tls.certificate_file, if it asks for one, and that its port speaks TLS"
                if settings.tls.enabled
                else "kafka.tls.enabled, if its port speaks TLS, and kafka.sasl.mechanism"
            )
        case OSError() if error.strerror:
            words = f"{server} cannot be reached: {error.strerror}"
        case _:
            words = f"{server} cannot be reached: {type(error).__name__}"
    return kind(words)

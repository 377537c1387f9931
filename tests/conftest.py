"""What all tests share: the brokers, and what happens where Apache Kafka cannot run."""

import asyncio
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from ingest.simulator.broker import EmbeddedBroker
from tests.kafka.apache import ApacheKafka, missing, required

_LEFT_OUT = pytest.StashKey[str]()


def pytest_sessionstart() -> None:
    # looptime asks for the present loop before tests that need none; asked the first time, asyncio
    # would make one that nobody closes.
    asyncio.set_event_loop(None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("kafka")]
    lacks = missing() if marked else []
    if not lacks:
        return
    words = f"{len(marked)} tests need Apache Kafka, and this machine lacks {' and '.join(lacks)}"
    if required():
        raise pytest.UsageError(words)
    items[:] = [item for item in items if item not in marked]
    config.hook.pytest_deselected(items=marked)
    config.stash[_LEFT_OUT] = f"NOT RUN: {words}"


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if _LEFT_OUT in config.stash:
        terminalreporter.write_line(config.stash[_LEFT_OUT], yellow=True, bold=True)


@pytest.fixture(scope="session")
def apache_kafka() -> Iterator[ApacheKafka]:
    """One broker of Apache Kafka for the whole run; mark the test `kafka`, and name topics apart.

    A test that stops or kills brokers makes a cluster of its own.
    """
    with ApacheKafka() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def embedded_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """The embedded broker for the whole run; name topics apart."""
    with EmbeddedBroker(logs=tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture(scope="session")
def signing_key() -> rsa.RSAPrivateKey:
    """The key of simulated clouds that need no sockets: it takes a while to make one."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)

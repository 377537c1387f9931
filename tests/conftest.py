"""What all tests share: the brokers, and what happens where Apache Kafka cannot run."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, settings

from ingest.simulator.broker import EmbeddedBroker
from tests.chaos import clock
from tests.container import clean_root
from tests.harness.browser import program as browser
from tests.harness.consumers import missing as missing_consumers
from tests.harness.prometheus import missing as missing_prometheus
from tests.kafka.apache import ApacheKafka, missing, required

SAMPLES = Path(__file__).parents[2] / "shared" / "samples"
"""Recorded answers of the real API, beside the project."""

# Machines are noisy: no example fails for being slow, and none for being slow to draw.
settings.register_profile(
    "patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")

_LEFT_OUT = pytest.StashKey[list[str]]()


def pytest_sessionstart() -> None:
    # looptime asks for the present loop before tests that need none; asked the first time, asyncio
    # would make one that nobody closes.
    asyncio.set_event_loop(None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    said = config.stash.setdefault(_LEFT_OUT, [])
    for marker, product, what in (
        ("kafka", "Apache Kafka", missing()),
        ("prometheus", "Prometheus", missing_prometheus()),
        ("consumers", "consumers of Kafka", missing_consumers()),
        ("browser", "a browser", [] if browser() else ["Chromium"]),
        ("compiler", "a clock that can be moved", [lacks] if (lacks := clock.lacks()) else []),
        ("container", "a root of their own", clean_root.missing()),
    ):
        marked = [item for item in items if item.get_closest_marker(marker)]
        if marked and what:
            words = f"{len(marked)} tests need {product}, and this machine lacks {', '.join(what)}"
            if required():
                raise pytest.UsageError(words)
            _leave_out(marked, items, config)
            said.append(f"NOT RUN: {words}")
    marked = [item for item in items if "samples" in getattr(item, "fixturenames", ())]
    if marked and not list(SAMPLES.glob("mde_*.json")):
        # They are not ours to publish: a copy of the project alone does not have them.
        _leave_out(marked, items, config)
        said.append(f"NOT RUN: {len(marked)} tests need the recorded answers in ../shared/samples")


def _leave_out(marked: list[pytest.Item], items: list[pytest.Item], config: pytest.Config) -> None:
    items[:] = [item for item in items if item not in marked]
    config.hook.pytest_deselected(items=marked)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for words in config.stash.get(_LEFT_OUT, []):
        terminalreporter.write_line(words, yellow=True, bold=True)


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of recorded answers; tests that use it are left out, and named, where it is not."""
    return SAMPLES


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

"""A portal on a free port, with a fleet that the test makes up."""

from collections.abc import Callable

import pytest
import structlog
from aiohttp import ClientSession
from prometheus_client import CollectorRegistry, Counter

from ingest.errors import Blame
from ingest.model.credential import CredentialStatus
from ingest.model.status import FeedStatus, State
from ingest.model.tenant import FeedKey
from ingest.portal.web import Portal
from ingest.settings.models import Listen

NOW = 1_700_000_000.0


class StillClock:
    def monotonic(self) -> float:
        return 0.0

    def unix(self) -> float:
        return NOW

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("a portal waits for nobody")


class Stand:
    """What the portal is given, for the test to change."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.statuses: list[FeedStatus] = []
        self.registry = CollectorRegistry()
        self.counter = Counter("tried", "A counter.", registry=self.registry)
        self.credential = CredentialStatus("secret", "entra.client_secret_file", None, 30, False)
        self.render: Callable[[], list[FeedStatus]] = lambda: self.statuses

    def _snapshot(self) -> list[FeedStatus]:
        return self.render()

    def portal(self, **settings) -> Portal:
        return Portal(
            settings=Listen(**({"port": 0} | settings)),
            registry=self.registry,
            ready=lambda: self.reasons,
            snapshot=self._snapshot,
            delivery=lambda: {"delivery": "exactly_once"},
            credential=lambda: self.credential,
            clock=StillClock(),
            log=structlog.get_logger(),
        )


def status(number: int, state: State = State.HEALTHY, **changes) -> FeedStatus:
    fields = {
        "feed": FeedKey(f"{number:08x}-0000-0000-0000-000000000000"),
        "name": f"customer {number}",
        "state": state,
        "code": str(state),
        "reason": "read to the end",
        "blame": Blame.NOBODY,
        "since": NOW - number,
    }
    return FeedStatus(**(fields | changes))


@pytest.fixture
def make_status():
    return status


@pytest.fixture
def stand() -> Stand:
    return Stand()


@pytest.fixture
async def ask(stand):
    """Ask the portal on a path, by any method."""
    async with stand.portal() as portal, ClientSession(portal.url) as session:

        async def asked(path: str, method: str = "GET"):
            answer = await session.request(method, path)
            await answer.read()
            return answer

        yield asked

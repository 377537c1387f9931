"""A tenant, a log that is kept, and metrics that can be asked."""

import pytest
import structlog
from prometheus_client import CollectorRegistry

from ingest.model.tenant import Tenant
from ingest.telemetry.metrics import IdentityMetrics


class Ledger(IdentityMetrics):
    """The metrics of identity, and what they say now."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        super().__init__(self.registry)

    def rejected(self) -> float | None:
        return self.registry.get_sample_value("defender_ingest_credential_rejected")

    def ends(self, kind: str) -> float | None:
        name = "defender_ingest_credential_expires_timestamp_seconds"
        return self.registry.get_sample_value(name, {"kind": kind})

    def requests(self, outcome: str) -> float:
        name = "defender_ingest_token_requests_total"
        return self.registry.get_sample_value(name, {"outcome": outcome}) or 0.0


@pytest.fixture
def tenant() -> Tenant:
    return Tenant(id="11111111-2222-3333-4444-555555555555", name="Contoso", region="eu")


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def events():
    with structlog.testing.capture_logs() as kept:
        yield kept

"""What each tenant may still ask of the API: one budget for each, which every call comes out of."""

from ingest.model.budget import Budget
from ingest.pipeline.ports import Clock
from ingest.settings.models import Source
from ingest.telemetry.metrics import SourceMetrics

_SHORTEST_SLEEP_SECONDS = 0.001


class Budgets:
    """The budgets of all tenants that are read here, by tenant id."""

    def __init__(self, *, settings: Source, clock: Clock, metrics: SourceMetrics) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._budgets: dict[str, Budget] = {}
        self._tenures: dict[str, int] = {}

    def left(self, tenant: str) -> int | None:
        """Return how many calls could be made at once, None before the first."""
        budget = self._budgets.get(tenant)
        return None if budget is None else budget.left(self._clock.monotonic())

    def begin(self, tenant: str, *, tenure: int, granted: float) -> None:
        """See `Source.begin`."""
        now = self._clock.monotonic()
        known = self._budgets.get(tenant)
        if known is None:
            self._budgets[tenant] = self._new(granted)
        elif self._tenures.get(tenant) != tenure:
            self._budgets[tenant] = known.renewed(now, granted=granted)
        self._tenures[tenant] = tenure

    async def spend(self, tenant: str) -> Budget:
        """Wait until the tenant's budget allows one call, and take it out."""
        budget = self._budgets.get(tenant)
        if budget is None:
            budget = self._budgets[tenant] = self._new()
        began = self._clock.monotonic()
        while (delay := budget.delay(self._clock.monotonic())) > 0:
            # What is missing may be less than a clock can tell: of such a sleep nobody would wake.
            await self._clock.sleep(max(delay, _SHORTEST_SLEEP_SECONDS))
        budget.spend(self._clock.monotonic())
        self._metrics.waited(self._clock.monotonic() - began)
        return budget

    def _new(self, granted: float = 0.0) -> Budget:
        return Budget(
            per_minute=self._settings.calls_per_minute,
            per_hour=self._settings.calls_per_hour,
            started=self._clock.monotonic(),
            granted=granted,
        )

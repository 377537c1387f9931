"""One simulated tenant: its alerts, its limits, what is wrong with it now, what was recorded of it."""

import string
from collections.abc import Iterator
from dataclasses import dataclass, field

from ingest.simulator.faults import Fault, Layer
from ingest.simulator.population import Population
from ingest.simulator.quota import CallMeter, Quota
from ingest.simulator.record import Outages

_IN_DOMAINS = frozenset(string.ascii_lowercase + string.digits)


@dataclass(slots=True, eq=False)
class Customer:
    """A customer's directory in the simulated cloud.

    `consented` says whether its administrator has let the application in.
    `tokens_since` is the generation of tokens that the API takes: a revoked consent begins another.
    `links` says whether this tenant's pages have a `@odata.nextLink`, which no page documents.
    """

    id: str
    name: str
    region: str
    population: Population
    links: bool
    links_first: bool
    consented: bool = True
    quota: Quota = field(default_factory=Quota)
    calls: CallMeter = field(default_factory=CallMeter)
    outages: Outages = field(default_factory=Outages)
    faults: list[Fault] = field(default_factory=list)
    tokens_since: int = 0
    blocked_until: float = 0.0

    @property
    def domain(self) -> str:
        """The domain name that its directory was founded with."""
        name = "".join(letter for letter in self.name.lower() if letter in _IN_DOMAINS)
        return f"{name}.onmicrosoft.com"

    def afflicted(self, now: float, *layers: Layer) -> Iterator[Fault]:
        """Yield the faults that show in these layers now, oldest first."""
        if not self.faults:
            return
        self.faults = [fault for fault in self.faults if not fault.over(now)]
        for fault in self.faults:
            if fault.layer in layers:
                yield fault

    def heal(self, now: float, wall: float) -> None:
        """Take away everything that is wrong with it."""
        self.faults.clear()
        self.blocked_until = min(self.blocked_until, now)
        self.outages.lifted(wall)

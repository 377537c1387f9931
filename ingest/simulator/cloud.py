"""The simulated cloud: every endpoint, without a socket, on any clock."""

import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from ingest.simulator import admin, alerts, clouds
from ingest.simulator.application import Application
from ingest.simulator.consent import Consents
from ingest.simulator.content import MALFORMED_FORMS
from ingest.simulator.customer import Customer
from ingest.simulator.entra import Entra
from ingest.simulator.exchange import Response, api_error
from ingest.simulator.faults import Fault, FaultBook, Layer, Line, Script, read_fault
from ingest.simulator.population import Population, Rhythm, Stored
from ingest.simulator.quota import Quota
from ingest.simulator.record import Record
from ingest.simulator.samples import RecordedAnswer, Replay
from ingest.simulator.times import Timeline, http_date, ticks_of

REGION = "simulated"
"""The region that simulated tenants are in where a plan names none."""

_COMPANIES = ("Contoso", "Fabrikam", "Northwind", "Litware", "Proseware", "Tailspin", "Wingtip")
_TRADES = ("Bank", "Foods", "Health", "Logistics", "Motors", "Power", "Retail", "Steel", "Travel")
_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """What is simulated.

    Args:
        tenants: how many there are.
        seed: of everything that is left to chance.
        births_per_minute: alerts born in the whole fleet; 0 for a fleet in which nothing happens.
        version_seconds: the shortest life of a version before the same alert changes again.
        backlog: alerts per tenant that are there at the start.
        large_every: each so many-th tenant has six times as many; 0 for none.
        page_cap: the most records of any page, below `$top`.
        limits: whether the API's documented limits hold.
        faults: a script of faults.
        answers: recorded answers to serve, of one tenant, instead of simulated alerts.
        token_seconds: how long tokens live.
        unconsented: how many of the tenants, the last ones, have not consented yet.
        redirect_urls: where the application may be sent back to after a consent.
        regions: those of `clouds` that the tenants are in, in turn; none for one region on any host.
    """

    tenants: int = 200
    seed: int = 1
    births_per_minute: float = 300.0
    version_seconds: float = 30.0
    backlog: int = 40
    large_every: int = 0
    page_cap: int | None = None
    limits: bool = True
    faults: tuple[Line, ...] = ()
    answers: tuple[RecordedAnswer, ...] = ()
    token_seconds: int = 3599
    unconsented: int = 0
    redirect_urls: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    client_secret: str = field(default="simulated-secret", repr=False)


class SimulatedCloud:
    """Entra ID and the Defender alert API of many tenants, and what was recorded of them.

    Args:
        plan: what is simulated.
        clock: the time in Unix seconds.
        key: signs tokens; made where it is not given.
    """

    def __init__(
        self,
        *,
        plan: Plan,
        clock: Callable[[], float],
        key: rsa.RSAPrivateKey | None = None,
    ) -> None:
        self.plan = plan
        self.timeline = Timeline(clock)
        self.record = Record()
        self.book = FaultBook()
        self.started = self.timeline.now()
        self.frozen = False
        rng = random.Random(f"{plan.seed}/fleet")
        self.client_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        self.application = Application(self.client_id, secrets={plan.client_secret: None})
        self._replay = Replay(list(plan.answers)) if plan.answers else None
        self.customers = {customer.id: customer for customer in self._found(rng)}
        self._fleet = list(self.customers)
        self._malformed = cycle(MALFORMED_FORMS)
        self._script = Script(plan.faults, self.started, random.Random(f"{plan.seed}/faults"))
        self._entra = Entra(
            timeline=self.timeline,
            key=key or rsa.generate_private_key(public_exponent=65537, key_size=2048),
            application=self.application,
            token_seconds=plan.token_seconds,
            customer=self.customers.get,
            of_domain={one.domain: one for one in self.customers.values()}.get,
            book=self.book,
        )
        self._consents = Consents(
            timeline=self.timeline,
            client_id=self.client_id,
            redirect_urls=plan.redirect_urls,
            customers=self.customers,
        )
        self._alerts = alerts.AlertApi(
            timeline=self.timeline,
            rng=random.Random(f"{plan.seed}/answers"),
            book=self.book,
            customer=self.customers.get,
            grant_of=self._entra.grant_of,
            page_cap=plan.page_cap,
            limits=plan.limits,
            recorded=self._recorded,
        )

    def _found(self, rng: random.Random) -> list[Customer]:
        """Found the tenants, with their alerts of old."""
        plan = self.plan
        count = 1 if self._replay else plan.tenants
        weights = [rng.lognormvariate(0.0, 0.8) for _ in range(count)]
        total = sum(weights)
        customers = []
        for number, weight in enumerate(weights):
            identity = str(uuid.UUID(int=rng.getrandbits(128), version=4))
            name = f"{_COMPANIES[number % 7]} {_TRADES[number // 7 % 9]} {number + 1}"
            rhythm = Rhythm(
                births_per_minute=plan.births_per_minute * weight / total,
                version_seconds=plan.version_seconds,
                backlog=plan.backlog * (6 if _is_large(number, plan.large_every) else 1),
            )
            if self._replay:
                identity, name = self._replay.tenant or identity, "Recorded"
                rhythm = Rhythm(0.0, plan.version_seconds, 0)
            population = Population(
                tenant=identity,
                seed=f"{plan.seed}/{identity}",
                rhythm=rhythm,
                timeline=self.timeline,
                record=self.record,
            )
            population.settle(self.started)
            customers.append(
                Customer(
                    id=identity,
                    name=name,
                    region=plan.regions[number % len(plan.regions)] if plan.regions else REGION,
                    population=population,
                    links=rng.random() < _HALF,
                    links_first=rng.random() < _HALF,
                    consented=number < count - plan.unconsented,
                    quota=Quota(),
                )
            )
        return customers

    def handle(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Response:
        """Answer one request; `query` is raw, the names of `headers` are in lower case."""
        self._happen()
        host = headers.get("host", "localhost")
        if path.startswith("/admin/"):
            answer = admin.handle(self, method, path, body)
        elif path in alerts.PATHS and clouds.is_api(host):
            answer = self._alerts.handle(method, path, query, host, headers)
        else:
            found = self._consents.handle(method, path, query, headers, body)
            if found is None and clouds.is_login(host):
                found = self._entra.handle(method, path, host, headers, body)
            answer = found or api_error(404, "ResourceNotFound", "There is no such resource.")
        answer.headers["Date"] = http_date(self.timeline.now())
        return answer

    def _happen(self) -> None:
        """Begin the script's faults that are due."""
        for tenant, spec in self._script.due(self.timeline.now(), self._fleet):
            self.add_fault(tenant, spec)

    def _recorded(self, customer: Customer, now: float) -> bytes | None:
        return None if self._replay is None else self._replay.answer(customer.population, now)

    def add_fault(self, tenant: str, spec: Mapping[str, Any]) -> None:
        """Let something go wrong for one tenant, or for all with `*`.

        Raises:
            FaultError: it is not understood.
            KeyError: there is no such tenant.
        """
        now = self.timeline.now()
        chosen = self._fleet if tenant == "*" else [self.customers[tenant].id]
        for identity in chosen:
            fault = read_fault(spec, now)
            if fault.layer is Layer.DATA:
                self._bear(self.customers[identity].population, fault, now)
                continue
            self.customers[identity].faults.append(fault)
            if fault.layer is Layer.TOKEN:
                # Tokens live for an hour; without this nobody would ask for one while it lasts.
                self.customers[identity].tokens_since += 1

    def _bear(self, population: Population, fault: Fault, now: float) -> None:
        population.advance(now)
        for _ in range(fault.left or 1):
            match fault.kind:
                case "late":
                    population.bear_late(now, float(fault.options["by"]))
                case "huge":
                    population.bear_huge(now, int(fault.options["bytes"]))
                case "year_9999":
                    population.bear_future(now)
                case _:
                    form = fault.options["record"] or next(self._malformed)
                    population.bear_malformed(now, form)

    def heal(self, tenant: str) -> None:
        """Take away what is wrong with one tenant now, and what it was still to meet.

        Raises:
            KeyError: there is no such tenant.
        """
        now = self.timeline.now()
        self.customers[tenant].heal(now, self.timeline.wall(now))

    def advance(self) -> None:
        """Let everything that is due happen everywhere."""
        now = self.timeline.now()
        for customer in self.customers.values():
            customer.population.advance(now)

    def touch(self, tenant: str, alert: str) -> Stored:
        """Give an alert a later `lastUpdateTime`; a copy of the former version is kept.

        Raises:
            KeyError: there is no such tenant or alert.
        """
        population = self.customers[tenant].population
        now = self.timeline.now()
        population.advance(now)
        stored = population.touch(alert, now)
        if self._replay is not None:
            self._replay.touched(alert)
        return stored

    def burst(self, count: int, seconds: float) -> None:
        """Let every tenant have many alerts of the last `seconds` at once."""
        now = self.timeline.now()
        self.advance()
        for customer in self.customers.values():
            customer.population.burst(now, count, seconds)

    def freeze(self) -> None:
        """No more births, changes or faults; what is there stays as it is."""
        self.advance()
        self.frozen = True
        now = self.timeline.now()
        self._script.stop()
        for customer in self.customers.values():
            customer.population.freeze()
            customer.heal(now, self.timeline.wall(now))

    def shift(self, offset: float) -> None:
        """Set how far simulated time is ahead of the clock, in seconds."""
        self.advance()
        self._happen()
        self.timeline.shift(offset)

    def oldest(self) -> int:
        """Return the lowest `lastUpdateTime` of all alerts in ticks; the start where there are none."""
        known = [customer.population.oldest for customer in self.customers.values()]
        times = [ticks for ticks in known if ticks is not None]
        if self._replay is not None:
            times.append(self._replay.oldest)
        return min(times, default=ticks_of(self.started))


def _is_large(number: int, every: int) -> bool:
    return every > 0 and number % every == every - 1

"""Identity as it is, MSAL too, for a world in virtual time."""

import asyncio
import functools
import random

from prometheus_client import CollectorRegistry

from ingest.identity.tokens import Tokens
from ingest.settings.models import Entra
from ingest.settings.regions import Region
from ingest.simulator.cloud import REGION
from ingest.simulator.token_endpoint import DEFENDER
from ingest.telemetry.metrics import IdentityMetrics
from tests.fakes.virtual_loop import VirtualLoop
from tests.harness.cloud_http import CloudHttp
from tests.harness.world import SILENT, World


def in_virtual_time(scenario):
    """Run a scenario on a loop whose time costs nothing: hours of thousands are too much for looptime."""

    @functools.wraps(scenario)
    def run(**fixtures):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(scenario(**fixtures))

    return run


def real_tokens(world: World, **entra) -> tuple[Tokens, CloudHttp]:
    """Return tokens for a world whose readers run on the present loop, and what they ask with."""
    settings = Entra(client_id=world.cloud.client_id, login_url="https://login.test", **entra)
    tokens = Tokens(
        settings=settings,
        regions={REGION: Region(api_url="https://api.test", resource=DEFENDER)},
        ca_file=None,
        clock=world.clock,
        rng=random.Random(1),
        metrics=IdentityMetrics(CollectorRegistry()),
        log=SILENT,
    )
    http = CloudHttp(world.cloud)
    tokens._entra._http = http
    return tokens, http

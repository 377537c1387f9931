"""What a token costs with each kind of credential: `python -m tests.bench.tokens`.

Every tenant's token is asked for anew, over TLS, from a simulator in another process. Prints the CPU time
of this process for each: the event loop's part, MSAL's, the signature's and TLS's; and without the network
what MSAL and the signature take alone. Before all, what a signature takes by itself. The process is set up
as the daemon's is (`ingest.runtime.allocator`).
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from pathlib import Path

import structlog
import yaml
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from prometheus_client import CollectorRegistry

from ingest.identity.entra import EntraId
from ingest.identity.http import Answer
from ingest.identity.keeper import Keeper
from ingest.identity.tokens import Tokens
from ingest.runtime.allocator import keep_freed_pages, narrow_tls_buffers, spare_collector
from ingest.runtime.clock import SystemClock
from ingest.settings.loader import load
from ingest.settings.models import Settings
from ingest.simulator.processes import Child
from ingest.telemetry.metrics import IdentityMetrics

_SIGNATURES = 500
PROGRAM = (sys.executable, "-m", "ingest")
SILENT = structlog.wrap_logger(
    structlog.PrintLogger(), wrapper_class=structlog.make_filtering_bound_logger(50)
)


class Nowhere:
    """In the network's place: the answer is there at once."""

    def __init__(self, token: str) -> None:
        content = {"token_type": "Bearer", "expires_in": 3599, "access_token": token}
        self._answer = Answer(200, json.dumps(content), {})

    async def post(self, _url: str, **_: object) -> Answer:
        return self._answer


async def refreshed(settings: Settings, rounds: int) -> tuple[list[float], str]:
    """Return CPU milliseconds for each token of a round, and one of the tokens."""
    tenants = [one.tenant for one in settings.tenants]
    found = []
    async with Tokens(
        settings=settings.entra,
        regions=settings.served,
        ca_file=settings.ca_file,
        clock=SystemClock(),
        rng=random.Random(1),
        metrics=IdentityMetrics(CollectorRegistry()),
        log=SILENT,
        proxy_of=lambda _: None,
    ) as tokens:
        held = await asyncio.gather(*map(tokens.get, tenants))
        spare_collector()
        for _ in range(rounds):
            began = time.process_time()
            held = await asyncio.gather(
                *(
                    tokens.refresh(tenant, token)
                    for tenant, token in zip(tenants, held, strict=True)
                )
            )
            found.append(1000 * (time.process_time() - began) / len(tenants))
        return found, held[0]


async def alone(settings: Settings, token: str) -> float:
    """Return CPU milliseconds for each token without the network."""
    keeper = Keeper(settings=settings.entra, log=SILENT)
    entra = EntraId(
        settings=settings.entra,
        http=Nowhere(token),
        clock=SystemClock(),
        credential=keeper.setting,
    )
    tenants = [one.tenant for one in settings.tenants]
    resource = settings.regions[tenants[0].region].resource
    began = time.process_time()
    for tenant in tenants:
        await entra.acquire(tenant, resource=resource, proof=keeper.now())
    return 1000 * (time.process_time() - began) / len(tenants)


def signature() -> float:
    """Return CPU milliseconds for one signature: nobody can spare it, and it tells machines apart."""
    key = rsa.generate_private_key(65537, 2048)
    how = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    began = time.process_time()
    for _ in range(_SIGNATURES):
        key.sign(b"x" * 300, how, hashes.SHA256())
    return 1000 * (time.process_time() - began) / _SIGNATURES


def measure(kind: str, version: str, tenants: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="defender-tokens-") as folder:
        root = Path(folder)
        config = root / "daemon.yaml"
        command = [
            *(*PROGRAM, "simulate", "--port", "0", "--tenants", str(tenants), "--no-limits"),
            *("--births-per-minute", "0", "--backlog", "0", "--credential", kind),
            *("--write-config", str(config), "--kafka", "127.0.0.1:1", "--state-dir", folder),
        ]
        with Child(name="simulator", command=command, folder=root) as simulator:
            simulator.first_line(timeout=120)
            content = yaml.safe_load(config.read_text())
            content["entra"]["token_version"] = version
            config.write_text(yaml.safe_dump(content))
            settings = load(config, {})
            whole, token = asyncio.run(refreshed(settings, rounds))
            without = asyncio.run(alone(settings, token))
            print(
                f"tokens: credential={kind} version={version} tenants={tenants} "
                f"ms={min(whole):.2f}..{max(whole):.2f} without_network={without:.2f}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", default=["secret", "certificate", "pfx", "federated"])
    parser.add_argument("--versions", nargs="+", default=["v2", "v1"])
    words = parser.parse_args()
    keep_freed_pages()
    narrow_tls_buffers()
    print(f"tokens: signature={signature():.2f}", flush=True)
    for kind in words.kinds:
        for version in words.versions:
            measure(kind, version, words.tenants, words.rounds)


if __name__ == "__main__":
    main()

"""Credentials that are exchanged on disk while everybody is polled: not one poll fails.

The whole of identity (MSAL too) on the simulated cloud, in virtual time, with tokens of two minutes, so
that some are always being renewed; the former credential is revoked at the moment of the exchange.
"""

import asyncio
import datetime as dt

import pytest

from ingest.model.status import State
from ingest.simulator.application import Trust
from ingest.simulator.cloud import Plan
from ingest.simulator.credentials import (
    ISSUER,
    SUBJECT,
    as_pem,
    as_pfx,
    federated_token,
    make_certificate,
)
from tests.harness.real_tokens import in_virtual_time, real_tokens
from tests.harness.world import EPOCH, World

BEGIN = dt.datetime.fromtimestamp(EPOCH, dt.UTC)
WORD = "correct horse battery"
EXCHANGES = 4


@pytest.fixture(scope="module")
def pairs():
    """A certificate for the start and for each exchange: to make one takes a while."""
    return [make_certificate(now=BEGIN) for _ in range(EXCHANGES + 1)]


class Office:
    """Renews the application's credential, on disk and at Entra ID."""

    def __init__(self, kind, application, folder, pairs) -> None:
        self.kind, self.application, self.folder = kind, application, folder
        self._pairs = iter(pairs)
        self.settings = {
            "secret": {"client_secret_file": folder / "file"},
            "certificate": {
                "certificate_file": folder / "file",
                "certificate_key_file": folder / "key",
            },
            "pfx": {"certificate_file": folder / "file", "certificate_passphrase": WORD},
            "federated": {"federated_token_file": folder / "file"},
        }[kind]

    def renew(self) -> None:
        key, certificate = next(self._pairs)
        self.application.secrets.clear()
        self.application.certificates[:] = [certificate]
        self.application.trusts[:] = [Trust(ISSUER, SUBJECT, key.public_key())]
        match self.kind:
            case "secret":
                text = f"secret-{id(key)}"
                self.application.secrets[text] = None
                self._write("file", text.encode())
            case "certificate":
                pem = as_pem(key, certificate)
                at = pem.index(b"-----BEGIN PRIVATE")
                self._write("file", pem[:at])
                self._write("key", pem[at:])
            case "pfx":
                self._write("file", as_pfx(key, certificate, WORD))
            case "federated":
                self._write("file", federated_token(key, now=EPOCH, seconds=86_400).encode())

    def _write(self, name: str, content: bytes) -> None:
        (self.folder / name).write_bytes(content)


@pytest.mark.parametrize("version", ["v2", "v1"])
@pytest.mark.parametrize("kind", ["secret", "certificate", "pfx", "federated"])
@in_virtual_time
async def test_a_credential_is_exchanged_again_and_again_and_no_poll_fails(
    signing_key, tmp_path, pairs, kind, version
):
    plan = Plan(tenants=20, births_per_minute=0.0, backlog=1, limits=False, token_seconds=120)

    def tokens(world):
        made, world.http = real_tokens(world, token_version=version, **office.settings)
        return made

    world = World(signing_key, plan=plan, interval=10.0, tokens=tokens)
    office = Office(kind, world.cloud.application, tmp_path, pairs)
    office.renew()
    async with world.reading():
        for _ in range(EXCHANGES):
            await world.run(77)
            office.renew()
            # In the middle of requests that carry the former one.
            await asyncio.sleep(0.02)
        await world.run(200)
        assert {state for seen in world.seen.values() for state in seen} <= {
            State.STARTING,
            State.HEALTHY,
        }
        failed = world.registry.get_sample_value(
            "defender_ingest_state_transitions_total", {"state": "parked"}
        )
        assert failed == 0
        assert len(world.http.posts) > 5 * len(world.tenants)
    assert world.counted("defender_ingest_sweeps_total") == world.registry.get_sample_value(
        "defender_ingest_sweeps_total", {"tier": "fast", "outcome": "whole"}
    ) + world.registry.get_sample_value(
        "defender_ingest_sweeps_total", {"tier": "slow", "outcome": "whole"}
    )

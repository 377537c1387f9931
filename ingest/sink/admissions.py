"""Registers who has consented, on Kafka: see `ingest.model.admission` for why it is done in two steps."""

import asyncio
import random
from collections.abc import Mapping

import structlog

from ingest.errors import SinkUnavailable
from ingest.model.admission import Admission, newcomer, promoted, standing_of
from ingest.model.invitation import Invitation
from ingest.model.roster import Registration
from ingest.pipeline.ports import Clock
from ingest.settings.models import Kafka
from ingest.sink.connection import Connection
from ingest.sink.layout import TopicNames
from ingest.sink.registrar import Registrar
from ingest.sink.roster import Roster

_SECONDS = 30.0


class Admissions:
    """Admits one consent after another; those of other replicas may cross."""

    def __init__(
        self,
        *,
        settings: Kafka,
        clock: Clock,
        rng: random.Random,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._settings = settings
        self._connection = Connection(settings=settings, client_id="defender-ingest-consent")
        self._clock = clock
        self._rng = rng
        self._log = log
        self._turn = asyncio.Lock()

    async def admit(self, tenant: str, invitation: Invitation | None, *, region: str) -> Admission:
        """Register a directory that is known to have consented, unless it may not be.

        Args:
            tenant: its GUID.
            invitation: which it came by, if any.
            region: where it is looked for without one.

        Raises:
            SinkError: it may stand there as awaiting approval; to do it again does no harm.
        """
        async with self._turn:
            roster, unreadable = await self._read()
            found = standing_of(tenant, invitation, roster, unreadable)
            if found is not None:
                return found
            written = newcomer(tenant, invitation, region, roster, self._clock.unix())
            async with Registrar(settings=self._settings, log=self._log) as registrar:
                await registrar.write([written])
                # Anew, and to its end as it is now: another replica may have written what this one did.
                roster, _ = await self._read()
                record = promoted(written, invitation, roster)
                if record is None:
                    return Admission.AWAITING
                await registrar.write([record])
            return Admission.ACTIVE

    async def _read(self) -> tuple[Mapping[str, Registration], Mapping[str, str]]:
        """Read the tenants topic whole, to its present end."""
        roster = Roster(
            connection=self._connection,
            topic=TopicNames.of(self._settings).tenants,
            shards=self._settings.shards,
            clock=self._clock,
            rng=self._rng,
            log=self._log,
        )
        try:
            async with asyncio.timeout(_SECONDS), roster:
                return roster.everybody(), dict(roster.unreadable())
        except TimeoutError:
            raise SinkUnavailable(
                f"the tenants topic could not be read within {_SECONDS:g} s from "
                f"{self._connection.servers}: check the brokers"
            ) from None

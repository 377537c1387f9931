"""Consents that cross on real brokers: one invitation lets one tenant be read, whoever is faster."""

import asyncio
import random
import time
import uuid

import pytest
import structlog

from ingest.errors import SinkUnavailable
from ingest.model.admission import Admission
from ingest.model.invitation import Invitation
from ingest.model.roster import Standing
from ingest.runtime.clock import SystemClock
from ingest.settings.models import Kafka
from ingest.sink.admissions import Admissions
from ingest.sink.connection import Connection
from ingest.sink.roster import Roster
from ingest.sink.topics import Topics

ONE, TWO, THREE = (str(uuid.UUID(int=n)) for n in (1, 2, 3))
LOG = structlog.get_logger()


class Place:
    """One installation, and what its tenants topic says."""

    def __init__(self, bootstrap) -> None:
        self.settings = Kafka(
            bootstrap_servers=bootstrap.split(","),
            prefix=f"t{uuid.uuid4().hex[:8]}",
            shards=3,
            alert_partitions=1,
            replication_factor=1,
        )
        self.connection = Connection(settings=self.settings, client_id="a test")
        self.topics = Topics(settings=self.settings, connection=self.connection, log=LOG)

    def replica(self) -> Admissions:
        return Admissions(
            settings=self.settings, clock=SystemClock(), rng=random.Random(1), log=LOG
        )

    async def roster(self):
        roster = Roster(
            connection=self.connection,
            topic=self.topics.names.tenants,
            shards=self.settings.shards,
            clock=SystemClock(),
            rng=random.Random(1),
            log=LOG,
        )
        async with asyncio.timeout(30), roster:
            return roster.everybody()


@pytest.fixture(params=["embedded", pytest.param("apache", marks=pytest.mark.kafka)])
async def place(request):
    fixture = "apache_kafka" if request.param == "apache" else "embedded_kafka"
    place = Place(request.getfixturevalue(fixture).bootstrap)
    for left in reversed(range(20)):
        try:
            await place.topics.ensure()
            break
        except SinkUnavailable:
            if not left:
                raise
            await asyncio.sleep(0.2)
    return place


def invitation(name="Contoso"):
    return Invitation(uuid.uuid4().hex, name, "eu", round(time.time()) + 3600)


async def test_an_invited_tenant_is_written_as_read_and_keeps_its_invitation(place):
    invited = invitation()
    assert await place.replica().admit(ONE, invited, region="us") is Admission.ACTIVE
    row = (await place.roster())[ONE]
    assert (row.standing, row.invitation, row.tenant.name) == (
        *(Standing.ACTIVE, invited.id),
        "Contoso",
    )
    # Another replica, later, and one that was restarted: all read it off the topic.
    assert await place.replica().admit(ONE, invited, region="us") is Admission.ACTIVE
    assert await place.replica().admit(TWO, invited, region="us") is Admission.USED
    assert await place.replica().admit(ONE, None, region="us") is Admission.KNOWN
    assert await place.replica().admit(ONE, invitation("Other"), region="us") is Admission.KNOWN
    assert list(await place.roster()) == [ONE]


async def test_an_uninvited_tenant_is_written_and_not_read(place):
    assert await place.replica().admit(ONE, None, region="us") is Admission.AWAITING
    row = (await place.roster())[ONE]
    assert (row.standing, row.invitation, row.tenant.name) == (Standing.AWAITING, None, ONE)


@pytest.mark.slow
async def test_of_those_who_cross_at_three_replicas_one_is_read_at_most(place):
    replicas = [place.replica() for _ in range(3)]
    for turn in range(4):
        invited = invitation(f"Customer {turn}")
        tenants = [str(uuid.UUID(int=100 * (turn + 1) + n)) for n in range(3)]
        outcomes = await asyncio.gather(
            *(
                replica.admit(tenant, invited, region="us")
                for replica, tenant in zip(replicas, tenants, strict=True)
            )
        )
        rows = await place.roster()
        read = [tenant for tenant in tenants if tenant in rows and rows[tenant].is_read]
        assert len(read) <= 1
        assert outcomes.count(Admission.ACTIVE) == len(read)
        for tenant, outcome in zip(tenants, outcomes, strict=True):
            if outcome is Admission.AWAITING:
                assert rows[tenant].standing is Standing.AWAITING
            elif outcome is Admission.USED:
                assert tenant not in rows

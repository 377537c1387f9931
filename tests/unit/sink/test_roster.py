"""The roster while the number of shards is changed: whichever partition is read first."""

import itertools
import json
import random
import uuid

import pytest
import structlog
from structlog.testing import capture_logs

from ingest.model.roster import Origin, Registration, Standing, encode_registration
from ingest.model.tenant import Tenant, shard_of
from ingest.runtime.clock import SystemClock
from ingest.sink.roster import Roster

SHARDS = 5
TENANT = str(uuid.UUID(int=7))
OWN = shard_of(TENANT, SHARDS)
OTHER, THIRD = (OWN + 1) % SHARDS, (OWN + 2) % SHARDS
WORDS = "stands in the partition of another number of shards: run defender-ingest reshard"


def record(name="Contoso"):
    return encode_registration(
        Registration(Tenant(TENANT, name, "eu"), Standing.ACTIVE, Origin.COMMAND, by="me", at=0.0)
    )


class Reading:
    def __init__(self) -> None:
        self.roster = Roster(
            connection=None,
            topic="tenants",
            shards=SHARDS,
            clock=SystemClock(),
            rng=random.Random(1),
            log=structlog.get_logger(),
        )

    def take(self, shard, value, key=TENANT):
        return self.roster._take(shard, key.encode(), value)

    def names(self):
        return [one.tenant.name for one in self.roster.everybody().values()]


def test_a_record_in_a_partition_that_is_not_its_tenants_registers_nobody():
    reading = Reading()
    assert reading.take(OTHER, record())
    assert not reading.take(OTHER, record())
    assert reading.names() == []
    assert reading.roster.get(TENANT) is None
    assert reading.roster.unreadable()[TENANT].endswith(WORDS)
    assert TENANT in reading.roster.unreadable()[TENANT]


@pytest.mark.parametrize("others", [[OTHER], [OTHER, THIRD]])
def test_a_tenant_that_was_moved_is_registered_whichever_partition_is_read_first(others):
    partitions = [[(OWN, record())], *([(at, record("old")), (at, None)] for at in others)]
    steps = [number for number, rows in enumerate(partitions) for _ in rows]
    for order in set(itertools.permutations(steps)):
        reading, rows = Reading(), [iter(rows) for rows in partitions]
        for number in order:
            reading.take(*next(rows[number]))
        assert reading.names() == ["Contoso"]
        assert reading.roster.get(TENANT) is not None
        assert reading.roster.unreadable() == {}


def test_a_tenant_that_stands_in_two_partitions_is_not_read_until_one_is_gone():
    reading = Reading()
    reading.take(OWN, record())
    assert reading.take(OTHER, record("later"))
    assert (reading.names(), set(reading.roster.unreadable())) == ([], {TENANT})
    assert reading.roster.of([OWN]) == {}
    assert reading.take(OTHER, None)
    assert (reading.names(), set(reading.roster.unreadable())) == (["Contoso"], set())


def test_a_tombstone_elsewhere_takes_nothing_away_and_is_no_news():
    reading = Reading()
    reading.take(OWN, record())
    assert not reading.take(OTHER, None)
    assert reading.names() == ["Contoso"]


def test_a_record_that_cannot_be_read_stays_so_when_its_former_place_is_cleared():
    reading = Reading()
    reading.take(OTHER, b"{}")
    reading.take(OWN, b"{}")
    reading.take(OTHER, None)
    assert "damaged or of a newer version" in reading.roster.unreadable()[TENANT]
    assert reading.take(OWN, None)
    assert reading.roster.unreadable() == {}


@pytest.mark.parametrize("name", ["api_url", "login_url", "host", "url", "resource"])
def test_a_record_that_names_a_host_registers_nobody_and_says_so(name):
    reading = Reading()
    written = json.loads(record()) | {name: "https://evil.test"}
    reading.take(OWN, json.dumps(written).encode())
    assert (reading.names(), reading.roster.of([OWN])) == ([], {})
    assert f"names a host ({name})" in reading.roster.unreadable()[TENANT]
    assert "evil" not in reading.roster.unreadable()[TENANT]


def test_a_key_that_is_no_tenants_may_stand_anywhere():
    reading = Reading()
    for shard in range(SHARDS):
        assert reading.take(shard, b"{}", key="nobody") == (shard == 0)
    assert set(reading.roster.unreadable()) == {"nobody"}


def test_it_is_said_once_and_again_only_when_it_comes_again():
    reading = Reading()
    with capture_logs() as said:
        reading.take(OTHER, record())
        reading.roster._complain()
        reading.roster._complain()
        reading.take(OTHER, None)
        reading.roster._complain()
        reading.take(OTHER, record())
        reading.roster._complain()
    assert [event["event"] for event in said] == ["registration_unreadable"] * 2
    assert all(WORDS in event["error"] for event in said)

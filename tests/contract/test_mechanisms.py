"""PLAIN and SCRAM-SHA-256, which no other test takes: brokers let the right password in, and no other."""

import json
import random
import uuid

import pytest
import structlog
from prometheus_client import CollectorRegistry

from ingest.errors import SinkForbidden
from ingest.model.tenant import FeedKey
from ingest.pipeline.ports import Batch, Record, Topic
from ingest.runtime.clock import SystemClock
from ingest.settings.models import Kafka
from ingest.sink.connection import Connection
from ingest.sink.log import KafkaCommitLog
from ingest.sink.refusals import TROUBLE
from ingest.telemetry.metrics import SinkMetrics
from tests.kafka.apache import ApacheKafka
from tests.kafka.secured import Admin, Secured, plain, scram

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

FEED = FeedKey("11111111-1111-1111-1111-111111111111")


class ByPassword(Secured):
    """TLS, and a password by one mechanism."""

    mechanism = ""
    password = "first-password"

    def fill(self, folder, config):
        self.section["sasl"] = {
            "mechanism": self.mechanism,
            "username": self.user,
            "password": self.password,
        }


class ByPlain(ByPassword):
    mechanism = "PLAIN"

    def properties(self, folder, config):
        return plain(self.name, {self.user: self.password})


class ByShorterScram(ByPassword):
    mechanism = "SCRAM-SHA-256"

    def properties(self, folder, config):
        return scram(self.name, [self.mechanism])

    def prepare(self, admin):
        admin.set_password(self.user, self.password, self.mechanism)
        super().prepare(admin)


def settings(way, **sasl):
    return Kafka.model_validate_json(
        json.dumps(
            {
                "bootstrap_servers": [way.bootstrap],
                "prefix": f"t{uuid.uuid4().hex[:8]}",
                "shards": 2,
                "replication_factor": 1,
                **way.section,
                "sasl": way.section["sasl"] | sasl,
            }
        )
    )


@pytest.mark.parametrize("kind", [ByPlain, ByShorterScram])
async def test_alerts_are_committed_by_a_password(kind, tmp_path):
    way = kind()
    with ApacheKafka(**way.cluster(tmp_path, {})) as kafka:
        way.prepare(Admin(kafka.bootstrap))
        log = KafkaCommitLog(
            settings=settings(way),
            client_id="app-1",
            metrics=SinkMetrics(CollectorRegistry()),
            clock=SystemClock(),
            log=structlog.get_logger(),
            rng=random.Random(1),
        )
        async with log, log.membership:
            restored = await log.restore(FEED)
            record = Record(Topic.ALERTS, b"a", b"1", [])
            key = str(FEED).encode()
            await log.commit(Batch(FEED, restored.epoch, [record], {key: b"one"}))
            assert (await log.restore(FEED)).records == {key: b"one"}

        connection = Connection(settings=settings(way, password="wrong"), client_id="test")
        admin = connection.admin()
        with pytest.raises(TROUBLE) as caught:
            await admin.start()
        await admin.close()
        error = await connection.explain(caught.value, "reach", connection.servers)
        assert isinstance(error, SinkForbidden)
        assert kind.mechanism in str(error)

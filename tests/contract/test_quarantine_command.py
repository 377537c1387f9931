"""`defender-ingest quarantine` on real brokers: what was set aside is listed, shown and tried again."""

import asyncio
import base64
import json
import uuid

import pytest
import yaml
from aiokafka import AIOKafkaProducer

from ingest.cli import main
from ingest.encode.cloudevents import CloudEvents
from ingest.model.alert import Alert, Malformed
from ingest.model.instant import parse_instant
from ingest.model.roster import OrderKind
from ingest.model.tenant import FeedKey, Tenant
from ingest.settings.loader import load
from ingest.sink.layout import TopicNames
from tests.contract.test_tenants_command import Shell as TenantsShell

CONTOSO = Tenant(str(uuid.UUID(int=1)), "Contoso", "commercial")
FABRIKAM = Tenant(str(uuid.UUID(int=2)), "Fabrikam", "commercial")
TIME = parse_instant("2024-05-06T07:08:09Z")
HUGE = Alert("da7", TIME, TIME, False, b'{"id":"da7","x":"' + b"y" * 20_000 + b'"}', 0xA1)
TIMELESS = Malformed(b'{"id":"da8","lastUpdateTime":"soon"}', "bad_time", 0xB2)
NAMELESS = Malformed(b'{"id":"","evil":"\x1b[2J"}', "no_id", 0xC3, updated=TIME)
BROKEN = Malformed(b'{"m\xe9t\xe9o', "undecodable", 0xD4)


class Shell:
    """Runs the command on one installation whose quarantine was filled as the daemon does."""

    def __init__(self, bootstrap, folder, capfdbinary) -> None:
        self.tenants = TenantsShell(bootstrap, folder, None)
        self._read = capfdbinary.readouterr

    def run(self, *words, code=0):
        found = main(["quarantine", *words, "--config", str(self.tenants.config)])
        out, err = self._read()
        assert found == code, (out, err)
        return out, err.decode()

    def listed(self, *words):
        return [json.loads(line) for line in self.run("list", "--json", *words)[0].splitlines()]

    def add(self, tenant):
        words = ["add", tenant.id, "--name", tenant.name, "--config", str(self.tenants.config)]
        assert main(["tenants", *words]) == 0
        self._read()

    def fill(self, tenant, *records, drop=0):
        encoder = CloudEvents(tenant=tenant, feed=FeedKey(tenant.id))
        parts = [
            part
            for record in records
            for part in encoder.quarantine(
                record, getattr(record, "reason", "too_large"), max_record_bytes=9_000
            )
        ][drop:]

        async def produce():
            settings = self.tenants.settings
            producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers)
            await producer.start()
            for part in parts:
                await producer.send_and_wait(
                    self.tenants.names.quarantine, part.value, part.key, headers=part.headers
                )
            await producer.stop()

        asyncio.run(produce())


@pytest.fixture(params=["embedded", pytest.param("apache", marks=pytest.mark.kafka)])
def shell(request, tmp_path, capfdbinary):
    fixture = "apache_kafka" if request.param == "apache" else "embedded_kafka"
    shell = Shell(request.getfixturevalue(fixture).bootstrap, tmp_path, capfdbinary)
    shell.add(CONTOSO)
    return shell


def test_nothing_is_in_quarantine_where_there_is_no_topic(shell):
    content = yaml.safe_load(shell.tenants.config.read_text())
    content["kafka"]["prefix"] = "another"
    shell.tenants.config.write_text(yaml.safe_dump(content))
    assert shell.run("list")[0] == b"0 records\n"
    assert TopicNames.of(load(shell.tenants.config, {}).kafka).quarantine == "another.quarantine"


def test_what_was_set_aside_is_listed_with_its_tenant_and_reason(shell):
    shell.fill(CONTOSO, HUGE, NAMELESS)
    shell.fill(FABRIKAM, NAMELESS)
    out = shell.run("list")[0].decode().splitlines()
    assert out[0].split()[:2] == ["ID", "SET"]
    assert len(out) == 5
    assert out[-1] == "3 records of 2 tenants: 2 no_id, 1 too_large"
    huge, *_ = shell.listed()
    assert huge | {"at": "", "offset": 0} == {
        "id": "00000000000000a1",
        "tenant": CONTOSO.id,
        "name": "Contoso",
        "feed": "mde-alerts",
        "reason": "too_large",
        "alert": "da7",
        "time": "2024-05-06T07:08:09.0000000Z",
        "at": "",
        "bytes": len(HUGE.raw),
        "parts": 3,
        "expected_parts": 3,
        "partition": 0,
        "offset": 0,
    }
    assert len(shell.listed("--tenant", "fabrikam")) == 1
    assert len(shell.listed("--reason", "no_id")) == 2


def test_parts_are_put_together_byte_for_byte(shell):
    shell.fill(CONTOSO, HUGE, BROKEN)
    assert shell.run("show", "00000000000000a1")[0] == HUGE.raw
    assert shell.run("show", "00000000000000d4")[0] == BROKEN.raw
    (shown,) = map(json.loads, shell.run("show", "00000000000000a1", "--json")[0].splitlines())
    assert shown["text"].encode() == HUGE.raw
    (shown,) = map(json.loads, shell.run("show", "00000000000000d4", "--json")[0].splitlines())
    assert "text" not in shown
    assert shown["base64"] == base64.b64encode(BROKEN.raw).decode()


def test_parts_that_are_deleted_already_are_told(shell):
    shell.fill(CONTOSO, HUGE, drop=1)
    out, err = shell.run("show", "00000000000000a1")
    assert HUGE.raw.endswith(out)
    assert "2 of 3 parts are there" in err
    assert b"2 of 3" in shell.run("list")[0]


def test_one_that_is_not_there_or_not_one_tenants_alone_is_refused(shell):
    assert "is not in quarantine" in shell.run("show", "00000000000000ff", code=65)[1]
    shell.fill(CONTOSO, NAMELESS)
    shell.fill(FABRIKAM, NAMELESS)
    assert "more than one tenant" in shell.run("show", "00000000000000c3", code=65)[1]
    assert shell.run("show", "00000000000000c3", "--tenant", "Contoso")[0] == NAMELESS.raw


@pytest.mark.parametrize(("one", "alert"), [(HUGE, "da7"), (TIMELESS, "da8")])
def test_a_second_try_is_an_order_to_whoever_reads_the_tenant(shell, one, alert):
    shell.fill(CONTOSO, one)
    out, _ = shell.run("retry", f"{one.digest:016x}", "--by", "kim")
    registration = shell.tenants.roster()[0][CONTOSO.id]
    assert (registration.order.kind, registration.order.alert) == (OrderKind.REFETCH, alert)
    assert (registration.by, registration.why) == (
        "kim",
        f"second try of {one.digest:016x} in quarantine",
    )
    assert f"ce_replay={registration.order.id}".encode() in out


def test_a_second_try_without_an_id_is_refused_with_what_can_be_done(shell):
    shell.fill(CONTOSO, NAMELESS, BROKEN)
    _, err = shell.run("retry", "00000000000000c3", code=65)
    assert f"`defender-ingest tenants rewind {CONTOSO.id} --since 2024-05-06T07:08:09Z`" in err
    assert "has no id" in shell.run("retry", "00000000000000d4", code=65)[1]


def test_a_second_try_for_a_tenant_that_is_none_is_refused(shell):
    shell.fill(FABRIKAM, HUGE)
    assert "not registered any more" in shell.run("retry", "00000000000000a1", code=65)[1]

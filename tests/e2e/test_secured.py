"""Apache Kafka with TLS, SASL and the authorizer: least rights, and credentials that are exchanged."""

import asyncio
import contextlib
import random
import subprocess
import uuid
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import structlog
import yaml
from aiokafka import AIOKafkaProducer, TopicPartition

from ingest.encode.cloudevents import CloudEvents
from ingest.errors import SinkForbidden
from ingest.model.admission import Admission
from ingest.model.alert import Alert
from ingest.model.invitation import Invitation
from ingest.model.tenant import FeedKey, Tenant
from ingest.runtime.clock import SystemClock
from ingest.settings.loader import load
from ingest.simulator.remote import RemoteCloud
from ingest.simulator.trial import Subject, Trial
from ingest.sink import rights
from ingest.sink.admissions import Admissions
from ingest.sink.connection import Connection
from ingest.sink.layout import TopicNames
from ingest.sink.restore import read_back
from tests.harness.said import Said, until
from tests.harness.stage import PROGRAM, Stage, stage
from tests.kafka.secured import ByCertificate, ByScram, ByToken, Keys

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]

FLAGS = [
    *("--tenants", "20", "--births-per-minute", "600", "--faults", "none", "--no-limits"),
    # No version goes before it could be read: whatever is missing at the end is lost.
    *("--poll-interval", "1", "--version-seconds", "3600", "--backlog", "5", "--shards", "4"),
]
NAMES = TopicNames("defender")
DAEMON = rights.daemon(NAMES, creates=True)
CREATE = DAEMON[-1]


def reader_of(run: Stage, way: ByScram) -> Path:
    """Make a user that may read what is published, and no more; return a file that says so."""
    way.admin.set_password("reader", "reader-password")
    set_aside = rights.Right(rights.Kind.TOPIC, NAMES.quarantine, "Read", "")
    way.admin.grant("User:reader", [rights.consumer(NAMES, "none")[0], set_aside])
    sasl = way.section["sasl"] | {"username": "reader", "password": "reader-password"}
    del sasl["password_file"]
    kafka = {"bootstrap_servers": [way.bootstrap], "tls": way.section["tls"], "sasl": sasl}
    file = run.folder / "reader.yaml"
    file.write_text(yaml.safe_dump({"kafka": kafka}))
    return file


def trial_of(run: Stage, reader: Path | None) -> Trial:
    """Return a trial that reads as a file says, or by the plain listener: the daemon may only write."""
    subject = Subject.of(run.config, reader)
    if reader is None:
        subject = replace(subject, bootstrap=run.kafka.bootstrap, kafka={})
    cloud = RemoteCloud(url=run.ready["url"], ca_file=Path(run.ready["ca_file"]))
    return Trial(subject=subject, cloud=cloud)


async def judged(run: Stage, daemon, *, reader: Path | None = None):
    """Drain, stop and judge."""
    async with trial_of(run, reader) as trial:
        await trial.find_topics()
        assert await trial.drain(at_most=120) == 0, daemon.tail()
        assert daemon.stop() == 0, daemon.tail()
        return await trial.judge()


async def reads_on(daemon, *, seconds=60):
    """Wait until it has read and committed again."""
    said = Said(daemon)
    await until(lambda: len(said.events("sweep_finished")) > 5, what=daemon.tail(), seconds=seconds)


async def names_it(said: Said, way: ByScram, right: rights.Right, *, seconds: float) -> bool:
    words = (f"allow {way.principal} to", f"{right.operation} {right.kind} {right.name}")
    with contextlib.suppress(AssertionError):
        await until(lambda: said.has(*words), what="", seconds=seconds)
        return said.has(*words, "grant it with kafka-acls")
    return False


def without_one_tenant(run: Stage) -> dict:
    """Take the last tenant out of the configuration, and return it."""
    content = yaml.safe_load(run.config.read_text())
    reserve = content["tenants"].pop()
    run.config.write_text(yaml.safe_dump(content))
    return reserve


def with_tenant(run: Stage, tenant: dict) -> None:
    content = yaml.safe_load(run.config.read_text())
    content["tenants"].append(tenant)
    run.config.write_text(yaml.safe_dump(content))


async def test_each_right_that_lacks_is_named_and_nothing_is_lost(tmp_path):
    way = ByScram(rights=DAEMON)
    with stage(*FLAGS, folder=tmp_path, secured=way) as run:
        reserve = without_one_tenant(run)
        daemon = run.daemon()
        way.admin.revoke(way.principal, [CREATE])
        said = Said(daemon)
        daemon.start()
        topic = replace(CREATE, name=NAMES.alerts)
        assert await names_it(said, way, topic, seconds=30), daemon.tail()
        way.admin.grant(way.principal, [CREATE])
        await reads_on(daemon)
        for right in DAEMON[:-1]:
            said = Said(daemon)
            way.admin.revoke(way.principal, [right])
            if right.name == NAMES.tenants and right.operation == "Write":
                # It is needed when somebody is to be registered.
                with_tenant(run, reserve)
            if right.name == NAMES.checkpoints and right.operation == "Read":
                await refuses_a_take_over(run)
            if not await names_it(said, way, right, seconds=3):
                # Used only when a shard is taken over, or at the start.
                daemon.stop()
                daemon.start()
                found = await names_it(said, way, right, seconds=45)
                assert found, f"{right}\n{daemon.tail()}"
            way.admin.grant(way.principal, [right])
            if daemon.wait(timeout=1) is not None:
                assert daemon.exit_code == 77
                daemon.start()
            await reads_on(daemon)
        verdict = await judged(run, daemon, reader=reader_of(run, way))
    assert verdict.report() == []
    assert verdict.clean


async def set_aside(bootstrap, tenant):
    """Put a record into quarantine; return its id."""
    encoder = CloudEvents(tenant=Tenant(tenant, "one", "eu"), feed=FeedKey(tenant))
    alert = Alert("da1", 0, 0, False, b"{}", 7)
    (record,) = encoder.quarantine(alert, "too_large", max_record_bytes=9_000)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    await producer.send_and_wait(NAMES.quarantine, record.value, record.key, headers=record.headers)
    await producer.stop()
    return dict(record.headers)["ce_id"].decode()


async def test_each_command_works_with_the_rights_that_are_listed_for_it_and_no_other(tmp_path):
    way = ByScram(rights=())
    made = rights.commands(NAMES)
    with stage(*FLAGS, folder=tmp_path, secured=way) as run:
        by_admin = tmp_path / "admin.yaml"
        content = yaml.safe_load(run.config.read_text())
        tenant = content["tenants"][0]["id"]
        content["kafka"] |= {"bootstrap_servers": [run.kafka.bootstrap], "tls": {}, "sasl": {}}
        by_admin.write_text(yaml.safe_dump(content))

        async def command(*words: str, config: Path = run.config):
            line = [*PROGRAM, *words, "--config", str(config)]
            return await asyncio.to_thread(subprocess.run, line, capture_output=True, text=True)

        added = await command("tenants", "add", tenant, "--name", "one", config=by_admin)
        assert added.returncode == 0, added.stderr
        aside = await set_aside(run.kafka.bootstrap, tenant)
        for name, listed in made.items():
            words = {
                "topics --check": ["topics", "--check"],
                "tenants list": ["tenants", "list"],
                "doctor": ["doctor", tenant],
                "quarantine list, show": ["quarantine", "show", aside],
                "quarantine retry": ["quarantine", "retry", aside],
                "reshard": ["reshard", "--to", "5"],
            }.get(name, ["tenants", "pause", tenant])
            refused = await command(*words)
            assert refused.returncode, f"{name}: it needs no right"
            way.admin.grant(way.principal, listed)
            # No group was there before: the brokers make the topic for them when they are asked first.
            for _ in range(10):
                done = await command(*words)
                if done.returncode != 75:
                    break
            assert done.returncode == 0, f"{name}\n{done.stderr}"
            way.admin.revoke(way.principal, listed)


async def test_tokens_that_expire_are_renewed_and_nothing_is_lost(tmp_path):
    way = ByToken()
    with stage(*FLAGS, "--token-seconds", "20", folder=tmp_path, secured=way) as run:
        daemon = run.daemon()
        with daemon:
            await reads_on(daemon)
            process = psutil.Process(daemon.pid)

            def connections() -> set[int]:
                found = process.net_connections("tcp")
                return {one.laddr.port for one in found if one.raddr and one.raddr.port == way.port}

            first = connections()
            assert first
            # The brokers end each at its token's end at the latest, which is an end of all of them.
            await until(lambda: not first & connections(), what="old logins last", seconds=60)
            await asyncio.sleep(25)
            await reads_on(daemon)
            verdict = await judged(run, daemon)
    assert verdict.report() == []
    assert verdict.clean


async def test_a_password_that_is_exchanged_needs_no_restart(tmp_path):
    way = ByScram()
    with stage(*FLAGS, folder=tmp_path, secured=way) as run:
        daemon = run.daemon()
        with daemon:
            await reads_on(daemon)
            said = Said(daemon)
            way.admin.set_password(way.user, "second-password")
            way.password_file.write_text("second-password\n")
            # Every connection is lost, and the first password is not taken any more.
            await asyncio.to_thread(run.kafka.restart)
            await reads_on(daemon, seconds=120)
            await follows_at_once(run, daemon)
            assert said.events("secret_read_again")
            assert not said.has("second-password")
            verdict = await judged(run, daemon)
    assert verdict.report() == []
    assert verdict.clean


async def test_certificates_and_authorities_that_are_exchanged_need_no_restart(tmp_path):
    way = ByCertificate()
    with stage(*FLAGS, folder=tmp_path, secured=way) as run:
        daemon = run.daemon()
        with daemon:
            await reads_on(daemon)
            said = Said(daemon)
            # Another authority signs the brokers' and ours, into the same files.
            fresh = Keys(tmp_path)
            fresh.broker_properties()
            fresh.issue(way.user)
            await asyncio.to_thread(run.kafka.restart)
            await reads_on(daemon, seconds=120)
            await follows_at_once(run, daemon)
            assert said.events("tls_files_read_again")
            verdict = await judged(run, daemon)
    assert verdict.report() == []
    assert verdict.clean


async def test_consents_are_registered_with_the_daemons_rights_alone(tmp_path):
    with stage(*FLAGS, folder=tmp_path, secured=ByScram(rights=DAEMON)) as run:
        daemon = run.daemon()
        with daemon:
            await reads_on(daemon)
            admissions = Admissions(
                settings=load(run.config, {}).kafka,
                clock=SystemClock(),
                rng=random.Random(1),
                log=structlog.get_logger(),
            )
            invited = Invitation(id="i1", name="Invited", region="simulated", expires=2**32)
            tenant = str(uuid.uuid4())
            assert await admissions.admit(tenant, invited, region="simulated") is Admission.ACTIVE
            # Whoever reads is told at once, as of any other tenant; this one's cloud does not know it.
            said = Said(daemon)
            await until(lambda: said.has(tenant), what=f"the newcomer\n{daemon.tail()}")


async def refuses_a_take_over(run: Stage) -> None:
    """Read a shard back as a running replica does that takes it over."""
    connection = Connection(settings=load(run.config, {}).kafka, client_id="a take-over")
    shard = TopicPartition(NAMES.checkpoints, 0)
    await asyncio.sleep(0.5)
    with pytest.raises(SinkForbidden, match=f"to Read topic {NAMES.checkpoints}: grant it"):
        await read_back(connection, shard, nonce=None, seconds=30)


async def follows_at_once(run: Stage, daemon) -> None:
    """Pause a tenant by command, which logs in too, and resume it: whoever follows the topic, follows."""
    tenant = yaml.safe_load(run.config.read_text())["tenants"][0]["id"]
    for act, state in (("pause", "paused"), ("resume", "healthy")):
        said = Said(daemon)
        command = [*PROGRAM, "tenants", act, tenant, "--config", str(run.config)]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        await until(
            lambda said=said, state=state: any(
                (event["tenant"], event["state"]) == (tenant, state)
                for event in said.events("state_changed")
            ),
            what=f"a change to {state}",
        )

"""`defender-ingest tenants` on real brokers: what it writes, what it refuses, and in which words."""

import asyncio
import json
import os
import random
import time
import uuid

import pytest
import structlog
import yaml
from aiokafka import AIOKafkaProducer

from ingest.cli import main
from ingest.errors import Blame
from ingest.model.instant import parse_instant
from ingest.model.report import encode_report
from ingest.model.roster import OrderKind, Origin, Standing
from ingest.model.status import FeedStatus, State
from ingest.model.tenant import FeedKey, shard_of
from ingest.runtime.clock import SystemClock
from ingest.settings.loader import load
from ingest.simulator.broker import free_port
from ingest.sink.connection import Connection
from ingest.sink.layout import TopicNames
from ingest.sink.roster import Roster

SHARDS = 3
SECRET = "hush~Q8secret~value"
IDS = [str(uuid.UUID(int=n)) for n in range(1, 31)]
ONE, TWO = IDS[:2]
NEWER = json.dumps({"v": 2, "name": "of tomorrow"}).encode()


class Shell:
    """Runs commands on one installation, and shows what became of it."""

    def __init__(self, bootstrap, folder, capsys) -> None:
        self.folder, self.capsys = folder, capsys
        self.config = folder / "daemon.yaml"
        self.bootstrap, self.prefix = bootstrap, f"t{uuid.uuid4().hex[:8]}"
        self.configure()

    def configure(self, **changes):
        """Write the configuration."""
        self.config.write_text(
            yaml.safe_dump(
                {
                    "entra": {"client_id": ONE, "client_secret": SECRET},
                    # A change is told whatever the daemon's own log leaves out.
                    "logs": {"level": "error", "format": "console"},
                    "kafka": {
                        "bootstrap_servers": self.bootstrap.split(","),
                        "prefix": self.prefix,
                        "shards": SHARDS,
                        "alert_partitions": 1,
                        "replication_factor": 1,
                        "request_timeout_seconds": 5,
                        **changes,
                    },
                }
            )
        )
        self.settings = load(self.config, {}).kafka
        self.names = TopicNames(self.settings.prefix)

    def run(self, *words, code=0):
        """Run a command; return what it said, its log events, and its complaints."""
        found = main(["tenants", *map(str, words), "--config", str(self.config)])
        out, err = self.capsys.readouterr()
        assert SECRET not in out + err
        assert found == code, out + err
        lines = err.splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        complaints = [line for line in lines if not line.startswith("{")]
        assert len(complaints) == (0 if code == 0 else 1)
        assert all(line.startswith("defender-ingest: ") for line in complaints)
        return out, events, "".join(complaints).removeprefix("defender-ingest: ")

    def file(self, tenants):
        path = self.folder / "tenants.yaml"
        path.write_text(yaml.safe_dump(tenants))
        return path

    def apply(self, tenants, *words, code=0):
        return self.run("apply", self.file(tenants), *words, code=code)

    def listed(self, *words):
        out, _, _ = self.run("list", "--json", *words)
        return [json.loads(line) for line in out.splitlines()]

    def put(self, topic, *records):
        """Write raw records by tenant."""

        async def produce():
            producer = AIOKafkaProducer(bootstrap_servers=self.settings.bootstrap_servers)
            await producer.start()
            try:
                for tenant, value in records:
                    shard = shard_of(tenant, SHARDS)
                    await producer.send_and_wait(topic, value, tenant.encode(), partition=shard)
            finally:
                await producer.stop()

        asyncio.run(produce())

    def roster(self):
        """Read the tenants topic as a replica does."""

        async def read():
            roster = Roster(
                connection=Connection(settings=self.settings, client_id="a replica"),
                topic=self.names.tenants,
                shards=SHARDS,
                clock=SystemClock(),
                rng=random.Random(1),
                log=structlog.get_logger(),
            )
            async with asyncio.timeout(30), roster:
                return roster.everybody(), dict(roster.unreadable())

        with structlog.testing.capture_logs():
            return asyncio.run(read())


@pytest.fixture(params=["embedded", pytest.param("apache", marks=pytest.mark.kafka)])
def shell(request, tmp_path, capsys):
    fixture = "apache_kafka" if request.param == "apache" else "embedded_kafka"
    return Shell(request.getfixturevalue(fixture).bootstrap, tmp_path, capsys)


def entry(number, **more):
    return {"id": IDS[number], "name": f"tenant {number}", **more}


def status(tenant, state=State.HEALTHY, at=None):
    now = time.time() if at is None else at
    kept = {"code": "ok", "reason": "read to the end", "blame": Blame.NOBODY, "since": now - 300}
    found = FeedStatus(FeedKey(tenant), "x", state, fresh_at=now - 30, **kept)
    return encode_report(found, replica="host:1", now=now)


def test_a_tenant_that_is_added_is_registered_before_any_daemon_ran(shell):
    out, events, _ = shell.run(
        "add", ONE.upper(), "--name", "Contoso", "--why", "new", "--by", "me"
    )
    assert f"the topics {shell.settings.prefix}.* were not there and have been made" in out
    assert f"Contoso ({ONE}), region commercial: added" in out
    assert "from 7 days back" in out
    assert f"https://login.microsoftonline.com/{ONE}/adminconsent?client_id={ONE}" in out
    assert [event["event"] for event in events] == [*["topic_created"] * 5, "tenant_registered"]
    assert {name: events[-1][name] for name in ("tenant", "standing", "origin", "by", "why")} == {
        "tenant": ONE,
        "standing": "active",
        "origin": "command",
        "by": "me",
        "why": "new",
    }
    roster, _ = shell.roster()
    assert (roster[ONE].tenant.name, roster[ONE].standing) == ("Contoso", Standing.ACTIVE)
    assert roster[ONE].origin is Origin.COMMAND


def test_the_life_of_a_tenant(shell):
    shell.run("add", ONE, "--name", "Contoso")
    for words, said in (
        (("add", ONE, "--name", "Contoso"), "is registered already, in region commercial: nothing"),
        (("pause", "contoso"), "paused. Whoever reads it stops at once"),
        (("pause", "contoso"), f"Contoso ({ONE}) is paused already: nothing to do"),
        (("add", ONE, "--name", "Contoso"), f"it is paused: `tenants resume {ONE}` reads it again"),
        (("resume", ONE), "resumed. It is read from where it stopped"),
        (("resume", ONE), "is active already: nothing to do"),
        (("change", ONE, "--region", "eu"), "region commercial is now eu"),
        (("change", ONE, "--region", "eu"), "is so already: nothing to do"),
        (("change", ONE, "--name", "Contoso Ltd"), "name Contoso is now Contoso Ltd"),
        (("remove", "Contoso Ltd", "--by", "me"), "removed. Whoever reads it stops at once"),
        (("remove", ONE), "is removed already: nothing to do"),
        (("add", ONE, "--name", "Contoso"), "warning: it was removed by me on "),
    ):
        out, events, _ = shell.run(*words)
        assert said in out
        changes = [event for event in events if event["event"] == "tenant_registered"]
        assert len(changes) == (0 if "nothing to do" in out else 1)
    assert shell.roster()[0][ONE].standing is Standing.ACTIVE


def test_what_must_not_be_is_refused_and_nothing_is_written(shell):
    shell.run("add", ONE, "--name", "Contoso")
    before = shell.roster()
    for words, complaint in (
        (("add", ONE, "--name", "Other"), "is registered as Contoso; it cannot be Other too"),
        (("add", TWO, "--name", "contoso"), f"the name is that of tenant {ONE} already"),
        (("pause", "contosso"), "did you mean Contoso?"),
        (("remove", TWO), f"no tenant {TWO} is registered"),
    ):
        _, events, said = shell.run(*words, code=os.EX_DATAERR)
        assert complaint in said
        assert events == []
    assert shell.roster() == before


def test_a_record_of_a_newer_version_is_never_written_over(shell):
    shell.run("add", TWO, "--name", "Contoso")
    shell.put(shell.names.tenants, (ONE, NEWER))
    for words in (("add", ONE, "--name", "x"), ("pause", ONE), ("remove", ONE)):
        _, _, complaint = shell.run(*words, code=os.EX_DATAERR)
        assert ONE in complaint
        assert "is not written over: use the version that wrote it" in complaint
    out, _, complaint = shell.apply([entry(0), entry(5)], code=os.EX_DATAERR)
    assert f"! tenant 0 ({ONE}): its record in the tenants topic is damaged or of a newer" in out
    assert "1 of 2 tenants were refused" in complaint
    roster, unreadable = shell.roster()
    assert set(roster) == {TWO, IDS[5]}
    assert set(unreadable) == {ONE}
    (row,) = shell.listed("--state", "unreadable")
    assert row["tenant"] == ONE


def test_a_file_is_shown_then_applied_and_touches_only_what_came_from_files(shell):
    shell.run("add", ONE, "--name", "by hand")
    out, events, _ = shell.apply([entry(n) for n in range(4)], "--dry-run")
    assert "nothing was written: this is a dry run" in out
    assert events == []
    assert set(shell.roster()[0]) == {ONE}

    out, events, _ = shell.apply([entry(n) for n in range(4)])
    assert f"= by hand ({ONE}) came by command, not from a file, and is otherwise" in out
    assert f"+ tenant 3 ({IDS[3]}), region commercial" in out
    assert "3 to add, 0 to change, 0 to remove, 0 as they are, 1 left alone, 0 refused" in out
    assert [event["why"] for event in events] == ["applied from tenants.yaml"] * 3

    out, events, _ = shell.apply([entry(n) for n in range(4)])
    assert out.splitlines()[-1] == "nothing to do"
    assert events == []

    changed = [entry(1, region="eu"), entry(2), entry(3)]
    out, _, _ = shell.apply(changed)
    assert f"~ tenant 1 ({TWO}): region commercial is now eu" in out
    roster, _ = shell.roster()
    assert {one.origin for one in roster.values()} == {Origin.COMMAND, Origin.FILE}
    assert roster[ONE].is_read
    assert roster[TWO].tenant.region == "eu"


def test_a_person_may_change_what_came_from_a_file_and_is_told_what_the_file_will_do(shell):
    shell.apply([entry(0), entry(1)])
    out, _, _ = shell.run("change", "tenant 0", "--region", "eu")
    assert "it came by file, which does not change it any more" in out
    out, _, _ = shell.run("remove", "tenant 1")
    assert "take it out there too, or the next `apply` adds it anew" in out
    out, _, _ = shell.apply([entry(0), entry(1)])
    assert f"= tenant 0 ({ONE}) came by command, not from a file, and is otherwise" in out
    assert f"+ tenant 1 ({TWO}), region commercial; warning: it was removed by " in out


def test_a_file_that_would_remove_many_is_refused_with_the_numbers_and_the_flag(shell):
    everybody = [entry(n) for n in range(30)]
    shell.apply(everybody)
    for words in ((), ("--dry-run",), ("--allow-removals", "1")):
        out, events, complaint = shell.apply(everybody[2:], *words, code=os.EX_DATAERR)
        assert f"- tenant 0 ({ONE})" in out
        limit = "the 1 allowed" if "--allow-removals" in words else "5 %"
        assert f"would remove 2 of 30 tenants that came from files, more than {limit}" in complaint
        assert complaint.endswith("nothing was written; if that is meant, say --allow-removals 2")
        assert events == []
    out, _, _ = shell.apply(everybody[1:])
    assert "1 to remove" in out
    shell.apply(everybody[2:], "--allow-removals", 1)
    roster, _ = shell.roster()
    gone = {tenant for tenant, one in roster.items() if one.standing is Standing.REMOVED}
    assert gone == {ONE, TWO}


@pytest.mark.parametrize("content", ["", "[]", "tenants:\n# - {id: x}\n"])
def test_an_empty_file_removes_nobody_and_says_why(shell, content):
    path = shell.folder / "tenants.yaml"
    path.write_text(content)
    out, _, _ = shell.run("apply", path)
    assert "names no tenant, and none came from a file before: nothing to do" in out
    shell.apply([entry(0), entry(1)])
    path.write_text(content)
    for words in ((), ("--allow-removals", "2")):
        _, events, complaint = shell.run("apply", path, *words, code=os.EX_DATAERR)
        assert "names no tenant, which is taken for a mistake: none of the 2 tenants" in complaint
        assert events == []
    assert all(one.is_read for one in shell.roster()[0].values())


def test_a_list_shows_what_was_last_said_and_unread_since_where_nobody_says_it_any_more(shell):
    shell.apply([entry(n) for n in range(5)])
    shell.run("pause", "tenant 4", "--why", "a question", "--by", "me")
    shell.put(
        shell.names.status,
        (IDS[0], status(IDS[0], State.PARKED)),
        (IDS[0], status(IDS[0])),
        (IDS[1], status(IDS[1], at=1_800_000_000.0 - 1e9)),
        (IDS[2], b'{"v":2}'),
        (IDS[4], status(IDS[4])),
    )
    found = {row["name"]: row for row in shell.listed()}
    assert {name: row["state"] for name, row in found.items()} == {
        "tenant 0": "healthy",
        "tenant 1": "unread",
        "tenant 2": "unreadable",
        "tenant 3": "pending",
        "tenant 4": "paused",
    }
    assert found["tenant 1"]["since"] == "1995-05-09T06:12:50.0000000Z"
    assert found["tenant 1"]["reason"].startswith("unread since 1995-05-09T06:12:50Z: ")
    assert found["tenant 3"]["reason"].startswith("not read yet")
    assert found["tenant 4"]["reason"] == "paused by me: a question"
    out, _, _ = shell.run("list")
    lines = out.splitlines()
    assert lines[0].startswith("NAME      TENANT")
    assert lines[1].startswith("tenant 2  ")
    assert lines[-1] == ("5 tenants: 1 unreadable, 1 unread, 1 pending, 1 healthy, 1 paused")
    assert [row["name"] for row in shell.listed("--state", "unread")] == ["tenant 1"]


def test_to_list_makes_no_topics(shell):
    for words in (("list",), ("apply", shell.file([entry(0)]), "--dry-run")):
        out, events, _ = shell.run(*words)
        assert events == []
    assert "1 to add" in out
    _, _, complaint = shell.run("pause", ONE, code=os.EX_DATAERR)
    assert "no tenant" in complaint
    out, events, _ = shell.run("add", ONE, "--name", "Contoso")
    assert "have been made" in out


def test_topics_of_another_number_of_shards_are_refused(shell):
    shell.run("add", ONE, "--name", "Contoso")
    shell.config.write_text(shell.config.read_text().replace("shards: 3", "shards: 2"))
    _, _, complaint = shell.run("list", code=os.EX_CONFIG)
    assert "kafka.shards is 2" in complaint


def test_brokers_that_cannot_be_reached_are_trouble_for_now(tmp_path, capsys):
    shell = Shell(f"127.0.0.1:{free_port()}", tmp_path, capsys)
    for words in (("list",), ("add", ONE, "--name", "x"), ("apply", shell.file([entry(0)]))):
        _, events, complaint = shell.run(*words, code=os.EX_TEMPFAIL)
        assert f"could not list topics on {shell.settings.bootstrap_servers[0]}" in complaint
        assert events == []


def test_an_order_stands_in_the_registration_and_outlives_other_changes(shell):
    shell.run("add", ONE, "--name", "Contoso")
    out, events, _ = shell.run("rewind", "contoso", "--since", "2026-11-24T08:00:00Z")
    assert "what changed since 2026-11-24T08:00:00.0000000Z is read and published again" in out
    assert events[-1]["order"] == "rewind"
    first = shell.roster()[0][ONE].order
    assert (first.kind, first.since) == (OrderKind.REWIND, parse_instant("2026-11-24T08:00:00Z"))
    shell.run("change", ONE, "--name", "Contoso Ltd")
    assert shell.roster()[0][ONE].order == first
    out, _, _ = shell.run("refetch", ONE, "da'1")
    second = shell.roster()[0][ONE].order
    assert (second.kind, second.alert) == (OrderKind.REFETCH, "da'1")
    assert f"ce_replay={second.id}" in out
    assert first.id != second.id


def test_nobody_obeys_an_order_for_a_tenant_that_is_not_read(shell):
    shell.run("add", ONE, "--name", "Contoso")
    shell.run("pause", ONE)
    _, _, said = shell.run("refetch", ONE, "da1", code=os.EX_DATAERR)
    assert "is paused, so nobody would do it" in said
    assert shell.roster()[0][ONE].order is None


def test_labels_are_given_changed_and_taken_and_a_file_has_them_too(shell):
    shell.run("add", ONE, "--name", "contoso", "--label", "tier=gold", "--label", "country=de")
    assert shell.listed()[0]["labels"] == {"country": "de", "tier": "gold"}
    out, _, _ = shell.run("change", "contoso", "--label", "tier=silver", "--label", "country=")
    assert "label country, de before, is now none, label tier, gold before, is now silver" in out
    _, _, why = shell.run("add", ONE, "--name", "contoso", code=65)
    assert "registered with other labels" in why
    shell.apply([entry(1, labels={"tier": "gold"})])
    roster, _ = shell.roster()
    assert roster[ONE].tenant.labels == (("tier", "silver"),)
    assert roster[TWO].tenant.labels == (("tier", "gold"),)


@pytest.mark.parametrize(
    ("label", "complaint"),
    [
        ("tier", "must be NAME=VALUE"),
        ("Tier=gold", "1 to 15 letters a-z and digits"),
        ("tier=\x07", "letters that can be printed"),
        ("tier=", "it has no label tier"),
    ],
)
def test_a_label_that_cannot_be_one_is_refused(shell, label, complaint):
    _, _, why = shell.run("add", ONE, "--name", "contoso", "--label", label, code=64)
    assert complaint in why


def test_whoever_has_no_topic_is_refused_before_anything_is_written(shell):
    gold, silver = (f"{shell.settings.prefix}.{tier}" for tier in ("gold", "silver"))
    shell.configure(route="{prefix}.{label.tier}", route_topics=[gold, silver])
    _, _, why = shell.run("add", ONE, "--name", "contoso", code=65)
    assert "has no label tier" in why
    shell.run("add", ONE, "--name", "contoso", "--label", "tier=gold")
    _, _, why = shell.run("change", "contoso", "--label", "tier=bronze", code=65)
    assert f"would go to topic {shell.settings.prefix}.bronze" in why
    out, _, _ = shell.run("change", "contoso", "--label", "tier=silver")
    assert f"its alerts go to {silver} from now on; what is in {gold} stays there" in out
    _, _, why = shell.apply([entry(1), entry(2, labels={"tier": "gold"})], code=65)
    assert "tenants[0] (tenant tenant 1): tenant tenant 1" in why
    assert list(shell.roster()[0]) == [ONE]

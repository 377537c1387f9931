import asyncio
import json
import threading

import pytest
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from ingest.errors import Blame, SettingsError
from ingest.model.credential import CredentialStatus
from ingest.model.instant import parse_instant
from ingest.model.status import State

PATHS = ("/livez", "/readyz", "/metrics", "/status")


async def test_a_loop_that_turns_is_alive_whatever_else_is_wrong(ask, stand):
    stand.reasons = ["shard 3: could not write to defender.checkpoints"]
    answer = await ask("/livez")
    assert (answer.status, await answer.text()) == (200, "ok\n")


async def test_a_daemon_that_does_its_work_is_ready(ask):
    answer = await ask("/readyz")
    assert (answer.status, await answer.text()) == (200, "ok\n")


async def test_a_daemon_that_cannot_do_its_work_is_not_ready_and_says_why(ask, stand):
    stand.reasons = ["shard 1: not initialised yet", "shard 3: fenced"]
    answer = await ask("/readyz")
    assert answer.status == 503
    assert await answer.text() == "shard 1: not initialised yet\nshard 3: fenced\n"


async def test_a_daemon_that_is_stopping_is_alive_and_not_ready(ask, stand):
    stand.reasons = ["stopping"]
    answer = await ask("/readyz")
    assert (answer.status, await answer.text()) == (503, "stopping\n")
    assert (await ask("/livez")).status == 200


async def test_metrics_are_what_the_registry_holds_now(ask, stand):
    stand.counter.inc(3)
    answer = await ask("/metrics")
    assert answer.status == 200
    found = list(text_string_to_metric_families(await answer.text()))
    values = {sample.name: sample.value for family in found for sample in family.samples}
    assert values["tried_total"] == 3.0


@pytest.mark.parametrize(
    ("path", "kind", "rest"),
    [
        ("/livez", "text/plain", "charset=utf-8"),
        ("/readyz", "text/plain", "charset=utf-8"),
        ("/metrics", "text/plain", "version="),
        ("/status", "application/json", ""),
    ],
)
async def test_an_answer_says_what_it_is_and_is_kept_by_nobody(ask, path, kind, rest):
    answer = await ask(path)
    assert answer.content_type == kind
    assert rest in answer.headers["Content-Type"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/", "/metric", "/metrics/", "/livez/x", "/admin/faults", "/.env"]
)
async def test_there_is_nothing_on_other_paths(ask, path):
    assert (await ask(path)).status == 404


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_answers_head_without_a_body(ask, path):
    whole, head = await ask(path), await ask(path, "HEAD")
    assert (head.status, await head.read()) == (200, b"")
    assert head.headers["Content-Type"] == whole.headers["Content-Type"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_nothing_can_be_changed(ask, path, method):
    assert (await ask(path, method)).status == 405


async def test_a_feed_is_described_with_state_reason_since_and_who_must_act(
    ask, stand, make_status
):
    stand.statuses = [
        make_status(
            7,
            State.PARKED,
            code="forbidden",
            reason="the application lacks the permission Alert.Read.All there",
            blame=Blame.CUSTOMER,
            since=1_699_999_000.5,
            next_attempt=1_700_000_300.0,
            fresh_at=1_699_990_000.0,
            watermark=1_699_980_000.0,
            remembered=12,
        )
    ]
    content = json.loads(await (await ask("/status")).text())
    assert content["now"] == "2023-11-14T22:13:20.0000000Z"
    assert content["feeds"] == [
        {
            "tenant": "00000007-0000-0000-0000-000000000000",
            "feed": "mde-alerts",
            "name": "customer 7",
            "state": "parked",
            "code": "forbidden",
            "reason": "the application lacks the permission Alert.Read.All there",
            "must_act": "customer",
            "since": "2023-11-14T21:56:40.5000000Z",
            "fresh_at": "2023-11-14T19:26:40.0000000Z",
            "reconciled_at": None,
            "watermark": "2023-11-14T16:40:00.0000000Z",
            "next_attempt": "2023-11-14T22:18:20.0000000Z",
            "remembered": 12,
            "silent_since": None,
            "looked_at": None,
            "calls_left": None,
        }
    ]
    assert parse_instant(content["now"]) > parse_instant(content["feeds"][0]["since"])


async def test_our_own_credential_has_its_end_and_its_warning(ask, stand):
    content = json.loads(await (await ask("/status")).text())
    assert content["credential"] == {
        "kind": "secret",
        "setting": "entra.client_secret_file",
        "expires_at": None,
        "rejected": False,
        "warning": "",
    }
    ends = 1_700_000_000.0 + 3.5 * 86_400
    stand.credential = CredentialStatus("certificate", "entra.certificate_file", ends, 30, True)
    content = json.loads(await (await ask("/status")).text())
    assert content["credential"] == {
        "kind": "certificate",
        "setting": "entra.certificate_file",
        "expires_at": "2023-11-18T10:13:20.0000000Z",
        "rejected": True,
        "warning": "the application's certificate expires in 3 days, at 2023-11-18T10:13:20.0000000Z: "
        "renew entra.certificate_file",
    }


async def test_states_are_counted_also_those_that_nobody_is_in(ask, stand, make_status):
    stand.statuses = [
        make_status(1),
        make_status(2),
        make_status(3, State.THROTTLED),
    ]
    content = json.loads(await (await ask("/status")).text())
    assert content["tenants"] == content["shown"] == 3
    assert content["states"] == {
        "starting": 0,
        "healthy": 2,
        "quiet": 0,
        "catching-up": 0,
        "throttled": 1,
        "failing": 0,
        "parked": 0,
        "paused": 0,
    }


async def test_the_unwell_come_first_the_longest_unwell_at_the_top(ask, stand, make_status):
    stand.statuses = [
        make_status(9),
        make_status(1, State.FAILING),
        make_status(8, State.PARKED),
        make_status(2),
    ]
    content = json.loads(await (await ask("/status?limit=3")).text())
    assert [one["name"] for one in content["feeds"]] == ["customer 8", "customer 1", "customer 9"]
    assert (content["tenants"], content["shown"]) == (4, 3)


async def test_one_state_can_be_asked_for(ask, stand, make_status):
    stand.statuses = [make_status(1), make_status(2, State.PARKED), make_status(3, State.FAILING)]
    content = json.loads(await (await ask("/status?state=parked")).text())
    assert [one["name"] for one in content["feeds"]] == ["customer 2"]
    assert (content["tenants"], content["shown"]) == (3, 1)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("state=well", "state: must be one of starting, healthy"),
        ("state=", "state: must be one of starting, healthy"),
        ("limit=-1", "limit: must be a number"),
        ("limit=all", "limit: must be a number"),
        ("limit=100001", "limit: must be a number"),
        ("limit=" + "9" * 5000, "limit: must be a number"),
        ("limit=%D9%A3", "limit: must be a number"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused_with_the_reason(ask, query, words):
    answer = await ask(f"/status?{query}")
    assert answer.status == 400
    assert words in await answer.text()


async def test_a_fleet_of_nobody_has_a_status(ask):
    content = json.loads(await (await ask("/status")).text())
    assert (content["tenants"], content["feeds"]) == (0, [])


async def test_a_name_in_any_script_is_kept(ask, stand, make_status):
    stand.statuses = [make_status(1, name='日本 <b>"quoted"</b>\n')]
    content = json.loads(await (await ask("/status")).text())
    assert content["feeds"][0]["name"] == '日本 <b>"quoted"</b>\n'


@pytest.mark.parametrize("path", ["/metrics", "/status"])
async def test_what_takes_long_to_write_is_written_beside_the_loop(ask, stand, path):
    # While it is being written the loop answers others: it is held by no size of fleet.
    writing, go_on = threading.Event(), threading.Event()
    threads = set()

    def slow(*_):
        threads.add(threading.current_thread())
        writing.set()
        assert go_on.wait(30)
        return []

    class Slow:
        collect = slow

        def describe(self):
            return ()

    stand.render = slow
    stand.registry.register(Slow())
    scrape = asyncio.get_running_loop().create_task(ask(path))
    while not writing.is_set():
        await asyncio.sleep(0.001)
    assert (await ask("/livez")).status == 200
    assert not scrape.done()
    go_on.set()
    assert (await scrape).status == 200
    assert threading.main_thread() not in threads


async def test_a_port_that_is_taken_is_a_settings_mistake(stand):
    async with stand.portal() as portal:
        taken = int(portal.url.rpartition(":")[2])
        with pytest.raises(SettingsError) as refusal:
            async with stand.portal(port=taken):
                pass
    (problem,) = refusal.value.problems
    assert problem.startswith(f"listen.host, listen.port: cannot listen on 127.0.0.1:{taken}: ")


async def test_an_address_that_is_not_ours_is_a_settings_mistake(stand):
    with pytest.raises(SettingsError, match=r"listen\.host, listen\.port: cannot listen on "):
        async with stand.portal(host="192.0.2.1"):
            pass


async def test_nobody_listens_once_it_is_closed(stand):
    async with stand.portal() as portal:
        url = portal.url
    async with ClientSession() as session:
        with pytest.raises(OSError, match="Cannot connect"):
            await session.get(f"{url}/livez")

"""The status page and its JSON, as a browser and a program get them."""

import asyncio
import base64
import hashlib
import json
from html.parser import HTMLParser

import pytest
from aiohttp import ClientSession

from ingest.model.status import State
from ingest.portal.admin import AdminPortal
from ingest.settings.admin import Admin
from tests.unit.portal.fleet import NOW, Made, guid

TOKEN = "the-token-of-the-listener"


@pytest.fixture
def made():
    return Made()


@pytest.fixture
async def serve(made):
    """Serve the fleet; return what asks the portal."""
    portals, session = [], ClientSession()

    async def begin(token=None):
        portal = AdminPortal(
            settings=Admin(port=0),
            token=None if token is None else lambda: token,
            view=made.view,
            consent_url=lambda tenant: f"https://login.test/{tenant}/adminconsent?client_id=x",
        )
        portals.append(await portal.__aenter__())

        async def ask(path, method="GET", **headers):
            answer = await session.request(method, portal.url + path, headers=headers)
            await answer.read()
            return answer

        return ask

    yield begin
    await session.close()
    for portal in portals:
        await portal.__aexit__(None, None, None)


class Page(HTMLParser):
    """A page as it is read: its text, its links, and what it would load."""

    def __init__(self, text):
        super().__init__()
        self.text, self._in = "", []
        self.links, self.loads, self.tags, self.styles = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(tag)
        self._in = [tag]
        if tag == "a":
            self.links.append(found["href"])
        if "src" in found or tag in ("link", "script", "img", "iframe"):
            self.loads.append((tag, found.get("href") or found.get("src")))

    def handle_data(self, data):
        if self._in == ["style"]:
            self.styles.append(data)
        else:
            self.text += data

    def handle_endtag(self, tag):
        self._in = []


async def page(answer):
    assert answer.status == 200, await answer.text()
    assert answer.content_type == "text/html"
    return Page(await answer.text())


async def test_the_page_shows_counts_and_every_tenant_with_who_must_act(serve, made):
    made.add(1)
    made.park(2)
    shown = await page(await (await serve())("/"))
    words = " ".join(shown.text.split())
    assert "2 tenants 1 healthy 0 late 1 parked" in words
    assert "Parked: 1 not_consented" in words
    assert "Customer 2" in words
    assert "the customer's administrator" in words
    assert f"/tenants/{guid(2)}" in shown.links


async def test_every_page_is_sent_with_headers_that_let_nothing_foreign_in(serve, made):
    made.add(1)
    ask = await serve()
    for path in ("/", f"/tenants/{guid(1)}"):
        answer = await ask(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        shown = await page(answer)
        digests = [hashlib.sha256(style.encode()).digest() for style in shown.styles]
        hashes = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
        assert f"style-src {' '.join(hashes)};" in policy
        assert shown.loads == [("link", "data:,")]
        assert "script" not in shown.tags
    for path in ("/", "/api/v1/tenants", "/nowhere", "/?page=x", f"/tenants/{guid(9)}"):
        answer = await ask(path)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Cache-Control"] == "no-store"


async def test_what_a_tenant_is_called_is_text_and_never_markup(serve, made):
    evil = "<script>alert(1)</script>\"'><b>"
    made.add(1, name=evil, reason=evil, code="x<y")
    ask = await serve()
    for path in ("/", f"/tenants/{guid(1)}", "/?q=%3Cscript%3E%22"):
        answer = await ask(path)
        text = await answer.text()
        assert "<script" not in text
        assert "script" not in Page(text).tags
    assert evil in (await page(await ask("/"))).text


async def test_a_tenant_has_a_page_with_its_states_its_readings_and_the_link_to_send(serve, made):
    made.park(2, transitions=(), calls_left=7)
    made.add(1)
    ask = await serve()
    shown = await page(await ask(f"/tenants/{guid(1)}"))
    assert all(word in shown.text for word in ("Last states", "healthy", "whole", "pod-0:1"))
    parked = await page(await ask(f"/tenants/{guid(2).upper()}"))
    assert f"https://login.test/{guid(2)}/adminconsent?client_id=x" in parked.links
    assert "https://login.test" not in " ".join(shown.links)
    assert (await ask(f"/tenants/{guid(9)}")).status == 404


async def test_the_same_is_there_as_json(serve, made):
    made.add(1)
    made.park(2)
    ask = await serve()
    fleet = json.loads(await (await ask("/api/v1/tenants?state=parked")).text())
    assert (fleet["tenants"], fleet["matching"], fleet["pages"]) == (2, 1, 1)
    assert fleet["parked"] == {"not_consented": 1}
    assert [one["must_act"] for one in fleet["shown"]] == ["customer"]
    one = json.loads(await (await ask(f"/api/v1/tenants/{guid(2)}")).text())
    assert (one["tenant"], one["code"], one["calls_left"]) == (guid(2), "not_consented", 20)
    assert one["polls"][0]["outcome"] == "whole"
    assert (await ask(f"/api/v1/tenants/{guid(9)}")).status == 404


async def test_a_table_is_sorted_and_turned_by_links(serve, made):
    made.add(1, name="Beta")
    made.add(2, name="Alpha")
    ask = await serve()
    shown = await page(await ask("/?sort=name"))
    assert shown.text.index("Alpha") < shown.text.index("Beta")
    assert "/?sort=name&down=1" in shown.links
    turned = await page(await ask("/?sort=name&down=1"))
    assert turned.text.index("Beta") < turned.text.index("Alpha")
    assert "/?sort=name" in turned.links


async def test_a_question_that_makes_no_sense_is_told_so(serve):
    answer = await (await serve())("/?sort=colour")
    assert (answer.status, (await answer.text())[:15]) == (400, "sort: must be o")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_can_be_changed(serve, method):
    ask = await serve()
    for path in ("/", "/api/v1/tenants", f"/tenants/{guid(1)}"):
        assert (await ask(path, method)).status == 405


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:9465", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("[::1", 403),
    ],
)
async def test_without_a_token_only_names_of_this_machine_are_answered_to(serve, host, status):
    answer = await (await serve())("/", Host=host)
    assert answer.status == status


def basic(words):
    return "Basic " + base64.b64encode(words.encode()).decode()


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (basic(f"anybody:{TOKEN}"), 200),
        (basic(f":{TOKEN}"), 200),
        ("", 401),
        (f"Bearer {TOKEN}x", 401),
        ("Bearer ", 401),
        (basic(TOKEN), 401),
        ("Basic not-base64", 401),
        (TOKEN, 401),
        ("Bearer \u00e9", 401),
    ],
)
async def test_with_a_token_nobody_comes_in_without_it(serve, made, given, status):
    made.add(1)
    ask = await serve(TOKEN)
    headers = {"Authorization": given} if given else {}
    answer = await ask("/", Host="status.example", **headers)
    assert answer.status == status
    if status == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
        assert "Customer" not in await answer.text()
        assert TOKEN not in await answer.text()


async def test_bytes_that_are_no_text_are_no_token_and_no_trouble(serve):
    ask = await serve(TOKEN)
    url = (await ask("/")).url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 401")
    finally:
        writer.close()


async def test_ten_thousand_tenants_are_small_and_found(serve, made):
    for number in range(10_000):
        if number % 10:
            made.add(number)
        else:
            made.park(number)
    ask = await serve()
    text = await (await ask("/")).text()
    assert len(text.encode()) < 300_000
    assert "Page 1 of 100" in text
    for path, word in (
        ("/?q=customer+4321", "Customer 4321"),
        ("/?state=parked&sort=since", "1000 of 10000"),
        ("/?sort=name&down=1&page=2", "Page 2 of 100"),
    ):
        assert word in (await page(await ask(path))).text


async def test_replicas_that_are_all_gone_leave_every_tenant_unread_since(serve, made):
    for number in range(300):
        made.add(number)
    ask = await serve()
    assert json.loads(await (await ask("/api/v1/tenants")).text())["states"] == {"healthy": 300}
    made.clock.now = NOW + 3600
    fleet = json.loads(await (await ask("/api/v1/tenants")).text())
    assert fleet["states"] == {"unread": 300}
    assert all(one["reason"].startswith("unread since ") for one in fleet["shown"])
    shown = await page(await ask("/?page=3"))
    assert shown.text.count("unread since") == 100


async def test_a_state_that_lasts_shows_how_long(serve, made):
    made.add(1, State.FAILING, since=NOW - 7300)
    shown = await page(await (await serve())("/"))
    assert "2h" in shown.text


async def test_a_page_that_knows_nothing_of_what_was_said_says_so(serve, made):
    made.add(1, None)
    ask = await serve()
    assert "is not known here yet" not in (await page(await ask("/"))).text
    made.told = False
    assert "is not known here yet" in (await page(await ask("/"))).text
    assert json.loads(await (await ask("/api/v1/tenants")).text())["is_told"] is False

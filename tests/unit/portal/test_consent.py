"""The consent page over real HTTP, with Microsoft and Kafka made up: what it shows, asks and lets be."""

import base64
import hashlib
import re
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import structlog
from aiohttp import ClientSession, DummyCookieJar
from prometheus_client import CollectorRegistry

from ingest.errors import (
    Blame,
    CredentialRejected,
    SettingsError,
    SinkUnavailable,
    SourceUnavailable,
    TenantRejected,
    Throttled,
)
from ingest.model.admission import Admission
from ingest.model.invitation import Invitation, seal_invitation
from ingest.model.roster import Origin, Registration, Standing
from ingest.model.tenant import Tenant
from ingest.portal.confirmation import Confirmation
from ingest.portal.consent import ConsentPage
from ingest.portal.consent_desk import ConsentDesk
from ingest.portal.consent_words import WORDS, Outcome
from ingest.settings.consent import Consent
from ingest.settings.models import Entra, Region
from ingest.telemetry.metrics import ConsentMetrics

GUID, OTHER = (f"{n}1111111-1111-1111-1111-111111111111" for n in (1, 2))
CLIENT = "00000000-0000-0000-0000-00000000000c"
NOW = 1_700_000_000.0
KEY = "k" * 32
URL = "https://onboarding.test"
INVITED = Invitation(id="i1", name="Contoso", region="eu", expires=round(NOW) + 3600)
NOT_CONSENTED = TenantRejected("no", reason="not_consented", blame=Blame.CUSTOMER)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def monotonic(self) -> float:
        return self.now

    def unix(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class Microsoft:
    """Answers one page after another; each is an error or None for a page."""

    def __init__(self) -> None:
        self.answers: list[Exception | None] = []
        self.asked: list[str] = []
        self.granted: list[float] = []
        self.refuses: Exception | None = None

    def begin(self, tenant, *, tenure, granted):
        assert tenure < 0
        self.granted.append(granted)

    async def prepare(self, tenant, *, due):
        self.asked.append(tenant.id)
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer

    @asynccontextmanager
    async def fetch(self, tenant, ask):
        assert self.granted
        assert ask.top == 1
        if self.refuses is not None:
            raise self.refuses
        yield object()


class Stand:
    """Everything around a page, for the test to change; a browser that comes to it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.microsoft = Microsoft()
        self.roster: dict[str, Registration] = {}
        self.damaged: dict[str, str] = {}
        self.admitted: list[tuple] = []
        self.admission: Admission | Exception = Admission.ACTIVE
        self.key = KEY
        self.cookies: dict[str, str] = {}
        self.registry = CollectorRegistry()
        self.session: ClientSession | None = None

    def everybody(self):
        return self.roster

    def unreadable(self):
        return self.damaged

    async def admit(self, tenant, invitation, *, region):
        self.admitted.append((tenant, invitation, region))
        if isinstance(self.admission, Exception):
            raise self.admission
        return self.admission

    def page(self, **settings) -> ConsentPage:
        fitting = {"url": URL, "partner": "Example & Söhne", "contact": "soc@example.com"}
        consent = Consent(**(fitting | {"port": 0, "requests_per_minute": 1000} | settings))
        regions = {
            "commercial": Region(api_url="https://api.test"),
            "eu": Region(api_url="https://eu.api.test", resource="https://eu.resource.test"),
        }
        log = structlog.get_logger()
        source = Confirmation(source=self.microsoft, clock=self.clock, log=log)
        desk = ConsentDesk(
            settings=consent,
            regions=regions,
            key=lambda: self.key,
            roster=self,
            admissions=self,
            confirmation=source,
            clock=self.clock,
            log=log,
        )
        return ConsentPage(
            settings=consent,
            entra=Entra(client_id=CLIENT, client_secret="x"),
            regions=regions,
            desk=desk,
            clock=self.clock,
            metrics=ConsentMetrics(self.registry),
            log=log,
        )

    @asynccontextmanager
    async def open(self, **settings):
        async with (
            self.page(**settings) as page,
            ClientSession(page.listening, cookie_jar=DummyCookieJar()) as session,
        ):
            self.session = session
            yield self

    async def ask(self, path, form=None, **headers):
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = await self.session.request(
            "GET" if form is None else "POST",
            path,
            data=form,
            headers={"Cookie": cookie, **headers},
            allow_redirects=False,
        )
        answer.body = await answer.text()
        for name, morsel in SimpleCookie(answer.headers.get("Set-Cookie", "")).items():
            self.cookies[name] = morsel.value
        return answer

    async def begin(self, invitation=INVITED, **headers):
        """Press the button; return the state that goes to Microsoft."""
        text = "" if invitation is None else sealed(invitation)
        answer = await self.ask("/begin", {"invitation": text}, **headers)
        assert answer.status == 303, answer.body
        return parse_qs(urlsplit(answer.headers["Location"]).query)["state"][0]

    async def back(self, state, tenant=GUID, **words):
        query = {"admin_consent": "True", "tenant": tenant, "state": state, **words}
        kept = {name: value for name, value in query.items() if value is not None}
        return await self.ask(f"/consent?{urlencode(kept)}")

    def untouched(self):
        return not self.microsoft.asked and not self.admitted

    def counted(self, outcome):
        return self.registry.get_sample_value(
            "defender_ingest_consents_total", {"outcome": str(outcome)}
        )


def sealed(invitation, key=KEY):
    return seal_invitation(invitation, [key.encode()])


def title(answer):
    return answer.body.partition("<h1>")[2].partition("</h1>")[0]


def is_page_of(answer, outcome):
    told = WORDS[outcome]
    return (answer.status, title(answer)) == (told.status, told.title)


def registered(tenant, standing=Standing.ACTIVE, invitation=None):
    return Registration(
        Tenant(tenant, "x", "eu"), standing, Origin.PORTAL, "b", 1.0, invitation=invitation
    )


@pytest.fixture
async def stand():
    async with Stand().open() as stand:
        yield stand


async def test_an_invitation_says_who_asks_for_what_and_uses_nothing_up(stand):
    for _ in range(3):
        answer = await stand.ask(f"/invitation/{sealed(INVITED)}")
        assert answer.status == 200
    text = " ".join(answer.body.split())
    assert "Example &amp; Söhne asks to read the security alerts of Contoso" in text
    assert "Alert.Read.All" in text
    assert "login.microsoftonline.com" in text
    assert "soc@example.com" in text
    assert "until 2023-11-14 23:13 UTC" in text
    assert "Set-Cookie" not in answer.headers
    assert stand.untouched()


async def test_nothing_of_an_invitation_can_break_out_of_the_page(stand):
    hostile = Invitation(
        id="i2", name="</h1><script>alert(1)</script>\"'", region="eu", expires=2**32
    )
    answer = await stand.ask(f"/invitation/{sealed(hostile)}")
    assert "<script" not in answer.body
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;" in answer.body


async def test_every_answer_forbids_what_a_page_does_not_need(stand):
    paths = ["/", f"/invitation/{sealed(INVITED)}", "/invitation/x", "/consent", "/nowhere"]
    for answer in [await stand.ask(path) for path in paths] + [
        await stand.ask("/begin", {}),
        await stand.ask("/", {}),
    ]:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Server"] == "defender-ingest"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        if answer.status != 303:
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; style-src 'sha256-")
            assert "script-src" not in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
        assert not re.search(r'(src|href)="(https?:)?//', answer.body)


async def test_the_button_leads_to_microsoft_with_a_state_and_a_cookie_of_this_browser(stand):
    pinned = Invitation(id="i1", name="Contoso", region="eu", expires=2**32, tenant=GUID)
    answer = await stand.ask("/begin", {"invitation": sealed(pinned)}, Origin=URL)
    where = urlsplit(answer.headers["Location"])
    assert (answer.status, where.netloc) == (303, "login.microsoftonline.com")
    assert where.path == f"/{GUID}/v2.0/adminconsent"
    query = parse_qs(where.query)
    assert query["redirect_uri"] == [f"{URL}/consent"]
    assert query["scope"] == ["https://eu.resource.test/.default"]
    assert query["client_id"] == [CLIENT]
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-consent=")
    for word in ("HttpOnly", "Secure", "SameSite=Lax", "Path=/"):
        assert word in cookie
    assert stand.cookies["__Host-consent"] not in answer.headers["Location"]


async def test_the_address_comes_from_settings_whatever_the_request_says(stand):
    answer = await stand.ask(
        "/begin", {"invitation": ""}, Host="evil.test", **{"X-Forwarded-Host": "evil.test"}
    )
    assert "evil" not in answer.headers["Location"]


async def test_a_form_of_another_site_is_refused(stand):
    for origin in ("https://evil.test", "null"):
        answer = await stand.ask("/begin", {"invitation": sealed(INVITED)}, Origin=origin)
        assert is_page_of(answer, Outcome.FORGED)


async def test_a_consent_is_confirmed_and_then_registered(stand):
    answer = await stand.back(await stand.begin())
    assert is_page_of(answer, Outcome.ACTIVE)
    assert stand.microsoft.asked == [GUID]
    assert stand.microsoft.granted == [1.0]
    assert stand.admitted == [(GUID, INVITED, "eu")]
    assert (stand.counted("begun"), stand.counted("active")) == (1, 1)


async def test_an_uninvited_consent_is_registered_as_such_in_the_usual_region(stand):
    stand.admission = Admission.AWAITING
    answer = await stand.back(await stand.begin(None))
    assert is_page_of(answer, Outcome.AWAITING)
    assert stand.admitted == [(GUID, None, "commercial")]


async def test_an_error_is_looked_at_before_all_else_and_not_repeated(stand):
    state = await stand.begin()
    said = 'AADSTS65004: User declined <b>"now"</b> & for ever'
    answer = await stand.back(state, error="consent_required", error_description=said)
    assert is_page_of(answer, Outcome.DECLINED)
    assert "AADSTS65004" in answer.body
    assert "declined <b>" not in answer.body
    assert "for ever" not in answer.body
    answer = await stand.back(state, error="x<y", error_description="AADSTS90094: no")
    assert is_page_of(answer, Outcome.NOT_ADMINISTRATOR)
    answer = await stand.back(state, error="server_error")
    assert is_page_of(answer, Outcome.ENTRA_ERROR)
    # Whoever holds no state of ours learns the same and no more.
    answer = await stand.back("forged", error="access_denied")
    assert is_page_of(answer, Outcome.DECLINED)
    assert "/invitation/" not in answer.body
    assert stand.untouched()


async def test_after_an_error_the_same_invitation_leads_on(stand):
    answer = await stand.back(await stand.begin(), error="access_denied")
    assert f'href="/invitation/{sealed(INVITED)}"' in answer.body


async def test_a_state_that_is_not_ours_not_this_browsers_or_too_old_asks_nobody(stand):
    state = await stand.begin()
    assert is_page_of(await stand.back(None), Outcome.NOT_BEGUN)
    assert is_page_of(await stand.back(""), Outcome.NOT_BEGUN)
    assert is_page_of(await stand.back(state[:-1]), Outcome.FORGED)
    assert is_page_of(await stand.back(sealed(INVITED)), Outcome.FORGED)
    mine, stand.cookies = stand.cookies, {}
    assert is_page_of(await stand.back(state), Outcome.OTHER_BROWSER)
    await stand.begin(None)
    assert is_page_of(await stand.back(state), Outcome.OTHER_BROWSER)
    assert stand.untouched()
    stand.cookies = mine
    assert is_page_of(await stand.back(state), Outcome.ACTIVE)
    asked = list(stand.microsoft.asked)
    stand.clock.now += 3600
    assert is_page_of(await stand.back(state), Outcome.OTHER_BROWSER)
    assert stand.microsoft.asked == asked


async def test_two_tabs_of_one_browser_both_find_back(stand):
    states = [await stand.begin(), await stand.begin(None)]
    for state in states:
        assert is_page_of(await stand.back(state), Outcome.ACTIVE)


async def test_a_cookie_that_is_not_one_of_ours_is_replaced(stand):
    stand.cookies = {"__Host-consent": "x"}
    await stand.begin()
    assert len(stand.cookies["__Host-consent"]) == 32


async def test_the_tenant_of_the_address_line_has_to_be_a_directory_and_the_invited_one(stand):
    state = await stand.begin()
    for tenant in ("", "common", "../x", f"{GUID}/x", None):
        assert is_page_of(await stand.back(state, tenant), Outcome.ENTRA_ERROR)
    assert is_page_of(await stand.back(state, admin_consent="False"), Outcome.ENTRA_ERROR)
    pinned = Invitation(id="i3", name="Contoso", region="eu", expires=2**32, tenant=GUID)
    state = await stand.begin(pinned)
    assert is_page_of(await stand.back(state, OTHER), Outcome.OTHER_DIRECTORY)
    assert stand.untouched()
    assert is_page_of(await stand.back(state, GUID.upper()), Outcome.ACTIVE)


async def test_an_expired_invitation_asks_nobody(stand):
    state = await stand.begin()
    stand.clock.now = INVITED.expires
    assert is_page_of(await stand.ask(f"/invitation/{sealed(INVITED)}"), Outcome.EXPIRED)
    answer = await stand.ask("/begin", {"invitation": sealed(INVITED)})
    assert is_page_of(answer, Outcome.EXPIRED)
    stand.clock.now -= 1
    state = await stand.begin()
    stand.clock.now += 1
    assert is_page_of(await stand.back(state), Outcome.EXPIRED)
    assert stand.untouched()


async def test_a_used_invitation_asks_nobody(stand):
    state = await stand.begin()
    stand.roster = {OTHER: registered(OTHER, Standing.REMOVED, "i1")}
    assert is_page_of(await stand.ask(f"/invitation/{sealed(INVITED)}"), Outcome.USED)
    assert is_page_of(await stand.ask("/begin", {"invitation": sealed(INVITED)}), Outcome.USED)
    assert is_page_of(await stand.back(state), Outcome.USED)
    assert stand.untouched()


@pytest.mark.parametrize("standing", list(Standing))
async def test_a_known_tenant_asks_nobody_and_all_of_them_look_alike(stand, standing):
    stand.roster = {GUID: registered(GUID, standing)}
    answer = await stand.back(await stand.begin())
    assert is_page_of(answer, Outcome.KNOWN)
    assert title(answer) == WORDS[Outcome.AWAITING].title
    assert stand.untouched()


async def test_a_tenant_whose_record_cannot_be_read_is_left_alone(stand):
    stand.damaged = {GUID: "damaged"}
    assert is_page_of(await stand.back(await stand.begin()), Outcome.KNOWN)
    assert stand.untouched()


async def test_a_consent_that_does_not_show_yet_is_waited_for(stand):
    stand.microsoft.answers = [NOT_CONSENTED, NOT_CONSENTED]
    assert is_page_of(await stand.back(await stand.begin()), Outcome.ACTIVE)
    assert stand.microsoft.asked == [GUID] * 3
    assert stand.clock.now - NOW < 10


@pytest.mark.parametrize(
    ("error", "outcome", "asked"),
    [
        (NOT_CONSENTED, Outcome.NOT_VISIBLE, 3),
        (TenantRejected("x", reason="no_permission", blame=Blame.CUSTOMER), Outcome.NO_ROLE, 3),
        (TenantRejected("x", reason="forbidden", blame=Blame.CUSTOMER), Outcome.NO_SERVICE, 1),
        (
            TenantRejected("x", reason="service_missing", blame=Blame.CUSTOMER),
            Outcome.NO_SERVICE,
            1,
        ),
        (TenantRejected("x", reason="app_disabled", blame=Blame.CUSTOMER), Outcome.BLOCKED, 1),
        (TenantRejected("x", reason="blocked_by_policy", blame=Blame.CUSTOMER), Outcome.BLOCKED, 1),
        (TenantRejected("x", reason="new", blame=Blame.CUSTOMER), Outcome.NO_SERVICE, 1),
        (TenantRejected("x", reason="wrong_audience", blame=Blame.US), Outcome.OURS, 1),
        (CredentialRejected("x", reason="bad_secret"), Outcome.OURS, 1),
        (SourceUnavailable("x", reason="http_503"), Outcome.OURS, 1),
        (Throttled("x", retry_after=1.0), Outcome.OURS, 1),
    ],
)
async def test_what_cannot_be_confirmed_is_not_registered(stand, error, outcome, asked):
    stand.microsoft.answers = [error] * 3
    with structlog.testing.capture_logs() as logs:
        answer = await stand.back(await stand.begin())
    assert is_page_of(answer, outcome)
    assert len(stand.microsoft.asked) == asked
    assert stand.admitted == []
    (event,) = [one for one in logs if one["event"] == "consent_not_confirmed"]
    assert (event["tenant"], event["reason"]) == (GUID, error.reason)


async def test_a_token_is_not_enough_and_of_whoever_has_none_nothing_is_kept(stand):
    stand.microsoft.refuses = TenantRejected("x", reason="forbidden", blame=Blame.CUSTOMER)
    assert is_page_of(await stand.back(await stand.begin()), Outcome.NO_SERVICE)
    assert stand.microsoft.granted == [1.0]
    stand.microsoft.answers = [NOT_CONSENTED] * 3
    assert is_page_of(await stand.back(await stand.begin(), OTHER), Outcome.NOT_VISIBLE)
    assert stand.microsoft.granted == [1.0]
    assert stand.admitted == []


async def test_kafkas_trouble_is_ours_and_can_be_tried_again(stand):
    state = await stand.begin()
    stand.admission = SinkUnavailable("no broker at kafka-1.internal")
    answer = await stand.back(state)
    assert is_page_of(answer, Outcome.OURS)
    assert "kafka" not in answer.body
    stand.admission = Admission.ACTIVE
    again = re.search(r'class="button" href="([^"]+)"', answer.body)
    assert is_page_of(await stand.ask(again[1].replace("&amp;", "&")), Outcome.ACTIVE)


async def test_a_defect_of_ours_shows_a_page_and_nothing_of_itself(stand):
    stand.admission = ZeroDivisionError("a secret in a traceback")
    with structlog.testing.capture_logs() as logs:
        answer = await stand.back(await stand.begin())
    assert is_page_of(answer, Outcome.OURS)
    assert "secret" not in answer.body
    (event,) = [one for one in logs if one["event"] == "consent_page_failed"]
    assert event["reference"] in answer.body


async def test_confirmations_have_a_small_budget_and_the_uninvited_one_of_their_own():
    async with Stand().open(confirmations_per_minute=2) as stand:
        uninvited = await stand.begin(None)
        stand.microsoft.answers = [NOT_CONSENTED] * 9
        # One wait is two seconds: what was asked for is not filled up by then.
        assert is_page_of(await stand.back(uninvited), Outcome.NOT_VISIBLE)
        assert len(stand.microsoft.asked) == 2
        answer = await stand.back(uninvited, OTHER)
        assert is_page_of(answer, Outcome.BUSY)
        assert answer.headers["Retry-After"] == "60"
        assert len(stand.microsoft.asked) == 2
        stand.microsoft.answers = []
        assert is_page_of(await stand.back(await stand.begin()), Outcome.ACTIVE)
        stand.clock.now += 60
        assert is_page_of(await stand.back(await stand.begin(None), OTHER), Outcome.ACTIVE)


async def test_one_client_can_only_ask_so_much():
    async with Stand().open(requests_per_minute=3) as stand:
        for _ in range(3):
            assert (await stand.ask("/")).status == 200
        answer = await stand.ask("/")
        assert is_page_of(answer, Outcome.TOO_MANY)
        assert answer.headers["Retry-After"] == "60"
        # Nobody is somebody else by saying so.
        assert (await stand.ask("/", **{"X-Forwarded-For": "203.0.113.9"})).status == 429
        stand.clock.now += 20
        assert (await stand.ask("/")).status == 200


async def test_behind_a_trusted_proxy_each_client_counts_for_itself():
    async with Stand().open(requests_per_minute=1, trusted_proxies=["127.0.0.1"]) as stand:
        for last in (1, 2):
            headers = {"X-Forwarded-For": f"203.0.113.{last}"}
            assert (await stand.ask("/", **headers)).status == 200
            assert (await stand.ask("/", **headers)).status == 429


async def test_a_large_body_is_not_taken(stand):
    answer = await stand.ask("/begin", {"invitation": "x" * 20_000})
    assert is_page_of(answer, Outcome.NOWHERE)


async def test_what_roams_the_internet_is_counted_and_not_logged(stand):
    with structlog.testing.capture_logs() as logs:
        await stand.ask("/wp-login.php")
        await stand.ask("/consent?state=x")
    assert {one["log_level"] for one in logs} == {"debug"}
    assert (stand.counted("nowhere"), stand.counted("forged")) == (1, 1)


async def test_no_event_holds_what_lets_somebody_in(stand):
    text = sealed(INVITED)
    with structlog.testing.capture_logs() as logs:
        await stand.ask(f"/invitation/{text}")
        state = await stand.begin()
        await stand.back(state)
    said = str(logs)
    for secret in (text, state, stand.cookies["__Host-consent"], KEY):
        assert secret not in said
    (event,) = [one for one in logs if one.get("outcome") == "active"]
    assert (event["tenant"], event["invitation"], event["tenant_name"]) == (GUID, "i1", "Contoso")


async def test_an_exchanged_key_still_believes_the_former_and_a_broken_file_changes_nothing(stand):
    text = sealed(INVITED)
    stand.key = f"{'n' * 32}\n{KEY}"
    assert (await stand.ask(f"/invitation/{text}")).status == 200
    stand.key = "short"
    assert (await stand.ask(f"/invitation/{text}")).status == 200
    stand.key = "n" * 32
    assert is_page_of(await stand.ask(f"/invitation/{text}"), Outcome.FORGED)


async def test_an_invitation_to_a_region_that_is_gone_is_our_trouble(stand):
    lost = Invitation(id="i4", name="Contoso", region="mars", expires=2**32)
    answer = await stand.ask("/begin", {"invitation": sealed(lost)})
    assert is_page_of(answer, Outcome.OURS)
    assert stand.untouched()


async def test_without_tls_on_this_machine_the_cookie_works_too():
    async with Stand().open(url="http://127.0.0.1:9466") as stand:
        assert is_page_of(await stand.back(await stand.begin()), Outcome.ACTIVE)
        assert list(stand.cookies) == ["consent"]


async def test_an_address_that_cannot_be_had_is_told_with_its_keys():
    async with Stand().page() as first:
        port = urlsplit(first.listening).port
        with pytest.raises(SettingsError, match=r"consent\.host, consent\.port: cannot listen on"):
            await Stand().page(port=port).__aenter__()


def test_a_key_that_is_none_is_refused_at_the_start():
    stand = Stand()
    stand.key = "short"
    with pytest.raises(SettingsError, match=r"consent\.key_file: .* fewer than 32"):
        stand.page()


def test_every_outcome_but_the_way_to_microsoft_has_words_and_a_partner():
    assert set(Outcome) - set(WORDS) == {Outcome.BEGUN}
    for told in WORDS.values():
        for line in told.lines:
            line.format(partner="x")


async def test_the_style_is_the_one_that_the_policy_allows(stand):
    answer = await stand.ask("/")
    style = answer.body.partition("<style>")[2].partition("</style>")[0]
    found = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{found}'" in answer.headers["Content-Security-Policy"]
    assert len(style) > 1_000
    assert "&" not in style

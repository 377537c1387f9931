"""The token endpoint of a simulated Entra ID, in both its versions."""

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from ingest.simulator import clouds
from ingest.simulator.application import Application
from ingest.simulator.customer import Customer
from ingest.simulator.exchange import Response, json_answer
from ingest.simulator.faults import Fault, FaultBook, Layer
from ingest.simulator.keys import SigningKey, unpadded
from ingest.simulator.refusals import refusal
from ingest.simulator.times import Timeline

DEFENDER = "https://api.securitycenter.microsoft.com"
"""The resource whose tokens the simulated alert API takes; `AUDIENCES` has its other names."""

AUDIENCES = frozenset(
    {
        DEFENDER,
        "https://api.securitycenter.windows.com",
        "https://securitycenter.onmicrosoft.com/windowsatpservice",
        "https://securitycenter.onmicrosoft.us/windowsatpservice",
    }
)
_RESOURCES = AUDIENCES | {"https://api.security.microsoft.com", "https://graph.microsoft.com"}
_EVENT_HUBS = re.compile(r"https://[a-z0-9-]+\.servicebus\.windows\.net")
"""The resource of a namespace of Event Hubs: Kafka's clients ask for tokens there too."""

_ROLES = ["Alert.Read.All"]

_REMEMBERED_SECONDS = 3600.0
"""How long an expired token is still known, so that its calls count for its tenant."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What an access token that was given out allows."""

    tenant: str
    audience: str
    roles: tuple[str, ...]
    generation: int
    expires: float


class TokenEndpoint:
    """Gives out tokens for the one simulated application.

    Args:
        key: signs the tokens.
        application: has the credentials that are taken.
        token_seconds: how long tokens live.
        customer: finds a tenant by id or gives None.
        book: of the faults that were served.
    """

    def __init__(
        self,
        *,
        timeline: Timeline,
        key: SigningKey,
        application: Application,
        token_seconds: int,
        customer: Callable[[str], Customer | None],
        book: FaultBook,
    ) -> None:
        self._timeline = timeline
        self._key = key
        self._application = application
        self._token_seconds = token_seconds
        self._customer = customer
        self._book = book
        self._grants: dict[str, Grant] = {}
        self._sweep_at = 0.0

    def answer(
        self, tenant: str, host: str, body: bytes, headers: Mapping[str, str], *, v2: bool
    ) -> Response:
        """Answer a token request for a tenant to a host; `body` is its form."""
        form = {name: values[0] for name, values in parse_qs(body.decode("latin-1")).items()}
        return _dressed(self._token(tenant, host, form, headers, v2=v2), headers)

    def grant_of(self, token: str) -> Grant | None:
        """Return what a token allowed when it was given out, None where it is not one of ours."""
        return self._grants.get(token)

    def _token(
        self,
        tenant: str,
        host: str,
        form: Mapping[str, str],
        headers: Mapping[str, str],
        *,
        v2: bool,
    ) -> Response:
        customer = self._customer(tenant)
        if customer is None:
            return self._refusal(90002, {"tenant": tenant}, headers)
        customer.calls.tokens += 1
        if not clouds.signs_in_at(customer, host):
            return self._refusal(900382, {"tenant": tenant}, headers)
        asked = form.get("scope" if v2 else "resource", "")
        resource = asked.removesuffix("/.default").rstrip("/") if v2 else asked.rstrip("/")
        words = {
            "tenant": tenant,
            "client": form.get("client_id", ""),
            "resource": asked or "unknown",
        }
        for name in ("grant_type", "client_id", "scope" if v2 else "resource"):
            if name not in form:
                return self._refusal(900144, {**words, "missing": name}, headers)
        code = self._objection(form, f"https://{host}/{tenant}", resource, asked, v2=v2)
        if code is not None:
            return self._refusal(code, words, headers)
        for fault in customer.afflicted(self._timeline.now(), Layer.TOKEN):
            return self._faulty(fault, customer, words, headers, resource, v2=v2)
        return self._granted(customer, resource, tuple(_ROLES), v2=v2)

    def _objection(
        self, form: Mapping[str, str], authority: str, resource: str, asked: str, *, v2: bool
    ) -> int | None:
        """Return the AADSTS code of what is wrong with a request, None where nothing is."""
        now = self._timeline.now()
        unproven = self._application.objection(form, authority, now)
        objections = (
            (form["grant_type"] != "client_credentials", 70003),
            (form["client_id"] != self._application.client_id, 700016),
            (unproven is not None, unproven),
            (v2 and not asked.endswith("/.default"), 1002012),
            (resource not in _RESOURCES and not _EVENT_HUBS.fullmatch(resource), 500011),
        )
        return next((code for wrong, code in objections if wrong), None)

    def _faulty(
        self,
        fault: Fault,
        customer: Customer,
        words: Mapping[str, str],
        headers: Mapping[str, str],
        resource: str,
        *,
        v2: bool,
    ) -> Response:
        self._book.served(fault)
        now = self._timeline.wall(self._timeline.now())
        until = now if fault.until is None else max(now, self._timeline.wall(fault.until))
        match fault.kind:
            case "token_not_json":
                answer = Response(
                    200, b"<html><body>Sign in</body></html>", {"Content-Type": "text/html"}
                )
            case "token_429":
                wait = int(fault.options["retry_after"])
                until = max(until, now + wait)
                answer = Response(
                    429,
                    b"Too Many Requests",
                    {"Content-Type": "text/plain", "Retry-After": str(wait)},
                )
            case "roles_missing":
                answer = self._granted(customer, resource, (), v2=v2)
            case _:
                answer = self._refusal(int(fault.options["code"]), words, headers)
        customer.outages.failed(now, until)
        return answer

    def _granted(
        self, customer: Customer, resource: str, roles: tuple[str, ...], *, v2: bool
    ) -> Response:
        now = self._timeline.now()
        seconds = self._token_seconds
        actor = str(uuid.uuid5(uuid.UUID(customer.id), self._application.client_id))
        claims: dict[str, Any] = {
            "aud": resource,
            "iss": f"https://sts.windows.net/{customer.id}/",
            "iat": int(now) - 300,
            "nbf": int(now) - 300,
            "exp": int(now) + seconds + 1,
            "aio": uuid.uuid4().hex,
            "appid": self._application.client_id,
            "appidacr": "1",
            "idp": f"https://sts.windows.net/{customer.id}/",
            "oid": actor,
            "rh": "0.AAAA.",
            "sub": actor,
            "tid": customer.id,
            "uti": unpadded(uuid.uuid4().bytes),
            "ver": "1.0",
        }
        if roles:
            claims["roles"] = list(roles)
        token = self._key.sign(claims)
        self._forget_expired(now)
        self._grants[token] = Grant(
            customer.id, resource, roles, customer.tokens_since, now + seconds + 1
        )
        answer: dict[str, Any] = {"token_type": "Bearer", "expires_in": seconds}
        answer["ext_expires_in"] = seconds
        if not v2:
            # The older endpoint writes its numbers as strings.
            answer = {name: str(value) for name, value in answer.items()}
            answer |= {
                "expires_on": str(int(now) + seconds),
                "not_before": str(int(now) - 300),
                "resource": resource,
            }
        return json_answer(200, answer | {"access_token": token})

    def _forget_expired(self, now: float) -> None:
        if now >= self._sweep_at:
            self._grants = {
                token: grant
                for token, grant in self._grants.items()
                if grant.expires > now - _REMEMBERED_SECONDS
            }
            self._sweep_at = now + 300.0

    def _refusal(self, code: int, words: Mapping[str, str], headers: Mapping[str, str]) -> Response:
        return refusal(code, words=words, headers=headers, now=self._timeline.now())


def _dressed(answer: Response, headers: Mapping[str, str]) -> Response:
    """Add the headers that every token answer has; a cookie is among them."""
    answer.headers |= {
        "Cache-Control": "no-store, no-cache",
        "Pragma": "no-cache",
        "x-ms-request-id": str(uuid.uuid4()),
        "x-ms-ests-server": "2.1.0 - SIM ProdSlices",
        "Set-Cookie": f"fpc={uuid.uuid4().hex}; path=/; secure; HttpOnly; SameSite=None",
    }
    if "client-request-id" in headers:
        answer.headers["client-request-id"] = headers["client-request-id"]
    return answer

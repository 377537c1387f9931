"""A cloud on a manual clock, and a caller that speaks to it as a client would."""

import gzip
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from ingest.simulator.cloud import Plan, SimulatedCloud
from ingest.simulator.exchange import Response
from ingest.simulator.token_endpoint import DEFENDER

SECRET = "the-secret-of-the-simulated-app"


@dataclass
class ManualTime:
    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Caller:
    """One client of a cloud; it takes a token where it needs one."""

    cloud: SimulatedCloud
    time: ManualTime
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def tenant(self) -> str:
        return next(iter(self.cloud.customers))

    def token_answer(self, tenant: str, version: str = "v2", **changes: str | None) -> Response:
        form: dict[str, str | None] = {
            "grant_type": "client_credentials",
            "client_id": self.cloud.client_id,
            "client_secret": SECRET,
        }
        if version == "v2":
            form["scope"] = f"{DEFENDER}/.default"
        else:
            form["resource"] = DEFENDER
        form |= changes
        body = urlencode({name: value for name, value in form.items() if value is not None})
        path = f"/{tenant}/oauth2/v2.0/token" if version == "v2" else f"/{tenant}/oauth2/token"
        headers = {
            "host": "login.test",
            "client-request-id": "11111111-2222-3333-4444-555555555555",
        }
        return self.cloud.handle("POST", path, "", headers, body.encode())

    def sign_in(self, tenant: str | None = None) -> str:
        tenant = tenant or self.tenant
        answer = self.token_answer(tenant)
        assert answer.status == 200, answer.body
        self.tokens[tenant] = json.loads(answer.body)["access_token"]
        return self.tokens[tenant]

    def get(self, tenant: str | None = None, query: str | None = None, **options: Any) -> Response:
        """Ask for alerts; options are query options without their dollar."""
        tenant = tenant or self.tenant
        if tenant not in self.tokens:
            self.sign_in(tenant)
        headers = {"host": "api.test", "authorization": f"Bearer {self.tokens[tenant]}"}
        if options.pop("gzip", False):
            headers["accept-encoding"] = "gzip, deflate"
        if query is None:
            query = "&".join(f"${name}={quote(str(value))}" for name, value in options.items())
        return self.cloud.handle("GET", "/api/alerts", query, headers)

    def page(self, tenant: str | None = None, **options: Any) -> list[Any]:
        options.setdefault("expand", "evidence")
        answer = self.get(tenant, **options)
        assert answer.status == 200, answer.body
        return self.content(answer)["value"]

    @staticmethod
    def content(answer: Response) -> Any:
        body = answer.body
        if answer.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        return json.loads(body)

    def admin(self, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self.admin_answer(path, body)
        assert answer.status == 200, answer.body
        if path == "record":
            return [json.loads(line) for line in answer.body.splitlines()]
        return json.loads(answer.body)

    def admin_answer(self, path: str, body: dict[str, Any] | None = None) -> Response:
        method = "GET" if body is None else "POST"
        return self.cloud.handle(method, f"/admin/{path}", "", {}, json.dumps(body).encode())

    def fault(self, kind: str, tenant: str | None = None, **options: Any) -> None:
        self.admin("faults", {"tenant": tenant or self.tenant, "kind": kind, **options})

    def faults(self) -> dict[str, int]:
        return self.admin("faults")


@pytest.fixture(scope="session")
def signing_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def make_caller(signing_key):
    def make(**plan: Any) -> Caller:
        plan = {"tenants": 3, "births_per_minute": 0.0, "client_secret": SECRET} | plan
        time = ManualTime()
        return Caller(SimulatedCloud(plan=Plan(**plan), clock=time, key=signing_key), time)

    return make


@pytest.fixture
def caller(make_caller) -> Caller:
    return make_caller()

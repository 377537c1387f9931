"""A simulated Entra ID: OpenID configuration, tokens of both versions, keys, and its refusals."""

import base64
import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from ingest.simulator.customer import Customer
from ingest.simulator.exchange import Response, json_answer
from ingest.simulator.faults import Fault, FaultBook, Layer
from ingest.simulator.times import Timeline, ticks_of, write_instant

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

_REFUSALS: Mapping[int, tuple[int, str, str]] = {
    50001: (400, "invalid_resource", "The resource principal named {resource} was not found."),
    50059: (400, "invalid_request", "No tenant-identifying information found in the request."),
    50196: (400, "invalid_grant", "The server terminated an operation: a request loop was found."),
    53003: (400, "access_denied", "Access has been blocked by Conditional Access policies."),
    65001: (
        400,
        "invalid_grant",
        "The user or administrator has not consented to use the application with ID '{client}'.",
    ),
    70003: (400, "unsupported_grant_type", "The app requested an unsupported grant type."),
    70011: (
        400,
        "invalid_scope",
        "The provided value for the input parameter 'scope' is not valid.",
    ),
    70021: (400, "invalid_request", "No matching federated identity record found."),
    90002: (
        400,
        "invalid_request",
        (
            "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are "
            "signing into the correct cloud."
        ),
    ),
    90033: (503, "temporarily_unavailable", "A transient error has occurred. Please try again."),
    90038: (
        400,
        "invalid_request",
        "Tenant '{tenant}' request is being redirected to another cloud.",
    ),
    90055: (429, "temporarily_unavailable", "The tenant is throttled: too many requests."),
    500011: (
        400,
        "invalid_resource",
        "The resource principal named {resource} was not found in the tenant named {tenant}.",
    ),
    650052: (
        400,
        "invalid_client",
        "The app is trying to access a service that your organization lacks a service principal for.",
    ),
    700016: (
        400,
        "unauthorized_client",
        (
            "Application with identifier '{client}' was not found in the directory '{tenant}'. This can "
            "happen if the application has not been installed by the administrator of the tenant or "
            "consented to by any user in the tenant."
        ),
    ),
    700027: (401, "invalid_client", "The certificate with the assertion is not registered."),
    900144: (400, "invalid_request", "The request body must contain the parameter '{missing}'."),
    1002012: (
        400,
        "invalid_scope",
        (
            "The provided value for scope {resource} is not valid. Client credential flows must have a "
            "scope value with /.default suffixed to the resource identifier."
        ),
    ),
    7000112: (400, "unauthorized_client", "Application '{client}' is disabled."),
    7000215: (
        401,
        "invalid_client",
        (
            "Invalid client secret provided. Ensure the secret being sent in the request is the client "
            "secret value, not the client secret ID, for a secret added to app '{client}'."
        ),
    ),
    7000218: (
        401,
        "invalid_client",
        "The request body must contain the parameter 'client_assertion' or 'client_secret'.",
    ),
    7000222: (
        401,
        "invalid_client",
        "The provided client secret keys for app '{client}' are expired.",
    ),
    7000229: (
        401,
        "invalid_client",
        "The client application {client} is missing service principal in the tenant {tenant}.",
    ),
}
"""Entra's refusals by AADSTS code: HTTP status, `error`, and the text."""


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


class Entra:
    """Gives out tokens for the one simulated application.

    Args:
        key: signs the tokens.
        client_id: the application's id.
        client_secret: its secret.
        token_seconds: how long tokens live.
        customer: finds a tenant by id or gives None.
        of_domain: finds a tenant by a domain name in lower case or gives None.
    """

    def __init__(
        self,
        *,
        timeline: Timeline,
        key: RSAPrivateKey,
        client_id: str,
        client_secret: str,
        token_seconds: int,
        customer: Callable[[str], Customer | None],
        of_domain: Callable[[str], Customer | None],
        book: FaultBook,
    ) -> None:
        self._timeline = timeline
        self._key = key
        self._kid = _unpadded(uuid.uuid5(uuid.NAMESPACE_OID, client_id).bytes)
        self._client_id = client_id
        self._client_secret = client_secret
        self._token_seconds = token_seconds
        self._customer = customer
        self._of_domain = of_domain
        self._book = book
        self._grants: dict[str, Grant] = {}
        self._sweep_at = 0.0

    def handle(
        self, method: str, path: str, host: str, headers: Mapping[str, str], body: bytes
    ) -> Response | None:
        """Answer what is asked of the login host; None for a path that it does not have."""
        tenant, _, rest = path.lstrip("/").partition("/")
        if rest.endswith(".well-known/openid-configuration") and method == "GET":
            return self._configuration(tenant, host, v2=rest.startswith("v2.0/"))
        if rest in ("discovery/v2.0/keys", "discovery/keys") and method == "GET":
            return json_answer(200, {"keys": [self._public_key()]})
        if rest in ("oauth2/v2.0/token", "oauth2/token") and method == "POST":
            form = {name: values[0] for name, values in parse_qs(body.decode("latin-1")).items()}
            answer = self._token(tenant, form, headers, v2="/v2.0/" in rest)
            return self._dressed(answer, headers)
        return None

    def grant_of(self, token: str) -> Grant | None:
        """Return what a token allowed when it was given out, None where it is not one of ours."""
        return self._grants.get(token)

    def _configuration(self, tenant: str, host: str, *, v2: bool) -> Response:
        customer = self._customer(tenant) or self._of_domain(tenant.lower())
        if customer is None:
            return self._refusal(90002, {"tenant": tenant}, {}, error="invalid_tenant")
        # Asked by a domain name, it answers with the id: this is how the one is found by the other.
        root = f"https://{host}/{customer.id}"
        version = "/v2.0" if v2 else ""
        return json_answer(
            200,
            {
                "token_endpoint": f"{root}/oauth2{version}/token",
                "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
                "jwks_uri": f"{root}/discovery{version}/keys",
                "response_modes_supported": ["query", "fragment", "form_post"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "response_types_supported": ["code", "id_token", "code id_token"],
                "scopes_supported": ["openid", "profile", "email", "offline_access"],
                "issuer": f"{root}/v2.0" if v2 else f"https://sts.windows.net/{customer.id}/",
                "authorization_endpoint": f"{root}/oauth2{version}/authorize",
                "tenant_region_scope": "EU",
                "cloud_instance_name": "microsoftonline.com",
                "cloud_graph_host_name": "graph.windows.net",
                "msgraph_host": "graph.microsoft.com",
                "rbac_url": "https://pas.windows.net",
            },
        )

    def _token(
        self, tenant: str, form: Mapping[str, str], headers: Mapping[str, str], *, v2: bool
    ) -> Response:
        customer = self._customer(tenant)
        if customer is None:
            return self._refusal(90002, {"tenant": tenant}, headers)
        customer.calls.tokens += 1
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
        code = self._objection(form, resource, asked, v2=v2)
        if code is not None:
            return self._refusal(code, words, headers)
        for fault in customer.afflicted(self._timeline.now(), Layer.TOKEN):
            return self._faulty(fault, customer, words, headers, resource, v2=v2)
        return self._granted(customer, resource, tuple(_ROLES), v2=v2)

    def _objection(
        self, form: Mapping[str, str], resource: str, asked: str, *, v2: bool
    ) -> int | None:
        """Return the AADSTS code of what is wrong with a request, None where nothing is."""
        objections = (
            (form["grant_type"] != "client_credentials", 70003),
            (form["client_id"] != self._client_id, 700016),
            ("client_assertion" in form, 700027),
            ("client_secret" not in form, 7000218),
            (form.get("client_secret") != self._client_secret, 7000215),
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
        actor = str(uuid.uuid5(uuid.UUID(customer.id), self._client_id))
        claims: dict[str, Any] = {
            "aud": resource,
            "iss": f"https://sts.windows.net/{customer.id}/",
            "iat": int(now) - 300,
            "nbf": int(now) - 300,
            "exp": int(now) + seconds + 1,
            "aio": uuid.uuid4().hex,
            "appid": self._client_id,
            "appidacr": "1",
            "idp": f"https://sts.windows.net/{customer.id}/",
            "oid": actor,
            "rh": "0.AAAA.",
            "sub": actor,
            "tid": customer.id,
            "uti": _unpadded(uuid.uuid4().bytes),
            "ver": "1.0",
        }
        if roles:
            claims["roles"] = list(roles)
        token = jwt.encode(
            claims, self._key, algorithm="RS256", headers={"kid": self._kid, "x5t": self._kid}
        )
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

    def _refusal(
        self,
        code: int,
        words: Mapping[str, str],
        headers: Mapping[str, str],
        error: str | None = None,
    ) -> Response:
        status, name, text = _REFUSALS.get(code, (400, "invalid_request", "Something is wrong."))
        trace = str(uuid.uuid4())
        correlation = headers.get("client-request-id") or str(uuid.uuid4())
        stamp = _stamp(self._timeline.now())
        said = text.format_map(_Words(words))
        return json_answer(
            status,
            {
                "error": error or name,
                "error_description": f"AADSTS{code}: {said} Trace ID: {trace} "
                f"Correlation ID: {correlation} Timestamp: {stamp}",
                "error_codes": [code],
                "timestamp": stamp,
                "trace_id": trace,
                "correlation_id": correlation,
                "error_uri": f"https://login.microsoftonline.com/error?code={code}",
            },
        )

    def _dressed(self, answer: Response, headers: Mapping[str, str]) -> Response:
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

    def _public_key(self) -> dict[str, Any]:
        key: dict[str, Any] = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))
        return key | {"use": "sig", "kid": self._kid, "x5t": self._kid}


class _Words(dict[str, str]):
    """Words for a text; one that nobody gave is left empty."""

    def __missing__(self, _: str) -> str:
        return ""


def _stamp(unix: float) -> str:
    return write_instant(ticks_of(unix), 0).replace("T", " ")


def _unpadded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

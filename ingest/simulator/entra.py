"""A simulated Entra ID: OpenID configuration, keys, and the way to its token endpoint."""

import uuid
from collections.abc import Callable, Mapping

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from ingest.simulator import clouds
from ingest.simulator.application import Application
from ingest.simulator.customer import Customer
from ingest.simulator.exchange import Response, json_answer
from ingest.simulator.faults import FaultBook
from ingest.simulator.keys import SigningKey
from ingest.simulator.refusals import refusal
from ingest.simulator.times import Timeline
from ingest.simulator.token_endpoint import Grant, TokenEndpoint


class Entra:
    """The login host of the one simulated application.

    Args:
        key: signs the tokens.
        application: has the credentials that are taken.
        token_seconds: how long tokens live.
        customer: finds a tenant by id or gives None.
        of_domain: finds a tenant by a domain name in lower case or gives None.
        book: of the faults that were served.
    """

    def __init__(
        self,
        *,
        timeline: Timeline,
        key: RSAPrivateKey,
        application: Application,
        token_seconds: int,
        customer: Callable[[str], Customer | None],
        of_domain: Callable[[str], Customer | None],
        book: FaultBook,
    ) -> None:
        self._timeline = timeline
        self._key = SigningKey(key, uuid.uuid5(uuid.NAMESPACE_OID, application.client_id).bytes)
        self._customer = customer
        self._of_domain = of_domain
        self._tokens = TokenEndpoint(
            timeline=timeline,
            key=self._key,
            application=application,
            token_seconds=token_seconds,
            customer=customer,
            book=book,
        )

    def handle(
        self, method: str, path: str, host: str, headers: Mapping[str, str], body: bytes
    ) -> Response | None:
        """Answer what is asked of the login host; None for a path that it does not have."""
        tenant, _, rest = path.lstrip("/").partition("/")
        if rest.endswith(".well-known/openid-configuration") and method == "GET":
            return self._configuration(tenant, host, v2=rest.startswith("v2.0/"))
        if rest in ("discovery/v2.0/keys", "discovery/keys") and method == "GET":
            return json_answer(200, {"keys": [self._key.public()]})
        if rest in ("oauth2/v2.0/token", "oauth2/token") and method == "POST":
            return self._tokens.answer(tenant, host, body, headers, v2="/v2.0/" in rest)
        return None

    def grant_of(self, token: str) -> Grant | None:
        """Return what a token allowed when it was given out, None where it is not one of ours."""
        return self._tokens.grant_of(token)

    def _configuration(self, tenant: str, host: str, *, v2: bool) -> Response:
        customer = self._customer(tenant) or self._of_domain(tenant.lower())
        if customer is None:
            return refusal(
                90002,
                words={"tenant": tenant},
                headers={},
                now=self._timeline.now(),
                error="invalid_tenant",
            )
        # Asked by a domain name, it answers with the id: this is how the one is found by the other.
        # So is its cloud, whose login host may be another.
        root = f"https://{clouds.login_of(customer, host)}/{customer.id}"
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

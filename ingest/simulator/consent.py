"""Admin consent as a simulated Entra ID asks for it: its page, what an administrator may do, the redirect.

Three forms lead there: v2 and v1 of admin consent, and the `authorize` link of Microsoft's partner documents.
A directory that has not consented gets no token.
"""

import html
import uuid
from collections.abc import Collection, Mapping
from urllib.parse import parse_qs, urlencode, urlsplit

from ingest.simulator.customer import Customer
from ingest.simulator.exchange import Response
from ingest.simulator.faults import read_fault
from ingest.simulator.refusals import refusal
from ingest.simulator.times import Timeline

V2, V1 = "v2.0/adminconsent", "adminconsent"
AUTHORIZE = ("oauth2/authorize", "oauth2/v2.0/authorize")
_TOKENS = ("oauth2/token", "oauth2/v2.0/token")
_ANY = ("organizations", "common")
_FOREVER = 10 * 366 * 86_400.0

DECISIONS = {
    "accept": "Accept",
    "no_role": "Accept, though the application does not ask for Alert.Read.All",
    "not_admin": "Sign in as somebody who is no administrator",
    "cancel": "Cancel",
}
"""What an administrator may do, and how the page calls it."""

_REFUSED = {
    "not_admin": (
        "access_denied",
        "AADSTS90094: An administrator of {tenant} must grant {client} the permissions it asks for.",
    ),
    "cancel": (
        "consent_required",
        "AADSTS65004: User declined to consent to access the app <{client}> & its resources.",
    ),
}


class Consents:
    """The consent pages of the login host, and who has consented.

    Args:
        client_id: the application's id.
        redirect_urls: where it may be sent back to; without a wish to the first.
        customers: the directories, by id.
    """

    def __init__(
        self,
        *,
        timeline: Timeline,
        client_id: str,
        redirect_urls: Collection[str],
        customers: Mapping[str, Customer],
    ) -> None:
        self._timeline = timeline
        self._client_id = client_id
        self._redirect_urls = tuple(redirect_urls)
        self._customers = customers

    def handle(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> Response | None:
        """Answer what has to do with consent; None leaves a request to others."""
        tenant, _, rest = path.lstrip("/").partition("/")
        if rest in _TOKENS:
            return self._without_consent(tenant, headers)
        if rest not in (V2, V1, *AUTHORIZE) or method not in ("GET", "POST"):
            return None
        words = _first(query)
        if trouble := self._objection(tenant, rest, words):
            return _page("Sorry, but we are having trouble signing you in.", html.escape(trouble))
        if method == "GET":
            return self._ask(tenant, path, query)
        return self._decided(tenant, rest, words, _first(body.decode("latin-1")))

    def _without_consent(self, tenant: str, headers: Mapping[str, str]) -> Response | None:
        customer = self._customers.get(tenant)
        if customer is None or customer.consented:
            return None
        customer.calls.tokens += 1
        said = {"client": self._client_id, "tenant": tenant}
        return refusal(700016, words=said, headers=headers, now=self._timeline.now())

    def _objection(self, tenant: str, rest: str, words: Mapping[str, str]) -> str | None:
        """Return what Entra ID would stop at before it asks anybody, None where it asks."""
        wanted = words.get("redirect_uri")
        objections = (
            (
                tenant not in self._customers and tenant not in _ANY,
                f"AADSTS90002: Tenant '{tenant}' not found.",
            ),
            (
                words.get("client_id") != self._client_id,
                "AADSTS700016: Application was not found in the directory.",
            ),
            (
                not self._redirect_urls or (wanted and wanted not in self._redirect_urls),
                "AADSTS50011: The redirect URI specified in the request does not match.",
            ),
            (
                rest == V2 and tenant == "common",
                "AADSTS9001023: The grant type is not supported over the /common endpoint.",
            ),
            (
                rest == V2 and not words.get("scope", "").endswith("/.default"),
                "AADSTS70011: The provided value for the input parameter 'scope' is not valid.",
            ),
            (
                rest in AUTHORIZE and "consent" not in words.get("prompt", ""),
                "AADSTS9000: Only consent is simulated here.",
            ),
        )
        return next((text for wrong, text in objections if wrong), None)

    def _ask(self, tenant: str, path: str, query: str) -> Response:
        chosen = (
            [self._customers[tenant]] if tenant in self._customers else self._customers.values()
        )
        options = "".join(
            f'<option value="{one.id}">{html.escape(one.name)}</option>' for one in chosen
        )
        buttons = "".join(
            f'<p><button name="decision" value="{name}">{html.escape(words)}</button></p>'
            for name, words in DECISIONS.items()
        )
        action = html.escape(f"{path}?{query}")
        return _page(
            "Permissions requested",
            f'<form method="post" action="{action}"><p>Review for your organization: '
            f'<select name="directory">{options}</select></p>'
            f"<p>This app would like to: <b>Read all alerts</b></p>{buttons}</form>",
            status=200,
        )

    def _decided(
        self, tenant: str, rest: str, words: Mapping[str, str], form: Mapping[str, str]
    ) -> Response:
        customer = self._customers.get(form.get("directory", ""))
        decision = form.get("decision", "")
        if customer is None or decision not in DECISIONS or tenant not in (customer.id, *_ANY):
            return _page("Something went wrong", "AADSTS90013: Invalid input received.")
        target = words.get("redirect_uri") or self._redirect_urls[0]
        told = {"admin_consent": "True", "tenant": customer.id}
        if decision in _REFUSED:
            error, text = _REFUSED[decision]
            if rest == V1 and decision == "cancel":
                error = "permission_denied"
            said = text.format(client=self._client_id, tenant=customer.name)
            # An error says admin_consent=True as well.
            told |= {"error": error, "error_description": f"{said}\r\nTrace ID: {uuid.uuid4()}"}
        else:
            self._grant(customer, with_role=decision == "accept")
            if rest == V2:
                told["scope"] = words["scope"]
            elif rest in AUTHORIZE:
                told = {"code": uuid.uuid4().hex, "session_state": str(uuid.uuid4())}
        if "state" in words:
            told["state"] = words["state"]
        mark = "&" if urlsplit(target).query else "?"
        return Response(302, b"", {"Location": f"{target}{mark}{urlencode(told)}"})

    def _grant(self, customer: Customer, *, with_role: bool) -> None:
        customer.consented = True
        customer.faults = [one for one in customer.faults if one.kind != "roles_missing"]
        if not with_role:
            lasting = {"kind": "roles_missing", "seconds": _FOREVER}
            customer.faults.append(read_fault(lasting, self._timeline.now()))


def _first(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text).items()}


def _page(title: str, body: str, status: int = 400) -> Response:
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<h1>{title}</h1>{body}</html>"
    )
    headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
    return Response(status, text.encode(), headers)

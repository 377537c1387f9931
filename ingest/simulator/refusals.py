"""How a simulated Entra ID refuses: its AADSTS codes, and the body that carries one."""

import uuid
from collections.abc import Mapping

from ingest.simulator.exchange import Response, json_answer
from ingest.simulator.times import ticks_of, write_instant

_REFUSALS: Mapping[int, tuple[int, str, str]] = {
    50001: (400, "invalid_resource", "The resource principal named {resource} was not found."),
    50059: (400, "invalid_request", "No tenant-identifying information found in the request."),
    50196: (400, "invalid_grant", "The server terminated an operation: a request loop was found."),
    50027: (401, "invalid_client", "Invalid JWT token: it is malformed."),
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
    700021: (
        401,
        "invalid_client",
        "Client assertion application identifier doesn't match 'client_id' parameter.",
    ),
    700023: (
        401,
        "invalid_client",
        "Client assertion audience claim does not match Realm issuer.",
    ),
    700024: (401, "invalid_client", "Client assertion is not within its valid time range."),
    700027: (
        401,
        "invalid_client",
        (
            "The certificate used to sign the client assertion is not registered on application '{client}', "
            "or the signature is not by its key."
        ),
    ),
    700211: (
        401,
        "invalid_client",
        "No matching federated identity record found for presented assertion issuer.",
    ),
    700212: (
        401,
        "invalid_client",
        "No matching federated identity record found for presented assertion audience.",
    ),
    700213: (
        401,
        "invalid_client",
        "No matching federated identity record found for presented assertion subject.",
    ),
    900144: (400, "invalid_request", "The request body must contain the parameter '{missing}'."),
    900382: (
        400,
        "invalid_request",
        "Confidential Client is not supported in Cross Cloud request.",
    ),
    1002012: (
        400,
        "invalid_scope",
        (
            "The provided value for scope {resource} is not valid. Client credential flows must have a "
            "scope value with /.default suffixed to the resource identifier."
        ),
    ),
    5000811: (
        401,
        "invalid_client",
        "Unable to verify token signature. The signing key does not match any registered key.",
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


def refusal(
    code: int,
    *,
    words: Mapping[str, str],
    headers: Mapping[str, str],
    now: float,
    error: str | None = None,
) -> Response:
    """Return the answer that an AADSTS code stands for; `error` replaces the name that goes with it."""
    status, name, text = _REFUSALS.get(code, (400, "invalid_request", "Something is wrong."))
    trace = str(uuid.uuid4())
    correlation = headers.get("client-request-id") or str(uuid.uuid4())
    stamp = write_instant(ticks_of(now), 0).replace("T", " ")
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


class _Words(dict[str, str]):
    """Words for a text; one that nobody gave is left empty."""

    def __missing__(self, _: str) -> str:
        return ""

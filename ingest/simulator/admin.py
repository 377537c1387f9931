"""The admin endpoints of the simulated cloud: its record, its faults, its time."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ingest.simulator.exchange import Response, api_error, json_answer
from ingest.simulator.faults import FaultError

if TYPE_CHECKING:
    from ingest.simulator.cloud import SimulatedCloud


def handle(cloud: "SimulatedCloud", method: str, path: str, body: bytes) -> Response:
    """Answer one admin request."""
    name = path.removeprefix("/admin/").rstrip("/")
    if method == "GET" and name in _READS:
        return _READS[name](cloud)
    if method == "POST" and name in _WRITES:
        try:
            return _WRITES[name](cloud, _content(body))
        except KeyError as error:
            return api_error(404, "NotFound", f"there is no {error.args[0]}")
        except (FaultError, TypeError, ValueError) as error:
            return api_error(400, "BadRequest", str(error))
    known = [f"GET {name}" for name in _READS] + [f"POST {name}" for name in _WRITES]
    return api_error(404, "NotFound", f"known under /admin/: {', '.join(known)}")


def _content(body: bytes) -> dict[str, Any]:
    content = json.loads(body) if body.strip() else {}
    if not isinstance(content, dict):
        raise TypeError("a JSON object is expected")
    return content


def _record(cloud: "SimulatedCloud") -> Response:
    cloud.advance()
    body = "".join(line + "\n" for line in cloud.record.lines())
    return Response(200, body.encode(), {"Content-Type": "application/x-ndjson"})


def _outages(cloud: "SimulatedCloud") -> Response:
    spans = {
        customer.id: customer.outages.spans
        for customer in cloud.customers.values()
        if customer.outages.spans
    }
    return json_answer(200, spans)


def _faults(cloud: "SimulatedCloud") -> Response:
    return json_answer(200, dict(sorted(cloud.book.counts.items())))


def _calls(cloud: "SimulatedCloud") -> Response:
    calls = {customer.id: customer.calls.summary() for customer in cloud.customers.values()}
    return json_answer(200, calls)


def _call_times(cloud: "SimulatedCloud") -> Response:
    times = {customer.id: customer.calls.times() for customer in cloud.customers.values()}
    return json_answer(200, times)


def _tenants(cloud: "SimulatedCloud") -> Response:
    tenants = [
        {"id": customer.id, "name": customer.name, "region": customer.region}
        for customer in cloud.customers.values()
    ]
    return json_answer(200, tenants)


def _summary(cloud: "SimulatedCloud") -> Response:
    cloud.advance()
    now = cloud.timeline.now()
    customers = cloud.customers.values()
    return json_answer(
        200,
        {
            "time": now,
            "tenants": len(customers),
            "alerts": sum(len(customer.population) for customer in customers),
            "versions": len(cloud.record),
            "malformed": cloud.record.count("malformed"),
            "calls": sum(customer.calls.total for customer in customers),
            "tokens": sum(customer.calls.tokens for customer in customers),
            "faults": cloud.book.counts.total(),
            "faults_waiting": sum(
                not fault.over(now) for customer in customers for fault in customer.faults
            ),
            "frozen": cloud.frozen,
        },
    )


def _add_fault(cloud: "SimulatedCloud", content: dict[str, Any]) -> Response:
    tenant = content.pop("tenant", None)
    if not isinstance(tenant, str):
        raise TypeError("tenant must be the tenant's id, or '*'")
    cloud.add_fault(tenant, content)
    return json_answer(200, {"added": content["kind"]})


def _heal(cloud: "SimulatedCloud", content: dict[str, Any]) -> Response:
    cloud.heal(content["tenant"])
    return json_answer(200, {"healed": content["tenant"]})


def _touch(cloud: "SimulatedCloud", content: dict[str, Any]) -> Response:
    stored = cloud.touch(content["tenant"], content["alert"])
    return json_answer(
        200,
        {
            "tenant": content["tenant"],
            "alert": content["alert"],
            "version": stored.number,
            "updated": stored.text,
            "sha256": stored.entry.digests[0].hex(),
        },
    )


def _burst(cloud: "SimulatedCloud", content: dict[str, Any]) -> Response:
    count, seconds = content["alerts"], content.get("seconds", 60)
    if type(count) is not int or count < 1:
        raise TypeError("alerts must be a whole number above 0")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        raise TypeError("seconds must be a number, 0 or more")
    cloud.burst(count, float(seconds))
    return json_answer(200, {"alerts": count * len(cloud.customers)})


def _freeze(cloud: "SimulatedCloud", _: dict[str, Any]) -> Response:
    cloud.freeze()
    return json_answer(200, {"frozen": True})


def _clock(cloud: "SimulatedCloud", content: dict[str, Any]) -> Response:
    offset = content["offset_seconds"]
    if not isinstance(offset, int | float) or isinstance(offset, bool):
        raise TypeError("offset_seconds must be a number")
    cloud.shift(float(offset))
    return json_answer(200, {"time": cloud.timeline.now()})


_READS: dict[str, Callable[["SimulatedCloud"], Response]] = {
    "record": _record,
    "outages": _outages,
    "faults": _faults,
    "calls": _calls,
    "call-times": _call_times,
    "summary": _summary,
    "tenants": _tenants,
}
_WRITES: dict[str, Callable[["SimulatedCloud", dict[str, Any]], Response]] = {
    "faults": _add_fault,
    "heal": _heal,
    "touch": _touch,
    "burst": _burst,
    "freeze": _freeze,
    "clock": _clock,
}

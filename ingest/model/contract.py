"""What consumers are promised of each record, as JSON Schemas: `docs/contract.md` in a form for machines.

These shapes are written down beside the code that writes the records, not taken from it: a test holds every
real record to them, so that nothing changes in passing what others build on. Fields may be added, here first.
"""

import json
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from ingest.errors import Blame
from ingest.model.roster import OrderKind, Origin, Standing
from ingest.model.status import State
from ingest.model.tenant import Feed
from ingest.model.window import Tier

MAJOR = 1
"""The major version of the contract; `docs/contract.md` says what makes another."""

_GUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_INSTANT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{7}Z$"
_VERSION = _INSTANT.removesuffix("$") + r"(~[0-9a-f]{16})?$"

Instant = Annotated[str, Meta(pattern=_INSTANT)]
Types = Literal[
    "defender.alert.created.v1",
    "defender.alert.updated.v1",
    "defender.alert.resolved.v1",
    "defender.alert.reopened.v1",
]


def _told(words: str, **limits: Any) -> Meta:
    return Meta(description=words, **limits)


class Order(msgspec.Struct):
    """One thing to do once, for whoever reads the tenant."""

    id: str
    kind: OrderKind
    since: Annotated[Instant | UnsetType, _told("Of a rewind: from when on.")] = UNSET
    alert: Annotated[str | UnsetType, _told("Of a refetch: the alert's id.")] = UNSET


class Tenant(msgspec.Struct):
    """Value of a record in {prefix}.tenants; the key is the tenant's GUID."""

    v: Literal[1]
    name: Annotated[str, _told("Its name for people.")]
    region: Annotated[str, _told("A key of `regions` in the configuration.")]
    standing: Annotated[Standing, _told("Whether it is to be read.")]
    origin: Annotated[Origin, _told("How it came to be registered.")]
    by: Annotated[str, _told("Who changed the record last.")]
    at: Annotated[Instant, _told("When that was.")]
    why: Annotated[str, _told("Why, in words; may be empty.")]
    labels: Annotated[dict[str, str] | UnsetType, _told("The operator's labels.")] = UNSET
    invitation: Annotated[str | UnsetType, _told("The id of the invitation that it came by.")] = (
        UNSET
    )
    order: Annotated[Order | UnsetType, _told("The last order; it may be done.")] = UNSET


class Entered(msgspec.Struct):
    """A state that a tenant entered."""

    at: Annotated[Instant, _told("When.")]
    state: State
    code: Annotated[str, _told("A short stable name for the reason.")]
    must_act: Blame


class Reading(msgspec.Struct):
    """One reading that ended."""

    at: Annotated[Instant, _told("When it began.")]
    tier: Annotated[Tier, _told("Of what is new, or looking further back.")]
    outcome: Annotated[str, _told("`whole`, `cut_short`, or a short name for what went wrong.")]
    seconds: Annotated[float, _told("How long it took.", ge=0)]
    received: Annotated[int, _told("Records that the API returned.", ge=0)]
    published: Annotated[int, _told("Versions that were new.", ge=0)]
    calls: Annotated[int, _told("Calls to the API.", ge=0)]


class TenantStatus(msgspec.Struct):
    """Value of a record in {prefix}.tenant-status; the key is the tenant's GUID."""

    v: Literal[1]
    tenant: Annotated[str, _told("The tenant's GUID.", pattern=_GUID)]
    feed: Annotated[Feed, _told("What is read.")]
    name: Annotated[str, _told("The tenant's name for people.")]
    state: Annotated[State, _told("How the feed is doing; not to be believed after fresh_until.")]
    code: Annotated[str, _told("A short stable name for the reason.")]
    reason: Annotated[str, _told("The reason in plain words; they may change.")]
    must_act: Annotated[Blame, _told("Who must act before it gets better.")]
    since: Annotated[Instant, _told("Since when it is in this state.")]
    fresh_at: Annotated[Instant | None, _told("Start of the last complete reading.")]
    reconciled_at: Annotated[Instant | None, _told("Start of the last reconciling reading.")]
    watermark: Annotated[Instant | None, _told("Everything up to here is in Kafka.")]
    next_attempt: Annotated[Instant | None, _told("When it is read next, about.")]
    remembered: Annotated[int, _told("How many alerts are remembered.", ge=0)]
    replica: Annotated[str, _told("Who wrote this.")]
    fresh_until: Annotated[Instant, _told("After this, it is the word of somebody who is gone.")]
    silent_since: Annotated[
        Instant | UnsetType | None, _told("No reading found anything new since then.")
    ] = UNSET
    looked_at: Annotated[
        Instant | UnsetType | None, _told("When any alert at all was asked for last.")
    ] = UNSET
    calls_left: Annotated[
        int | UnsetType | None, _told("Calls of its budget that can be made at once.")
    ] = UNSET
    transitions: Annotated[list[Entered] | UnsetType, _told("The last 20, oldest first.")] = UNSET
    polls: Annotated[list[Reading] | UnsetType, _told("The last 5, oldest first.")] = UNSET


class Headers(msgspec.Struct, kw_only=True):
    """What the headers of alerts and of quarantined records have in common."""

    specversion: Literal["1.0"] = field(name="ce_specversion")
    source: Annotated[str, _told("/tenants/GUID/FEED.")] = field(name="ce_source")
    tenantid: Annotated[str, _told("The tenant's GUID.", pattern=_GUID)] = field(name="ce_tenantid")
    tenantname: Annotated[str, _told("Its name for people, as it was then.")] = field(
        name="ce_tenantname"
    )
    feed: Annotated[Feed, _told("What was read.")] = field(name="ce_feed")


class Alert(Headers, kw_only=True):
    """Headers of an alert, whose key is GUID/ALERT; each label NAME of its tenant is `ce_labelNAME`."""

    content_type: Literal["application/json", "application/cloudevents+json; charset=UTF-8"] = (
        field(name="content-type")
    )
    id: Annotated[str, _told("ALERT/VERSION; unique together with the source.")] = field(
        name="ce_id"
    )
    type: Annotated[Types, _told("What happened to the alert.")] = field(name="ce_type")
    time: Annotated[Instant, _told("The alert's own lastUpdateTime.")] = field(name="ce_time")
    subject: Annotated[str, _told("The alert's id.")] = field(name="ce_subject")
    version: Annotated[str, _told("This state of the alert.", pattern=_VERSION)] = field(
        name="ce_version"
    )
    late: Annotated[
        Literal["true"] | UnsetType, _told("It became visible after the reading of its time.")
    ] = field(name="ce_late", default=UNSET)
    future: Annotated[Literal["true"] | UnsetType, _told("Its time had not come yet.")] = field(
        name="ce_future", default=UNSET
    )
    replay: Annotated[
        str | UnsetType, _told("An operator's order, for which it may be there a second time.")
    ] = field(name="ce_replay", default=UNSET)


class Envelope(msgspec.Struct, kw_only=True):
    """Value of an alert with kafka.encoding: cloudevents-structured; each label NAME is `labelNAME`."""

    specversion: Literal["1.0"]
    source: str
    tenantid: Annotated[str, Meta(pattern=_GUID)]
    tenantname: str
    feed: Feed
    datacontenttype: Literal["application/json"]
    id: str
    type: Types
    time: Instant
    subject: str
    version: Annotated[str, Meta(pattern=_VERSION)]
    late: Literal["true"] | UnsetType = UNSET
    future: Literal["true"] | UnsetType = UNSET
    replay: str | UnsetType = UNSET
    data: Annotated[Any, _told("The alert, byte for byte as the API returned it.")] = UNSET
    data_base64: Annotated[
        str | UnsetType, _told("In place of data, where those bytes are no JSON.")
    ] = UNSET


class Quarantine(Headers, kw_only=True):
    """Headers of a quarantined record, whose key is GUID; its value is bytes, or a part of them."""

    content_type: Literal["application/octet-stream"] = field(name="content-type")
    id: Annotated[str, _told("Names the bytes.", pattern=r"^[0-9a-f]{16}$")] = field(name="ce_id")
    type: Literal["defender.quarantine.v1"] = field(name="ce_type")
    reason: Annotated[str, _told("Why, as a short stable name.")] = field(name="ce_reason")
    part: Annotated[str, _told("Which part this is, from 1.", pattern="^[0-9]+$")] = field(
        name="ce_part"
    )
    parts: Annotated[str, _told("How many parts there are.", pattern="^[0-9]+$")] = field(
        name="ce_parts"
    )
    subject: Annotated[str | UnsetType, _told("The alert's id, where it is known.")] = field(
        name="ce_subject", default=UNSET
    )
    time: Annotated[Instant | UnsetType, _told("Its own time, where it is known.")] = field(
        name="ce_time", default=UNSET
    )


SHAPES: dict[str, type[msgspec.Struct]] = {
    "tenant": Tenant,
    "tenant-status": TenantStatus,
    "alert": Alert,
    "alert-envelope": Envelope,
    "quarantine": Quarantine,
}
"""By the name of its file in `docs/schemas/`."""


def schema(name: str) -> str:
    """Return one record's JSON Schema."""
    (found,), definitions = msgspec.json.schema_components(
        (SHAPES[name],), ref_template="#/$defs/{name}"
    )
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:defender-ingest:contract:{MAJOR}:{name}",
        **found,
        "$defs": dict(sorted(definitions.items())),
    }
    return json.dumps(document, indent=2) + "\n"

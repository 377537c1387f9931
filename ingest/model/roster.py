"""Who is registered: a tenant's record in the tenants topic, and how it is written down.

The record is the truth about a customer: whether it is read, who said so, when and why. A removed
tenant keeps its record, so that nothing brings it back by itself and its owner knows what to forget.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ingest.errors import RegistrationUnreadable
from ingest.model.instant import format_instant, from_unix, parse_instant, to_unix
from ingest.model.tenant import Tenant, labels_of

VERSION = 1
"""The version of the records; a newer one is left as it is, and its tenant is not read."""

_HOSTS = frozenset(("api_url", "host", "login_url", "resource", "scope", "token_url", "url"))
"""What no record may say of where a tenant is read."""


class Standing(StrEnum):
    """Whether a tenant is to be read."""

    ACTIVE = "active"
    PAUSED = "paused"
    REMOVED = "removed"
    AWAITING = "awaiting-approval"


class Origin(StrEnum):
    """Where a registration came from: each is changed by its own way in, and by people."""

    CONFIG = "config"
    FILE = "file"
    COMMAND = "command"
    PORTAL = "portal"


class OrderKind(StrEnum):
    """What an operator can ask the owner of a tenant to do once."""

    REWIND = "rewind"
    REFETCH = "refetch"


@dataclass(frozen=True, slots=True)
class Order:
    """One thing to do once, for whoever owns the tenant's shard.

    `since` is the instant to rewind to, in ticks; `alert` the id to fetch anew.
    """

    id: str
    kind: OrderKind
    since: int | None = None
    alert: str | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """One tenant as registered; `at` is Unix seconds of the change that made the record so.

    `invitation` is the id of the invitation that it came by: a record keeps it for good, since this is how
    a used invitation is known.
    """

    tenant: Tenant
    standing: Standing
    origin: Origin
    by: str
    at: float
    why: str = ""
    order: Order | None = None
    invitation: str | None = None

    @property
    def is_read(self) -> bool:
        """Whether the tenant's alerts are to be read."""
        return self.standing is Standing.ACTIVE

    def says_the_same_as(self, other: "Registration") -> bool:
        """Tell whether nothing but who and when differs."""
        return (self.tenant, self.standing, self.origin, self.order, self.invitation) == (
            other.tenant,
            other.standing,
            other.origin,
            other.order,
            other.invitation,
        )


def encode_registration(registration: Registration) -> bytes:
    """Write a record's value; its key is the tenant's GUID."""
    document: dict[str, Any] = {
        "v": VERSION,
        "name": registration.tenant.name,
        "region": registration.tenant.region,
        "standing": str(registration.standing),
        "origin": str(registration.origin),
        "by": registration.by,
        "at": format_instant(from_unix(registration.at)),
        "why": registration.why,
    }
    if registration.tenant.labels:
        document["labels"] = dict(registration.tenant.labels)
    if registration.invitation is not None:
        document["invitation"] = registration.invitation
    if registration.order is not None:
        order = registration.order
        document["order"] = {"id": order.id, "kind": str(order.kind)}
        if order.since is not None:
            document["order"]["since"] = format_instant(order.since)
        if order.alert is not None:
            document["order"]["alert"] = order.alert
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def decode_registration(key: bytes, value: bytes) -> Registration:
    """Read a record.

    Raises:
        RegistrationUnreadable: it is damaged, or of a newer version; nothing is guessed.
    """
    try:
        document = _load(value)
        _refuse_hosts(key, document)
        tenant = Tenant(
            id=key.decode(),
            name=_text(document, "name"),
            region=_text(document, "region"),
            labels=_labels(document),
        )
        return Registration(
            tenant=tenant,
            standing=Standing(document["standing"]),
            origin=Origin(document["origin"]),
            by=_text(document, "by"),
            at=to_unix(parse_instant(document["at"])),
            why=_text(document, "why"),
            order=_order(document.get("order")),
            invitation=_text(document, "invitation") if "invitation" in document else None,
        )
    except (LookupError, ValueError, TypeError, RecursionError) as error:
        raise RegistrationUnreadable(
            f"the record of tenant {key[:64].decode(errors='replace')} in the tenants topic is damaged or "
            "of a newer version; it was left as it is: run the version that wrote it, or delete the "
            "record (see docs/operations.md) and add the tenant anew"
        ) from error


def _load(value: bytes) -> dict[str, Any]:
    document = json.loads(value)
    if not isinstance(document, dict) or document["v"] != VERSION:
        raise ValueError("of another version")
    return document


def _refuse_hosts(key: bytes, document: Mapping[str, Any]) -> None:
    """Refuse a record that says where to read: its writer meant tokens to go there."""
    if named := sorted(_HOSTS.intersection(document)):
        raise RegistrationUnreadable(
            f"the record of tenant {key[:64].decode(errors='replace')} in the tenants topic names a host "
            f"({', '.join(named)}); a record names a region of the configuration, and the tenant is "
            "not read: find who wrote it, and write the record anew"
        )


def _order(document: Mapping[str, Any] | None) -> Order | None:
    if document is None:
        return None
    since = document.get("since")
    return Order(
        id=_text(document, "id"),
        kind=OrderKind(document["kind"]),
        since=None if since is None else parse_instant(since),
        alert=None if document.get("alert") is None else _text(document, "alert"),
    )


def _labels(document: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    labels = document.get("labels", {})
    return labels_of({name: _text(labels, name) for name in labels})


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document[name]
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value

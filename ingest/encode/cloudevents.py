"""Alerts as CloudEvents in Kafka's binary mode: the raw bytes as value, the rest in headers.

Nothing is added to the value, so that a consumer reads what the API returned, byte for byte (law 10).
`docs/contract.md` promises what stands here.
"""

from ingest.model.alert import Alert, Malformed
from ingest.model.instant import format_instant
from ingest.model.memory import Reason, Verdict
from ingest.model.tenant import FeedKey, Tenant
from ingest.pipeline.ports import Record, Topic

_LEAST_PART = 1024
_FRAME_BYTES = 64
"""What a record needs beside key, value and headers."""

_HEADER_FRAME_BYTES = 8
"""The lengths of a header's name and value."""

_USUAL_BYTES = 1_536
"""What headers that differ from alert to alert need, whose id is of the usual length."""

_TRUE = b"true"

Header = tuple[str, bytes]


class CloudEvents:
    """The encoder of one feed; what never changes in its headers is built once.

    Args:
        tenant: whose feed it is.
        feed: what is read.
        topic: where its alerts go: `Topic.ALERTS`, or the name of a topic that they are routed to.
    """

    media_type = b"application/json"
    """What an alert's value is."""

    def __init__(self, *, tenant: Tenant, feed: FeedKey, topic: str = Topic.ALERTS) -> None:
        self._topic = topic
        self._key_prefix = f"{feed.tenant}/".encode()
        self._tenant_key = feed.tenant.encode()
        self._attributes: tuple[Header, ...] = (
            ("ce_specversion", b"1.0"),
            ("ce_source", f"/tenants/{feed.tenant}/{feed.feed}".encode()),
            ("ce_tenantid", self._tenant_key),
            ("ce_tenantname", tenant.name.encode()),
            ("ce_feed", str(feed.feed).encode()),
            *((f"ce_label{name}", value.encode()) for name, value in tenant.labels),
        )
        self._constant = (("content-type", self.media_type), *self._attributes)
        self._types = {
            kind: f"defender.alert.{kind}.v1".encode()
            for kind in ("created", "updated", "resolved", "reopened")
        }
        self.overhead = _USUAL_BYTES + _size(self._constant)

    def alert(self, verdict: Verdict, replay: str | None = None) -> Record:
        """Encode one published version of an alert; see `Encoder.alert`."""
        alert = verdict.alert
        identity = alert.id.encode()
        version = time = format_instant(alert.updated).encode()
        if verdict.reason is Reason.SILENT:
            # The time alone does not tell this version from the one before it.
            version = time + f"~{alert.digest & 0xFFFFFFFFFFFFFFFF:016x}".encode()
        headers = [
            *self._constant,
            ("ce_id", identity + b"/" + version),
            ("ce_type", self._types[verdict.kind]),
            ("ce_time", time),
            ("ce_subject", identity),
            ("ce_version", version),
        ]
        if verdict.late:
            headers.append(("ce_late", _TRUE))
        if verdict.future:
            headers.append(("ce_future", _TRUE))
        if replay is not None:
            headers.append(("ce_replay", replay.encode()))
        return Record(self._topic, self._key_prefix + identity, alert.raw, headers)

    def quarantine(
        self, record: Alert | Malformed, reason: str, *, max_record_bytes: int
    ) -> list[Record]:
        """Encode a record that is set aside: whole, in numbered parts where it is too large."""
        headers = [
            # A part of something, or something that is no JSON at all.
            ("content-type", b"application/octet-stream"),
            *self._attributes,
            ("ce_id", f"{record.digest & 0xFFFFFFFFFFFFFFFF:016x}".encode()),
            ("ce_type", b"defender.quarantine.v1"),
            ("ce_reason", reason.encode()),
        ]
        if isinstance(record, Alert):
            headers.append(("ce_subject", record.id.encode()))
        if record.updated is not None:
            headers.append(("ce_time", format_instant(record.updated).encode()))
        numbers = (("ce_part", b"0" * 10), ("ce_parts", b"0" * 10))
        needed = _FRAME_BYTES + len(self._tenant_key) + _size((*headers, *numbers))
        room = max(_LEAST_PART, max_record_bytes - needed)
        parts = [record.raw[at : at + room] for at in range(0, len(record.raw), room)] or [b""]
        return [
            Record(
                Topic.QUARANTINE,
                self._tenant_key,
                part,
                [
                    *headers,
                    ("ce_part", str(number).encode()),
                    ("ce_parts", str(len(parts)).encode()),
                ],
            )
            for number, part in enumerate(parts, start=1)
        ]


def _size(headers: tuple[Header, ...]) -> int:
    return sum(len(name) + len(value) + _HEADER_FRAME_BYTES for name, value in headers)

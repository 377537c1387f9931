"""Alerts as CloudEvents in Kafka's binary mode: the raw bytes as value, the rest in headers.

Nothing is added to the value, so that a consumer reads what the API returned, byte for byte (law 10).
"""

from ingest.model.alert import Alert, Malformed
from ingest.model.instant import format_instant
from ingest.model.memory import Reason, Verdict
from ingest.model.tenant import FeedKey, Tenant
from ingest.pipeline.ports import Record, Topic

_ROOM_FOR_HEADERS = 1024
"""Bytes of a quarantine record that are not its value: key, headers and the record's own frame."""

_TRUE = b"true"


class CloudEvents:
    """The encoder of one feed; what never changes in its headers is built once."""

    def __init__(self, *, tenant: Tenant, feed: FeedKey) -> None:
        self._key_prefix = f"{feed.tenant}/".encode()
        self._tenant_key = feed.tenant.encode()
        source = f"/tenants/{feed.tenant}/{feed.feed}".encode()
        self._constant = (
            ("ce_specversion", b"1.0"),
            ("content-type", b"application/json"),
            ("ce_source", source),
            ("ce_tenantid", self._tenant_key),
            ("ce_tenantname", tenant.name.encode()),
            ("ce_feed", str(feed.feed).encode()),
        )
        self._types = {
            kind: f"defender.alert.{kind}.v1".encode()
            for kind in ("created", "updated", "resolved", "reopened")
        }

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
        return Record(Topic.ALERTS, self._key_prefix + identity, alert.raw, headers)

    def quarantine(
        self, record: Alert | Malformed, reason: str, *, max_record_bytes: int
    ) -> list[Record]:
        """Encode a record that is set aside: whole, in numbered parts where it is too large."""
        room = max(1024, max_record_bytes - _ROOM_FOR_HEADERS)
        parts = [record.raw[at : at + room] for at in range(0, len(record.raw), room)] or [b""]
        identity = f"{record.digest & 0xFFFFFFFFFFFFFFFF:016x}".encode()
        return [
            Record(
                Topic.QUARANTINE,
                self._tenant_key,
                part,
                [
                    *self._constant,
                    ("ce_id", identity),
                    ("ce_type", b"defender.quarantine.v1"),
                    ("ce_reason", reason.encode()),
                    ("ce_part", str(number).encode()),
                    ("ce_parts", str(len(parts)).encode()),
                ],
            )
            for number, part in enumerate(parts, start=1)
        ]

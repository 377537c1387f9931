"""Alerts as CloudEvents in Kafka's structured mode, for consumers that lose headers.

An envelope of bytes is put around the raw alert, which is neither decoded nor written anew: `data` is what
the API returned, byte for byte (law 10). The headers stay, so that a consumer that sees them needs no JSON.
"""

import base64
import json

import msgspec

from ingest.encode.cloudevents import CloudEvents, Header
from ingest.model.alert import Alert
from ingest.model.memory import Verdict
from ingest.model.tenant import FeedKey, Tenant
from ingest.pipeline.ports import Record, Topic

_PREFIX = len("ce_")


class StructuredCloudEvents(CloudEvents):
    """The encoder of one feed; see `CloudEvents`. What never changes in its envelopes is built once."""

    media_type = b"application/cloudevents+json; charset=UTF-8"

    def __init__(self, *, tenant: Tenant, feed: FeedKey, topic: str = Topic.ALERTS) -> None:
        super().__init__(tenant=tenant, feed=feed, topic=topic)
        members = [_member(header) for header in self._attributes]
        self._opening = b"{" + b",".join([*members, b'"datacontenttype":"application/json"'])
        self._constants = len(self._constant)
        # What differs from alert to alert is there twice.
        self.overhead = 2 * self.overhead + len(self._opening)

    def alert(self, verdict: Verdict, replay: str | None = None) -> Record:
        """Encode one published version of an alert; see `Encoder.alert`."""
        record = super().alert(verdict, replay)
        pieces = [self._opening, *map(_member, record.headers[self._constants :])]
        alert = verdict.alert
        if _is_json(alert):
            pieces.append(b'"data":' + alert.raw)
        else:
            pieces.append(b'"data_base64":"' + base64.b64encode(alert.raw) + b'"')
        return Record(record.topic, record.key, b",".join(pieces) + b"}", record.headers)


def _member(header: Header) -> bytes:
    """Write an attribute as a member of a JSON object, from its header."""
    name, value = header
    return b'"%b":%b' % (name[_PREFIX:].encode(), msgspec.json.encode(value.decode()))


def _is_json(alert: Alert) -> bool:
    """Tell whether an alert can stand in an envelope without making that unreadable.

    The API was never seen to write otherwise, but it is read more kindly than JSON is defined: bytes that
    are no UTF-8 and numbers that are none pass, and a consumer may choke on them.
    """
    raw = bytes(alert.raw)
    if alert.parsed is not None and raw.isascii():
        return True
    try:
        text = raw.decode()
        if alert.parsed is None:
            json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(constant)

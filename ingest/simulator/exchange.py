"""What goes in and out of the simulated cloud: requests' answers without a socket."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Pace:
    """How the bytes of an answer are to be sent, where not at once.

    Args:
        delay: seconds of silence before the first byte.
        piece: bytes sent at a time, 0 for all at once.
        pause: seconds between two pieces.
        cut_after: the connection is dropped after so many bytes of the body.
        reset: the connection is reset instead of any answer.
    """

    delay: float = 0.0
    piece: int = 0
    pause: float = 0.0
    cut_after: int | None = None
    reset: bool = False


@dataclass(slots=True)
class Response:
    """One answer; `body` is as it goes over the wire, `pace` is None for an ordinary answer."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    pace: Pace | None = None


def json_answer(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON answer."""
    return Response(
        status,
        json.dumps(content).encode(),
        {"Content-Type": "application/json; charset=utf-8", **(headers or {})},
    )


def api_error(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an error in the envelope of the Defender APIs."""
    target = uuid.uuid4().hex
    content = {"error": {"code": code, "message": message, "target": f"|{target[:8]}-{target[8:]}"}}
    return json_answer(status, content, headers)

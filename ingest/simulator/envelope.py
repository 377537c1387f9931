"""A CloudEvents envelope as a consumer opens it: by the standard library's JSON, its data left as bytes."""

import base64
import json
from typing import Any

STRUCTURED = "application/cloudevents+json"
"""What the content type of a record in structured mode begins with."""

_scan = json.JSONDecoder(strict=False).raw_decode
_BLANK = " \t\r\n"
_DATA = ("data", "data_base64")


def opened(value: bytes) -> tuple[dict[str, Any], bytes]:
    """Return an envelope's attributes, and the bytes of its `data` (or of its `data_base64`, decoded).

    Raises:
        ValueError: it is none, or has a member twice, or no data.
    """
    # Bytes that are no UTF-8 come out again as they went in.
    text = value.decode("utf-8", "surrogateescape")
    attributes: dict[str, Any] = {}
    data: bytes | None = None
    at = _expect(text, 0, "{")
    while True:
        name, at = _scan(text, at)
        at = start = _expect(text, at, ":")
        found, at = _scan(text, at)
        if name in attributes or (data is not None and name in _DATA):
            raise ValueError(f"{name} is there twice")
        if name == "data":
            data = text[start:at].encode("utf-8", "surrogateescape")
        elif name == "data_base64":
            data = base64.b64decode(found, validate=True)
        else:
            attributes[name] = found
        at = _skip(text, at)
        if text[at : at + 1] == "}":
            break
        at = _expect(text, at, ",")
    if data is None or _skip(text, at + 1) != len(text):
        raise ValueError("it has no data, or goes on behind its end")
    return attributes, data


def _expect(text: str, at: int, letter: str) -> int:
    at = _skip(text, at)
    if text[at : at + 1] != letter:
        raise ValueError(f"{letter} is missing at letter {at}")
    return _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in _BLANK:
        at += 1
    return at

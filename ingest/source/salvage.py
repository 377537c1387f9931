"""An answer that a decoder refuses, split by its brackets alone.

One record may be what no strict decoder takes, such as half of a surrogate pair in a file name; it must
not hold back the page that it is on.
"""

import re
from itertools import pairwise

_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+"|["\[\]{},]', re.DOTALL)
_IN_VALUE = 2
_STRAY_QUOTE = b'"'


def salvage(body: bytes) -> list[bytes]:
    """Return the elements of the array that the outermost object has as its `value`.

    Raises:
        ValueError: there is no such array, or not all of it.
    """
    edges = _edges(body)
    records = [body[start + 1 : end].strip() for start, end in pairwise(edges)]
    if records == [b""]:
        return []
    if not records or b"" in records:
        raise ValueError("no array of records")
    return records


def _edges(body: bytes) -> list[int]:
    """Return where the array's brackets are and, between them, its commas."""
    edges: list[int] = []
    depth = 0
    key = b""
    inside = False
    for token in _TOKENS.finditer(body):
        text = token.group()
        if text == _STRAY_QUOTE:
            break
        if text in b"{[":
            depth += 1
            if depth == _IN_VALUE and key == b'"value"' and text == b"[":
                inside, edges = True, [token.start()]
        elif text in b"}]":
            if inside and depth == _IN_VALUE:
                inside = False
                edges.append(token.start())
            depth -= 1
            if depth <= 0:
                whole = body[:1] == b"{" and not body[token.end() :].strip()
                return edges if whole else []
        elif text == b"," and inside and depth == _IN_VALUE:
            edges.append(token.start())
        elif depth == 1:
            key = text
    return []

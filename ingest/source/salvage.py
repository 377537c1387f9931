"""An answer that a decoder refuses, split by its brackets alone.

One record may be what no strict decoder takes, such as half of a surrogate pair in a file name; it must
not hold back the page that it is on.
"""

import re
from collections.abc import Generator
from itertools import pairwise

_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+"|["\[\]{},]', re.DOTALL)
_IN_VALUE = 2
_STRAY_QUOTE = b'"'
_TOKENS_AT_ONCE = 10_000
"""Tokens looked at before others have their turn: some milliseconds."""


def salvage(body: bytes) -> Generator[None, None, tuple[list[bytes], bytes]]:
    """Return the elements of the outermost object's `value`, and the object without them.

    Yields now and then, so that whoever drives it can let others have their turn.

    Raises:
        ValueError: there is no such array, or not all of it.
    """
    edges = yield from _edges(body)
    records = [body[start + 1 : end].strip() for start, end in pairwise(edges)]
    if not records or (b"" in records and len(records) > 1):
        raise ValueError("no array of records")
    envelope = body[: edges[0]] + b"null" + body[edges[-1] + 1 :]
    return [record for record in records if record], envelope


def _edges(body: bytes) -> Generator[None, None, list[int]]:  # noqa: C901 - a branch for each token
    """Return where the array's brackets are and, between them, its commas."""
    edges: list[int] = []
    depth = 0
    key = b""
    inside = False
    for count, token in enumerate(_TOKENS.finditer(body), 1):
        if count % _TOKENS_AT_ONCE == 0:
            yield
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

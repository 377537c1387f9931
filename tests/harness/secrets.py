"""The search for leaked secrets: in whatever a process says, in whatever form a secret may take."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

_SHORTEST = 8
"""A shorter secret, or piece of one, is found everywhere by chance."""

_AROUND = 24
_LOOKS = {
    "token": re.compile(r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.?"),
    "bearer": re.compile(
        r"bearer(?:\s|\\[nrt]|%20|\+|[\"']?\s*[:=]\s*[\"']?)+[\w.~+/=-]{8,}", re.IGNORECASE
    ),
}


@dataclass(frozen=True, slots=True)
class Leak:
    """Where something leaked: its form, and what stands before it (never the secret itself)."""

    form: str
    at: int
    before: str = field(compare=False)

    def __str__(self) -> str:
        return f"{self.form} at {self.at}, after {self.before!r}"


def find_leaks(text: str | bytes, secrets: Iterable[str]) -> list[Leak]:
    """Return every leak: the secrets in each of their forms, and whatever looks like a token.

    A form that is the same as another one is told once.
    """
    if isinstance(text, bytes):
        # Every byte becomes one character, so none is lost whatever the encoding.
        text = text.decode("utf-8", "surrogateescape")
    found: dict[Leak, None] = {}
    for secret in dict.fromkeys(secrets):
        seen: set[str] = set()
        for form, needle in _forms(secret):
            if needle not in seen:
                seen.add(needle)
                found.update((_leak(text, form, at), None) for at in _places(text, needle))
    for form, pattern in _LOOKS.items():
        for match in pattern.finditer(text):
            found[_leak(text, form, match.start())] = None
    return sorted(found, key=lambda leak: leak.at)


def _places(text: str, needle: str) -> Iterator[int]:
    at = text.find(needle)
    while at >= 0:
        yield at
        at = text.find(needle, at + 1)


def _leak(text: str, form: str, at: int) -> Leak:
    return Leak(form, at, text[max(0, at - _AROUND) : at])


def _forms(secret: str) -> Iterator[tuple[str, str]]:
    """Yield each form's name, and how the secret looks in it."""
    if len(secret) < _SHORTEST:
        raise ValueError(f"a secret of less than {_SHORTEST} characters is found by chance")
    raw = secret.encode()
    yield "plain", secret
    for name, once in _url_encoded(secret):
        yield name, once
        for _, twice in _url_encoded(once):
            yield f"{name} twice", twice
    for ascii_only in (True, False):
        escaped = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        yield "JSON", escaped
        yield "JSON twice", json.dumps(escaped, ensure_ascii=ascii_only)[1:-1]
        yield "JSON with \\/", escaped.replace("/", "\\/")
    yield "repr", repr(secret)[1:-1]
    yield "repr of bytes", repr(raw)[2:-1]
    yield "hex", raw.hex()
    yield "hex", raw.hex().upper()
    yield from _base64(raw)


def _url_encoded(text: str) -> Iterator[tuple[str, str]]:
    for name, encoded in (
        ("URL", quote(text, safe="")),
        ("URL path", quote(text)),
        ("URL form", quote_plus(text)),
        ("URL, all of it", "".join(f"%{byte:02X}" for byte in text.encode())),
    ):
        yield name, encoded
        yield (
            f"{name}, small digits",
            re.sub("%[0-9A-F]{2}", lambda digits: digits.group().lower(), encoded),
        )


def _base64(raw: bytes) -> Iterator[tuple[str, str]]:
    """Yield the digits that a secret alone decides, wherever it begins in what was encoded."""
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
        # The first and last digits may hold bits of the neighbours as well.
        first = -(-shift * 8 // 6)
        last = (shift + len(raw)) * 8 // 6
        inner = encoded[first:last]
        yield f"base64, shifted by {shift}", inner
        yield f"base64url, shifted by {shift}", inner.translate(_URL_SAFE)


_URL_SAFE = str.maketrans("+/", "-_")

"""Invitations to consent, and the state that a consent under way carries: signed texts.

Whoever holds one can read it, so nothing stands in it that the customer may not know; nobody without a
key can make or change one. Whether an invitation was used is no matter of the text: see
`ingest.model.admission`. Pure: keys and times are given.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from ingest.model.tenant import Tenant, is_guid, labels_of

VERSION = 1
"""The version of the texts; one of another version is as good as forged."""

LONGEST = 2_000
"""A longer text is not looked at, and none is made: it has to fit into a link."""

KEY_BYTES = 32
"""A key that is shorter could be guessed."""

_Kind = TypeVar("_Kind", bound=msgspec.Struct)

_INVITATION, _VISIT = "invitation", "visit"
"""What is signed for the one is nothing for the other."""


class Invitation(msgspec.Struct, frozen=True):
    """One customer's, to be used once; `expires` is Unix seconds.

    `id` cannot be guessed. `name`, `region` and `labels` are the tenant's once it is registered; `tenant`
    is its GUID where the operator knows it, and then nobody else can use it.
    """

    id: str
    name: str
    region: str
    expires: int
    tenant: str | None = None
    labels: dict[str, str] = {}

    def tenant_of(self, guid: str) -> Tenant:
        """Return the tenant that it makes of a directory."""
        return Tenant(guid, self.name, self.region, labels_of(self.labels))


class Visit(msgspec.Struct, frozen=True):
    """A consent under way, in one browser; `expires` is Unix seconds.

    `browser` is what `browser_mark` makes of the browser's cookie; `invitation` is None where somebody
    consents whom nobody invited.
    """

    browser: str
    expires: int
    invitation: Invitation | None = None


def seal_invitation(invitation: Invitation, keys: Sequence[bytes]) -> str:
    """Return an invitation as a text, signed with the first key.

    Raises:
        ValueError: it is too long for a link.
    """
    return _sealed(_INVITATION, invitation, keys)


def open_invitation(text: str, keys: Sequence[bytes]) -> Invitation | None:
    """Return what an invitation says, expired or not; None where no key signed it."""
    opened = _opened(_INVITATION, text, Invitation, keys)
    return opened if opened is not None and _is_sound(opened) else None


def seal_visit(visit: Visit, keys: Sequence[bytes]) -> str:
    """Return the state that goes to the login host and comes back.

    Raises:
        ValueError: it is too long for a link.
    """
    return _sealed(_VISIT, visit, keys)


def open_visit(text: str, keys: Sequence[bytes]) -> Visit | None:
    """Return what a state says, expired or not; None where no key signed it."""
    return _opened(_VISIT, text, Visit, keys)


def browser_mark(cookie: str) -> str:
    """Return what names a browser in a state, which travels where its cookie must not."""
    return hashlib.sha256(cookie.encode()).hexdigest()[:32]


def keys_of(text: str) -> list[bytes]:
    """Return the keys of a file, a line each: the first signs, all of them are believed.

    Raises:
        ValueError: there is none, or one is too short.
    """
    keys = [line.strip().encode() for line in text.splitlines() if line.strip()]
    if not keys:
        raise ValueError("holds no key")
    if any(len(key) < KEY_BYTES for key in keys):
        raise ValueError(f"holds a key of fewer than {KEY_BYTES} letters")
    return keys


def _is_sound(invitation: Invitation) -> bool:
    if invitation.tenant is not None and not is_guid(invitation.tenant):
        return False
    try:
        labels_of(invitation.labels)
    except ValueError:
        return False
    return True


def _sealed(purpose: str, content: msgspec.Struct, keys: Sequence[bytes]) -> str:
    body = _unpadded(msgspec.json.encode((VERSION, content)))
    text = f"{body}.{_signature(purpose, body, keys[0])}"
    if len(text) > LONGEST:
        raise ValueError("has too many or too long labels for a link")
    return text


def _opened(purpose: str, text: str, kind: type[_Kind], keys: Sequence[bytes]) -> _Kind | None:
    body, _, signature = text.partition(".")
    if len(text) > LONGEST or not text.isascii():
        return None
    # All of them, so that the time says nothing of which one it was.
    fits = [hmac.compare_digest(_signature(purpose, body, key), signature) for key in keys]
    if not any(fits):
        return None
    try:
        raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        version, content = msgspec.json.decode(raw, type=tuple[int, msgspec.Raw])
        return msgspec.json.decode(content, type=kind) if version == VERSION else None
    except (ValueError, RecursionError):
        return None


def _signature(purpose: str, body: str, key: bytes) -> str:
    return _unpadded(hmac.digest(key, f"{purpose}.{body}".encode(), "sha256"))


def _unpadded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

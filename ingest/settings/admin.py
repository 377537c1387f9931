"""The listener for those who run the daemon."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from ingest.settings.files import Problems, words_in
from ingest.settings.hosts import is_loopback
from ingest.settings.section import File, Section

_SHORTEST_TOKEN = 16


class Admin(Section):
    """The listener for those who run the daemon: the status page, and the same as JSON."""

    port: int | None = Field(default=None, ge=0, le=65_535)
    """The port, such as 9465. Without one there is no such listener; 0 takes a free one and logs it."""

    host: str = "127.0.0.1"
    """The address to listen on. Any but loopback needs `token_file`, and TLS in front of it."""

    token_file: File | None = None
    """A file with what lets people in: the password that a browser asks for (with any name), or a bearer
    token. Read anew at each request. Without one only this machine's own names are answered to."""


def check_admin(section: Mapping[str, Any]) -> Problems:
    """Yield why nobody, or anybody, would be let in."""
    file = section.get("token_file")
    host = section.get("host", "127.0.0.1")
    if section.get("port") is not None and not file and not is_loopback(str(host)):
        words = f"is needed where admin.host is {host}: everybody who reaches it would see all customers"
        yield ("admin", "token_file"), f"{words}; add it (openssl rand -hex 32 makes a token)"
    if isinstance(file, str):
        words, why = words_in(Path(file))
        if not why and len(words) < _SHORTEST_TOKEN:
            why = f"{file} holds less than {_SHORTEST_TOKEN} letters; openssl rand -hex 32 makes a token"
        if why:
            yield ("admin", "token_file"), why

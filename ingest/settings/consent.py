"""The page where customers' administrators consent, and the invitations that lead to it."""

import ipaddress
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from ingest.model.invitation import keys_of
from ingest.settings.files import Problems, words_in
from ingest.settings.section import File, Section

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PUBLIC = r"^(https://[^/\s@?#]+|http://(localhost|127\.0\.0\.1)(:[0-9]{1,5})?)$"
_HOURS = 24 * 90

CALLBACK = "/consent"
"""Where Microsoft sends an administrator back to: with `url` before it, a redirect address of ours."""

INVITATION = "/invitation"
"""What a link of an invitation has before its text."""


class Consent(Section):
    """The public page where a customer's administrator consents; a listener of its own, off without `url`."""

    url: Annotated[str, Field(pattern=_PUBLIC)] | None = None
    """Where administrators reach the page, such as https://onboarding.example.com: the way in from the
    internet, not the address below. `URL/consent` must be a redirect address of the application."""

    partner: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """Your company's name, as the page shows it to customers."""

    contact: str = Field(default="", max_length=200)
    """Whom an administrator can ask, shown as it is: a mail address, or words."""

    key_file: File | None = None
    """A file with the key that signs invitations, 32 letters or more, the same for all replicas. With several
    lines the first signs, and all are believed: so it is exchanged. It is read anew as it changes."""

    host: str = "127.0.0.1"
    """The address to listen on; in a container 0.0.0.0. It speaks plain HTTP: TLS ends at a proxy
    before it."""

    port: int = Field(default=9466, ge=0, le=65_535)
    """The port; 0 takes a free one and logs it."""

    trusted_proxies: list[str] = []  # noqa: RUF012 - the library copies it
    """Addresses or networks of the proxies before it: from them alone `X-Forwarded-For` is believed."""

    invitation_hours: float = Field(default=168, gt=0, le=_HOURS)
    """For how long an invitation can be used."""

    requests_per_minute: int = Field(default=30, ge=1)
    """What one client address may ask of the page."""

    confirmations_per_minute: int = Field(default=10, ge=1)
    """How many consents are confirmed at Microsoft; those without an invitation have as many of their own."""

    @cached_property
    def networks(self) -> tuple[Network, ...]:
        """The trusted proxies."""
        return tuple(ipaddress.ip_network(one, strict=False) for one in self.trusted_proxies)

    @field_validator("url")
    @classmethod
    def _is_as_browsers_write_it(cls, value: str | None) -> str | None:
        # They say in `Origin` where a form comes from, and that has to be the very same.
        if value is None:
            return None
        usual = ":443" if value.startswith("https:") else ":80"
        if not value.isascii() or value != value.lower() or value.endswith(usual):
            raise ValueError(
                f"must be as browsers write it: in lower case, in ASCII (punycode), without {usual}"
            )
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_networks(cls, value: list[str]) -> list[str]:
        for one in value:
            try:
                ipaddress.ip_network(one, strict=False)
            except ValueError:
                raise ValueError(
                    f"{one[:60]!r} is no address and no network such as 10.0.0.0/8"
                ) from None
        return value

    @field_validator("partner", "contact")
    @classmethod
    def _can_be_shown(cls, value: str | None) -> str | None:
        if value is not None and (not value.isprintable() or value != value.strip()):
            raise ValueError("must be letters that can be printed, without space around them")
        return value


def check_consent(section: Mapping[str, Any]) -> Problems:
    """Yield what the page lacks where it is on, and what is wrong with the key."""
    file = section.get("key_file")
    if section.get("url"):
        if not section.get("partner"):
            yield ("consent", "partner"), "is needed with url: customers are told who asks; add it"
        if not file:
            yield (
                ("consent", "key_file"),
                "is needed with url; add it (openssl rand -hex 32 makes a key)",
            )
    if isinstance(file, str):
        try:
            read_keys(Path(file))
        except ValueError as error:
            yield ("consent", "key_file"), str(error)


def read_keys(file: Path) -> list[bytes]:
    """Return the keys that a file holds.

    Raises:
        ValueError: it holds none, in words that name the file and no key.
    """
    words, why = words_in(file)
    if why:
        raise ValueError(why)
    try:
        return keys_of(words)
    except ValueError as error:
        raise ValueError(f"{file} {error}; openssl rand -hex 32 makes one") from None

"""What commands are told of a customer: a name, a region, labels, a directory; checked, or refused."""

from collections.abc import Callable, Iterable

from ingest.errors import CommandRefused
from ingest.identity.directory import domain_of, tenant_of_domain
from ingest.identity.http import LoginHttp
from ingest.model.tenant import is_guid, labels_of
from ingest.settings.models import Settings
from ingest.settings.regions import objection, usual

_LONGEST_NAME = 200


def name_of(text: str, key: str = "--name") -> str:
    """Return a name for people.

    Raises:
        CommandRefused: it is none.
    """
    name = text.strip()
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise CommandRefused(
            f"{key} must be 1 to {_LONGEST_NAME} letters that can be printed", usage=True
        )
    return name


def region_of(text: str | None, settings: Settings) -> str:
    """Return a region of the configuration; without words, the default or the only one.

    Raises:
        CommandRefused: it is none.
    """
    region = usual(settings.served) if text is None else text
    if why := objection(region, settings.logins, settings.entra.login_url):
        raise CommandRefused(f"--region {region}: {why}", usage=True)
    return region


def labelled(
    before: Iterable[tuple[str, str]], words: Iterable[str]
) -> tuple[tuple[str, str], ...]:
    """Return the labels that a tenant has after NAME=VALUE words, of which `NAME=` takes one away.

    Raises:
        CommandRefused: a word is none of these.
    """
    labels = dict(before)
    for text in words:
        name, given, value = text.partition("=")
        if not given:
            raise CommandRefused(f"--label {text}: must be NAME=VALUE", usage=True)
        if value:
            labels[name] = value
        elif labels.pop(name, None) is None:
            raise CommandRefused(f"--label {text}: it has no label {name}", usage=True)
    try:
        return labels_of(labels)
    except ValueError as error:
        raise CommandRefused(f"--label: {error}", usage=True) from None


async def guid_of(text: str, settings: Settings, *, say: Callable[[str], None]) -> str:
    """Return the GUID that was given, or that a domain belongs to.

    Raises:
        CommandRefused: it is neither, or belongs to nobody.
        SourceUnavailable: the login host did not say whose it is.
    """
    if is_guid(given := text.strip().lower()):
        return given
    domain = domain_of(text)
    if domain is None:
        raise CommandRefused(
            f"{text}: is neither a GUID nor a domain name such as contoso.onmicrosoft.com; give the "
            "tenant's directory id",
            usage=True,
        )
    found = await owner_of(domain, settings)
    say(f"{domain} is tenant {found}")
    return found


async def owner_of(name: str, settings: Settings) -> str:
    """Ask the login host which tenant a domain or a GUID belongs to; return its GUID.

    Raises:
        CommandRefused: nobody's.
        SourceUnavailable: the login host did not say.
    """
    entra = settings.entra
    async with LoginHttp(
        connections=1,
        ca_file=settings.ca_file,
        timeout_seconds=entra.timeout_seconds,
        proxy_of=settings.http.proxy_of,
    ) as http:
        return await tenant_of_domain(name, login_url=entra.login_url, http=http)

"""URLs of the alert API: what is asked for, and which links may be followed."""

from urllib.parse import quote, urljoin, urlsplit

from ingest.model.instant import format_instant
from ingest.model.sweep import Ask, Box

PATH = "/api/alerts"
_MAX_LINK = 8 * 1024


def url_of(api_url: str, ask: Ask) -> str:
    """Return the URL of a question; `$orderby` is undocumented and not relied on."""
    if ask.link is not None:
        return ask.link
    if ask.unfiltered:
        return f"{api_url}{PATH}?$top={ask.top}"
    wanted = _filter(ask.box) if ask.alert is None else f"id eq {_literal(ask.alert)}"
    parts = [f"$filter={quote(wanted, safe='')}", f"$top={ask.top}"]
    if ask.skip:
        parts.append(f"$skip={ask.skip}")
    parts.append("$expand=evidence")
    return f"{api_url}{PATH}?{'&'.join(parts)}"


def _filter(box: Box) -> str:
    edges = (
        ("lastUpdateTime", "ge", box.updated_from),
        ("lastUpdateTime", "lt", box.updated_to),
        ("alertCreationTime", "ge", box.created_from),
        ("alertCreationTime", "lt", box.created_to),
    )
    return " and ".join(
        f"{name} {relation} {format_instant(edge)}"
        for name, relation, edge in edges
        if edge is not None
    )


def _literal(text: str) -> str:
    """Return a text as OData writes it: an apostrophe is doubled."""
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


def followed_link(api_url: str, link: object) -> str | None:
    """Return a `nextLink` in absolute form if it leads to the same origin and path, else None.

    A token must not go anywhere else, whatever an answer says (law 8).
    """
    if not isinstance(link, str) or not 0 < len(link) <= _MAX_LINK or not link.isascii():
        return None
    if not link.isprintable() or " " in link or "\\" in link:
        return None
    try:
        absolute = urljoin(f"{api_url}{PATH}", link)
        ours, theirs = urlsplit(api_url), urlsplit(absolute)
        same_port = (ours.port or 443) == (theirs.port or 443)
    except ValueError:
        return None
    same = (
        theirs.scheme == ours.scheme
        and theirs.hostname == ours.hostname
        and same_port
        and theirs.username is None
        and theirs.password is None
        and theirs.path.rstrip("/").lower() == PATH
    )
    return absolute if same else None

"""Pages for people: one layout, templates that escape whatever is put into them, and their headers.

Nothing of a page comes from elsewhere: its style stands in it, and it has no scripts. The headers allow
just that, so what somebody might smuggle in would not run.
"""

import base64
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

_TEMPLATES = Path(__file__).with_name("templates")
_templates = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_STYLE = "style.css"
"""The style that all pages share."""

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Links hold what must not travel on; `no-referrer` would take the origin from our own forms too.
    "Referrer-Policy": "same-origin",
    # In place of the library's name and version.
    "Server": "defender-ingest",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
}
"""What every page is sent with, beside its policy."""


@lru_cache
def _policy(*styles: str) -> str:
    """Return what a page with these styles in it may load and do."""
    texts = (_templates.get_template(style).render() for style in styles)
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()) for text in texts)
    allowed = " ".join(f"'sha256-{digest.decode()}'" for digest in digests)
    return (
        f"default-src 'none'; style-src {allowed}; img-src data:; base-uri 'none'; "
        "frame-ancestors 'none'; form-action 'self'"
    )


def page(
    template: str,
    *,
    status: int = 200,
    forms_lead_to: str = "",
    more_style: str = "",
    **words: Any,
) -> web.Response:
    """Return a page.

    Args:
        template: its file in `templates/`.
        status: of HTTP.
        forms_lead_to: where its forms may lead beyond this site, redirects included, such as `https:`.
        more_style: a file in `templates/` with what a page needs beyond the style that all share.
        words: what the template names; all of them are escaped.
    """
    text = _templates.get_template(template).render(words, more_style=more_style)
    policy = _policy(*filter(None, (_STYLE, more_style)))
    return web.Response(
        status=status,
        text=text,
        content_type="text/html",
        charset="utf-8",
        headers={**HEADERS, "Content-Security-Policy": f"{policy} {forms_lead_to}".rstrip()},
    )

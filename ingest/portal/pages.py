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


@lru_cache
def _style(file: str) -> str:
    return (_TEMPLATES / file).read_text(encoding="utf-8")


def _hashed(style: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'"


_templates = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals["style"] = _style("style.css")

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
        more_style: a file in `templates/` with style beyond what all pages share.
        forms_lead_to: where its forms may lead beyond this site, redirects included, such as `https:`.
        words: what the template names; all of them are escaped.
    """
    more = _style(more_style) if more_style else ""
    text = _templates.get_template(template).render(words, more_style=more)
    styles = " ".join(map(_hashed, filter(None, (_style("style.css"), more))))
    policy = (
        f"default-src 'none'; style-src {styles}; img-src data:; base-uri 'none'; "
        f"frame-ancestors 'none'; form-action 'self' {forms_lead_to}"
    )
    return web.Response(
        status=status,
        text=text,
        content_type="text/html",
        charset="utf-8",
        headers={**HEADERS, "Content-Security-Policy": policy.rstrip()},
    )

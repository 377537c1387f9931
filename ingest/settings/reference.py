"""The configuration's schema and page, generated from the models."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from ingest.settings.loader import PREFIX
from ingest.settings.models import Settings, TenantEntry
from ingest.settings.regions import Region

_INTRO = f"""# Configuration

Generated from the models by `make docs`; do not edit.

`defender-ingest run --config FILE` reads a YAML file; [config/example.yaml](../config/example.yaml) has
every key with its default. A key of the form `section.key` can also be set by an environment variable
`{PREFIX}SECTION__KEY`, which wins over the file. Unknown keys are mistakes. `defender-ingest
check-config --config FILE` finds every mistake at once, and starts nothing.
"""


def schema() -> str:
    """Return the JSON schema of the file."""
    found = Settings.model_json_schema()
    found["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(found, indent=2) + "\n"


def configuration_page() -> str:
    """Return the Markdown page with every key."""
    parts = [_INTRO]
    plain: list[str] = []
    for name, field in Settings.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            parts.append(_section(name, f"{name}.", model))
        else:
            plain.append(name)
    parts.append(_table("Top level", Settings, "", only=plain))
    parts.append(_section("regions", "regions.NAME.", Region))
    parts.append(_section("tenants", "tenants[].", TenantEntry))
    return "\n".join(parts)


def _section(name: str, prefix: str, model: type[BaseModel]) -> str:
    inner = {one: field.annotation for one, field in model.model_fields.items()}
    sections = {
        one: found
        for one, found in inner.items()
        if isinstance(found, type) and issubclass(found, BaseModel)
    }
    plain = [one for one in inner if one not in sections]
    title = f"`{name}`: {(model.__doc__ or '').strip()}"
    parts = [_table(title, model, prefix, only=plain)]
    for one, found in sections.items():
        parts.append(_section(f"{name}.{one}", f"{prefix}{one}.", found))
    return "\n".join(parts)


def _table(title: str, model: type[BaseModel], prefix: str, only: list[str] | None = None) -> str:
    lines = [f"## {title}", "", "| key | default | meaning |", "|---|---|---|"]
    lines += _rows(model, prefix, only)
    return "\n".join(lines) + "\n"


def _rows(model: type[BaseModel], prefix: str, only: list[str] | None) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if only is not None and name not in only:
            continue
        text = " ".join((field.description or "").split()).replace("|", "\\|")
        default = "needed" if field.is_required() else _shown(field.get_default())
        if field.default_factory is not None:
            default = "see the example"
        yield f"| `{prefix}{name}` | {default} | {text} |"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"

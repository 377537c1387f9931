"""A file of tenants, for `defender-ingest tenants apply`: as strict as the configuration itself."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from ingest.errors import SettingsError, TenantsFileRefused
from ingest.model.route import Route
from ingest.settings.files import Path_
from ingest.settings.loader import check_entries, in_words, problem_line, read_yaml
from ingest.settings.models import TenantEntry
from ingest.settings.section import Section

_FORM = "a list of tenants, or `tenants:` with such a list"


class _File(Section):
    tenants: list[TenantEntry] = Field(default_factory=list)


def load_tenants(
    path: Path, logins: Mapping[str, str | None], login_url: str, route: Route
) -> list[TenantEntry]:
    """Read the tenants of a file; none where it is empty.

    Args:
        path: a YAML file: a list of tenants, or a mapping with `tenants:` and nothing else.
        logins: the names that a tenant's region may have, with each one's login host, or None.
        login_url: the login host that is configured.
        route: where alerts go; nobody's may have nowhere to go.

    Raises:
        TenantsFileRefused: with one line for each mistake: file, key, tenant, what is wrong, remedy.
    """
    content = _content(path)
    problems: list[str] = []
    found: list[TenantEntry] = []
    try:
        found = _File.model_validate(content).tenants
    except ValidationError as error:
        for one in error.errors(include_url=False, include_input=False):
            keys: Path_ = tuple(one["loc"])
            words = in_words(one, keys)
            if len(keys) == 1 and one["type"] == "extra_forbidden":
                words = f"unknown key; the file is {_FORM}, and nothing else"
            problems.append(problem_line(path, {}, content, keys, words))
    tenants = content.get("tenants")
    for keys, words in (*check_entries(tenants, logins, login_url), *_names(tenants)):
        problems.append(problem_line(path, {}, content, keys, words))
    for number, entry in enumerate(found):
        if (why := route.refusal(entry.tenant)) is not None:
            problems.append(problem_line(path, {}, content, ("tenants", number), why))
    if problems:
        raise TenantsFileRefused(sorted(set(problems)))
    return found


def _content(path: Path) -> dict[str, Any]:
    try:
        content = read_yaml(path, absent="give a file of tenants")
    except SettingsError as error:
        raise TenantsFileRefused(error.problems) from None
    if content is None:
        return {}
    if isinstance(content, list):
        return {"tenants": content}
    if isinstance(content, dict):
        # What is commented out to the last entry leaves a key without a value.
        return {**content, "tenants": []} if content.get("tenants") is None else content
    raise TenantsFileRefused([f"{path}: must be {_FORM}"])


def _names(tenants: Any) -> Iterator[tuple[Path_, str]]:
    """Yield the names that are given twice: a person could not say whom they mean."""
    seen: dict[str, int] = {}
    for number, entry in enumerate(tenants if isinstance(tenants, list) else []):
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            continue
        first = seen.setdefault(name.casefold(), number)
        if first != number:
            yield (
                ("tenants", number, "name"),
                f"is that of tenants[{first}] too; name one otherwise",
            )

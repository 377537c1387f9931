"""From a file and the environment to settings; every mistake at once, each with its remedy.

Precedence: environment over file over defaults. No message shows a value, since any may be a secret.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from ingest.errors import SettingsError
from ingest.settings.admin import check_admin
from ingest.settings.brokers import check_brokers
from ingest.settings.consent import check_consent
from ingest.settings.credentials import check_credential
from ingest.settings.files import Path_, check_authorities
from ingest.settings.models import Settings
from ingest.settings.regions import HOST, PUBLIC_LOGIN, objection, with_known

PREFIX = "DEFENDER_INGEST_"
"""`DEFENDER_INGEST_KAFKA__PREFIX=x` sets `kafka.prefix`; lists are written as YAML."""

_IGNORED = frozenset((f"{PREFIX}CONFIG",))
_MAX_BYTES = 64 * 1024 * 1024
_MAX_DEPTH = 32


def load(path: Path, environ: Mapping[str, str]) -> Settings:
    """Read, merge and check the configuration.

    Raises:
        SettingsError: with one line for each mistake: file, key, tenant, what is wrong, remedy.
    """
    problems: list[str] = []
    content = _sections(path)
    named = dict(_overrides(environ, problems))
    for keys, (_, value) in named.items():
        _put(content, keys, value)
    origins = {keys: f"environment variable {name}" for keys, (name, _) in named.items()}
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(content)
    except ValidationError as error:
        for found in error.errors(include_url=False, include_input=False):
            keys = tuple(found["loc"])
            problems.append(problem_line(path, origins, content, keys, in_words(found, keys)))
    if settings is not None:
        for number, entry in enumerate(settings.tenants):
            if (why := settings.kafka.routing.refusal(entry.tenant)) is not None:
                keys = ("tenants", number)
                problems.append(problem_line(path, origins, content, keys, why))
    for keys, words in _cross_checks(content):
        problems.append(problem_line(path, origins, content, keys, words))
    if problems or settings is None:
        raise SettingsError(sorted(set(problems)))
    return settings


_Yaml: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Yaml):  # type: ignore[misc]
    """YAML without silent surprises: a key that is given twice is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(
                    problem="a key must be text", problem_mark=key_node.start_mark
                )
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {str(key)[:60]!r} is given twice",
                    problem_mark=key_node.start_mark,
                )
            seen.add(key)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def _sections(path: Path) -> dict[str, Any]:
    content = read_yaml(path, absent="give the file with --config")
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError([f"{path}: must be a mapping of sections, such as `kafka:`"])
    return content


def read_yaml(path: Path, *, absent: str) -> Any:
    """Read a file strictly; `absent` is the remedy where it cannot be read.

    Raises:
        SettingsError: it is not there, or not YAML, or says something twice.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES)
        _refuse_a_pit(text)
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read: {error.strerror}; {absent}"]) from None
    except yaml.constructor.ConstructorError as error:
        # Its words quote the tag, and a secret may begin with an exclamation mark.
        mark = error.problem_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        raise SettingsError(
            [f"{path}:{where} a value that YAML cannot take as it is; put it in quotes"]
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        raise SettingsError([f"{path}:{where} {error.problem or 'is not YAML'}"]) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise SettingsError([f"{path}: is not YAML"]) from None


def _refuse_a_pit(text: bytes) -> None:
    """Refuse brackets that are nested deeper than any setting: libyaml recurses on the C stack."""
    depth = 0
    for event in yaml.parse(text, _Yaml):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                mark: Any = event.start_mark
                raise yaml.MarkedYAMLError(problem="is nested too deeply", problem_mark=mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _overrides(
    environ: Mapping[str, str], problems: list[str]
) -> Iterator[tuple[Path_, tuple[str, Any]]]:
    """Yield keys and values from the environment; names that mean nothing are mistakes."""
    known = {"__".join(map(str, keys)).upper(): keys for keys in _leaves(Settings)}
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX) or name in _IGNORED:
            continue
        keys = known.get(name.removeprefix(PREFIX))
        if keys is None:
            meant = get_close_matches(name.removeprefix(PREFIX), known, 1)
            hint = f"; did you mean {PREFIX}{meant[0]}?" if meant else ""
            problems.append(f"environment variable {name}: means nothing here{hint}")
            continue
        try:
            yield keys, (name, text if _is_text(keys) else yaml.load(text, _Loader))  # noqa: S506
        except (yaml.YAMLError, ValueError, RecursionError):
            problems.append(f"environment variable {name}: is not YAML")


def _leaves(model: type[BaseModel], path: Path_ = ()) -> Iterator[Path_]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _leaves(inner, (*path, name))
        else:
            yield (*path, name)


def _is_text(keys: Path_) -> bool:
    """Tell whether a value is taken as it is written: a secret may look like a number."""
    model: Any = Settings
    for key in keys[:-1]:
        model = model.model_fields[key].annotation
    annotation = model.model_fields[keys[-1]].annotation
    return not any(kind in str(annotation) for kind in ("int", "float", "bool", "list", "dict"))


def _put(content: dict[str, Any], keys: Path_, value: Any) -> None:
    for key in keys[:-1]:
        inner = content.setdefault(str(key), {})
        if not isinstance(inner, dict):
            return  # a mistake of the file, which is told as such
        content = inner
    content[str(keys[-1])] = value


def problem_line(
    path: Path, origins: Mapping[Path_, str], content: Any, keys: Path_, words: str
) -> str:
    """Return one mistake as a line: where it was written, its key, its tenant, what to do."""
    # A variable may give a whole list: then it is the origin of everything in it.
    places = (keys[:end] for end in range(len(keys), 0, -1))
    origin = next((origins[place] for place in places if place in origins), str(path))
    return f"{origin}: {_dotted(keys)}{_whose(content, keys)}: {words}"


def _dotted(keys: Path_) -> str:
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else str(key)
    return text or "(the whole)"


def _whose(content: Any, keys: Path_) -> str:
    """Name the tenant that a key belongs to, as far as it has a name."""
    if len(keys) < 2 or keys[0] != "tenants" or not isinstance(keys[1], int):  # noqa: PLR2004
        return ""
    try:
        entry = content["tenants"][keys[1]]
        name = entry.get("name") or entry.get("id")
    except (LookupError, AttributeError, TypeError):
        return ""
    return f" (tenant {str(name)[:80]})" if name else ""


def in_words(found: Any, keys: Path_) -> str:
    """Return what one of pydantic's errors says, with the remedy."""
    message = str(found["msg"]).removeprefix("Value error, ")
    match found["type"]:
        case "extra_forbidden":
            meant = get_close_matches(str(keys[-1]), _siblings(keys), 1)
            hint = f"did you mean {meant[0]}?" if meant else "remove it"
            return f"unknown key; {hint}"
        case "missing":
            return "is needed and not there; add it"
        case "string_pattern_mismatch":
            pattern = found.get("ctx", {}).get("pattern", "")
            if "https" in pattern:
                return "must be https://HOST or https://HOST:PORT, without a path"
            return f"must match {pattern}"
        case "string_type":
            return "must be text; put it in quotes"
        case _:
            return message[:1].lower() + message[1:]


def _siblings(keys: Path_) -> Sequence[str]:
    """Return the keys that the models know at the place of one that they do not."""
    model: Any = Settings
    for key in keys[:-1]:
        if isinstance(key, int) or not isinstance(model, type):
            continue
        field = model.model_fields.get(key) if issubclass(model, BaseModel) else None
        if field is None:
            continue
        model = field.annotation
        inner = [arg for arg in get_args(model) if isinstance(arg, type)]
        models = [arg for arg in inner if issubclass(arg, BaseModel)]
        if models:
            model = models[0]
    known = isinstance(model, type) and issubclass(model, BaseModel)
    return list(model.model_fields) if known else []


def _cross_checks(content: dict[str, Any]) -> Iterator[tuple[Path_, str]]:
    """Check what no field can know alone, on what was written, so that all is found in one run."""
    entra = content.get("entra")
    if isinstance(entra, dict):
        yield from check_credential(entra)
    if isinstance(content.get("ca_file"), str):
        yield from check_authorities(("ca_file",), content["ca_file"])
    kafka = content.get("kafka")
    if isinstance(kafka, dict):
        yield from check_brokers(kafka)
    if isinstance(content.get("consent"), dict):
        yield from check_consent(content["consent"])
    if isinstance(content.get("admin"), dict):
        yield from check_admin(content["admin"])
    yield from check_tenants(content)


def check_tenants(content: Mapping[str, Any]) -> Iterator[tuple[Path_, str]]:
    """Yield what no entry of `tenants` can know alone: an id of another, a region that is none."""
    entra = content.get("entra")
    login_url = entra.get("login_url", PUBLIC_LOGIN) if isinstance(entra, dict) else PUBLIC_LOGIN
    # What is no host is told as such, and serves no region.
    is_host = isinstance(login_url, str) and re.fullmatch(HOST, login_url)
    logins = _logins(content.get("regions"))
    yield from check_entries(
        content.get("tenants"),
        logins if is_host else dict.fromkeys(logins),
        login_url if is_host else PUBLIC_LOGIN,
    )


def _logins(regions: Any) -> dict[str, str | None]:
    """Return the login host of each region, as far as it was written so that it can be read."""
    logins = {name: region.login_url for name, region in with_known({}).items()}
    for name, region in regions.items() if isinstance(regions, dict) else ():
        login = region.get("login_url") if isinstance(region, dict) else None
        logins[str(name)] = login if isinstance(login, str) else None
    return logins


def check_entries(
    tenants: Any, logins: Mapping[str, str | None], login_url: str
) -> Iterator[tuple[Path_, str]]:
    """Yield what is wrong with a list of tenants beside others, and beside the regions."""
    if not isinstance(tenants, list):
        return
    seen: dict[str, int] = {}
    for number, entry in enumerate(tenants):
        if not isinstance(entry, dict):
            continue
        identity = str(entry.get("id", "")).lower()
        if identity in seen:
            yield ("tenants", number, "id"), f"is that of tenants[{seen[identity]}] too; remove one"
        elif re.fullmatch(r"[0-9a-f-]{36}", identity):
            seen[identity] = number
        if why := objection(str(entry.get("region", "commercial")), logins, login_url):
            yield ("tenants", number, "region"), why

"""`config/example.yaml` and the models say the same: every key, in order, with its default."""

import copy
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from ingest.settings.models import Region, Settings
from ingest.settings.reference import schema
from ingest.settings.regions import with_known
from tests.unit.settings.json_schema import mistakes

EXAMPLE = Path(__file__).parents[3] / "config" / "example.yaml"
TEXT = EXAMPLE.read_text()
SCHEMA = json.loads(schema())
SETTING = re.compile(r"^(\s*)#(?!#)", re.MULTILINE)
SECRET_FILE = "/run/secrets/defender-ingest"


def with_every_setting() -> dict[str, Any]:
    """Return the example with each setting that is commented out taken in."""
    content: dict[str, Any] = yaml.safe_load(SETTING.sub(r"\1", TEXT))
    return content


def sections(model: type[BaseModel], content: Any, path: str):
    """Yield every place of the example that a model describes."""
    yield path, model, content
    for name, field in model.model_fields.items():
        inner = field.annotation
        models = [one for one in (inner, *get_args(inner)) if isinstance(one, type)]
        for found in models:
            if not issubclass(found, BaseModel):
                continue
            if inner is found:
                yield from sections(found, content[name], f"{path}{name}.")
            else:
                # A list's or a mapping's first entry is the one that shows every key.
                entries = content[name]
                first = entries[0] if isinstance(entries, list) else next(iter(entries.values()))
                yield from sections(found, first, f"{path}{name}[].")


def every_section():
    found = list(sections(Settings, with_every_setting(), ""))
    return [pytest.param(*one, id=one[0] or "top") for one in found]


def plain(value: Any) -> Any:
    """Return a default as YAML would hold it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return value


@pytest.mark.parametrize(("path", "model", "content"), every_section())
def test_the_example_has_every_key_and_no_other_in_the_order_of_the_models(path, model, content):
    assert list(content) == list(model.model_fields)


@pytest.mark.parametrize(("path", "model", "content"), every_section())
def test_what_the_example_leaves_out_stands_there_with_its_default(path, model, content):
    for name, field in model.model_fields.items():
        inner = field.annotation
        if field.is_required() or (isinstance(inner, type) and issubclass(inner, BaseModel)):
            continue
        default = field.get_default(call_default_factory=True)
        assert default is not PydanticUndefined
        if f"{path}{name}" == "entra.client_secret_file":
            # One of the two forms of the secret has to be given; the example gives the better one.
            assert default is None
            continue
        if f"{path}{name}" in ("regions", "regions[].login_url"):
            # The example shows one of those that are known anyway.
            known = plain(with_known({})["commercial"])
            assert with_every_setting()["regions"] == {"commercial": known}
            continue
        if f"{path}{name}" == "tenants":
            # None are needed here; the example shows what one looks like.
            assert default == []
            continue
        assert content[name] == plain(default), f"{path}{name}"


def test_every_key_has_words_above_it():
    lines = TEXT.splitlines()
    shown = set()
    for above, line in pairwise(lines):
        key = re.match(r"^#?[\s-]*#?([a-z_]+):(\s|$)", line)
        if key is None or line.lstrip(" #").startswith("##"):
            continue
        name = key[1]
        if name not in shown and not re.match(r"^#?\s*##", above):
            # Only the entries of `regions` after the first are as the first.
            assert name in Region.model_fields or name in with_every_setting()["regions"], line
        shown.add(name)
    assert {"entra", "client_id", "bootstrap_servers", "tenants", "ca_file"} <= shown


def test_the_example_loads_as_it_is_once_its_secret_is_there(desk):
    assert SECRET_FILE in TEXT
    secret = desk.file("secret", "anything")
    settings = desk.load_text(TEXT.replace(SECRET_FILE, str(secret)))
    assert settings.entra.client_secret_file == secret
    assert [one.region for one in settings.tenants] == ["commercial", "eu"]
    assert settings.poll == Settings.model_fields["poll"].default


def test_the_example_loads_with_every_setting_taken_in_and_means_the_same(desk):
    secret = str(desk.file("secret", "anything"))
    text = TEXT.replace(SECRET_FILE, secret)
    assert desk.load_text(SETTING.sub(r"\1", text)) == desk.load_text(text)


def test_the_schema_takes_the_example(desk):
    assert mistakes(SCHEMA, yaml.safe_load(TEXT)) == []
    assert mistakes(SCHEMA, with_every_setting()) == []


@pytest.mark.parametrize(
    ("path", "value", "mistake"),
    [
        ("kafka.prefx", "x", "$.kafka.prefx: additionalProperties"),
        ("kafka.shards", "many", "$.kafka.shards: type"),
        ("kafka.shards", 0, "$.kafka.shards: minimum"),
        ("kafka.bootstrap_servers", [], "$.kafka.bootstrap_servers: minItems"),
        ("logs.level", "chatty", "$.logs.level: enum"),
        ("entra.login_url", "http://login.test", "$.entra.login_url: pattern"),
        ("poll.interval_seconds", 0, "$.poll.interval_seconds: exclusiveMinimum"),
        ("tenants", [{"name": "contoso"}], "$.tenants[0].id: required"),
        ("ca_file", 7, "$.ca_file: anyOf"),
    ],
)
def test_the_schema_refuses_what_loading_refuses(desk, path, value, mistake):
    content = copy.deepcopy(with_every_setting())
    content["entra"]["client_secret_file"] = str(desk.file("secret", "anything"))
    place = content
    *parents, last = path.split(".")
    for key in parents:
        place = place[key]
    place[last] = value
    assert mistakes(SCHEMA, content) == [mistake]
    assert desk.problems_of_text(yaml.safe_dump(content))

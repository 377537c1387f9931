"""As much of JSON Schema as the configuration's schema uses; anything else in it is an error."""

import re
from collections.abc import Callable, Iterator
from typing import Any

_SILENT = {
    "type",
    "title",
    "description",
    "default",
    "format",
    "writeOnly",
    "$schema",
    "$id",
    "$defs",
    "examples",
}
_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}
_BOUNDS: dict[str, Callable[[Any, Any], bool]] = {
    "minimum": lambda value, bound: value >= bound,
    "maximum": lambda value, bound: value <= bound,
    "exclusiveMinimum": lambda value, bound: value > bound,
    "minLength": lambda value, bound: len(value) >= bound,
    "maxLength": lambda value, bound: len(value) <= bound,
    "minItems": lambda value, bound: len(value) >= bound,
    "pattern": lambda value, bound: re.search(bound, value) is not None,
    "enum": lambda value, bound: value in bound,
    "const": lambda value, bound: value == bound,
}


def mistakes(whole: dict[str, Any], value: Any) -> list[str]:
    """Return the paths at which a value does not fit the schema, with what it breaks there."""
    return list(_mistakes(whole, whole, value, "$"))


def _mistakes(whole: Any, schema: Any, value: Any, path: str) -> Iterator[str]:
    if "type" in schema and not _TYPES[schema["type"]](value):
        # No other keyword can be asked of it.
        yield f"{path}: type"
        return
    for keyword, wanted in schema.items():
        if keyword in _INNER:
            yield from _INNER[keyword](whole, schema, value, path)
        elif keyword not in _SILENT and not _BOUNDS[keyword](value, wanted):
            yield f"{path}: {keyword}"


def _reference(whole: Any, schema: Any, value: Any, path: str) -> Iterator[str]:
    name = schema["$ref"].rpartition("/")[2]
    return _mistakes(whole, whole["$defs"][name], value, path)


def _any_of(whole: Any, schema: Any, value: Any, path: str) -> Iterator[str]:
    if all(any(_mistakes(whole, one, value, path)) for one in schema["anyOf"]):
        yield f"{path}: anyOf"


def _required(_: Any, schema: Any, value: Any, path: str) -> Iterator[str]:
    return (f"{path}.{name}: required" for name in schema["required"] if name not in value)


def _properties(whole: Any, schema: Any, value: Any, path: str) -> Iterator[str]:
    for name, inner in schema["properties"].items():
        if name in value:
            yield from _mistakes(whole, inner, value[name], f"{path}.{name}")


def _additional(whole: Any, schema: Any, value: Any, path: str) -> Iterator[str]:
    wanted = schema["additionalProperties"]
    for name in value.keys() - schema.get("properties", {}).keys():
        if wanted is False:
            yield f"{path}.{name}: additionalProperties"
        elif wanted is not True:
            yield from _mistakes(whole, wanted, value[name], f"{path}.{name}")


def _items(whole: Any, schema: Any, value: Any, path: str) -> Iterator[str]:
    for at, item in enumerate(value):
        yield from _mistakes(whole, schema["items"], item, f"{path}[{at}]")


_INNER: dict[str, Callable[[Any, Any, Any, str], Iterator[str]]] = {
    "$ref": _reference,
    "anyOf": _any_of,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
}

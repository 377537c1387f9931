"""What the files hold that a configuration names, and words for what is wrong with them."""

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Path_ = tuple[str | int, ...]
Problems = Iterator[tuple[Path_, str]]


def check_secret(at: Path_, name: str, section: Mapping[str, Any]) -> Problems:
    """Yield what is wrong with a secret that a section has as a value or as a file."""
    value, file = section.get(name), section.get(f"{name}_file")
    if value and file:
        yield (*at, name), f"is given beside {name}_file; remove one of the two"
    elif value is None and file is None:
        yield (*at, f"{name}_file"), f"is needed and not there; add it (or {name})"
    elif value is not None and not str(value).strip():
        yield (*at, name), "is empty"
    if isinstance(file, str) and (why := unreadable(file)):
        yield (*at, f"{name}_file"), why


def words_in(file: Path) -> tuple[str, str]:
    """Return what a file says, without white space around it, and why there is nothing if so."""
    try:
        words = file.read_text().strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        return "", f"{file} cannot be read: {why}"
    return words, "" if words else f"{file} is empty"


def unreadable(file: str) -> str:
    """Return why a file says nothing, empty where it does."""
    return words_in(Path(file))[1]


def check_authorities(at: Path_, file: str) -> Problems:
    """Yield why a file holds no certificate authorities."""
    try:
        ssl.create_default_context(cafile=file)
    except ssl.SSLError:
        yield at, f"{file} holds no certificates in PEM form"
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else "no file can have such a name"
        yield at, f"{file} cannot be read: {words}"

"""What the application proves itself with, as it was written: one kind, whole, and fit for use."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ingest.settings.certificate import read_pair
from ingest.settings.files import Problems, check_secret, unreadable, words_in

_AT = ("entra",)
_KINDS = (
    ("client_secret_file", "client_secret"),
    ("certificate_file", "certificate"),
    ("federated_token_file",),
)
_BESIDE_CERTIFICATE = (
    *("certificate_key_file", "certificate_passphrase", "certificate_passphrase_file"),
)


def check_credential(entra: Mapping[str, Any]) -> Problems:
    """Yield what is wrong with the credential that `entra` names."""
    given = [kind for kind in _KINDS if any(entra.get(name) is not None for name in kind)]
    if not given:
        words = "is needed and not there; add it (or client_secret, certificate_file, federated_token_file)"
        yield (*_AT, "client_secret_file"), words
        return
    for kind in given[1:]:
        name, first = _written(kind, entra), _written(given[0], entra)
        yield (*_AT, name), f"is given beside {first}; remove one of the two"
    if _KINDS[1] in given:
        yield from _check_certificate(entra)
    else:
        for name in _BESIDE_CERTIFICATE:
            if entra.get(name) is not None:
                yield (*_AT, name), "means nothing without certificate_file; remove it"
    if _KINDS[0] not in given and entra.get("client_secret_expires") is not None:
        words = "means nothing without client_secret_file; remove it"
        yield (*_AT, "client_secret_expires"), words
    if _KINDS[0] in given:
        yield from check_secret(_AT, "client_secret", entra)
    token = entra.get("federated_token_file")
    if isinstance(token, str) and (why := unreadable(token)):
        yield (*_AT, "federated_token_file"), why


def _written(kind: tuple[str, ...], entra: Mapping[str, Any]) -> str:
    return next(name for name in kind if entra.get(name) is not None)


def _check_certificate(entra: Mapping[str, Any]) -> Problems:
    value, file = entra.get("certificate"), entra.get("certificate_file")
    if value is not None and file is not None:
        yield (*_AT, "certificate"), "is given beside certificate_file; remove one of the two"
        return
    passphrase, secret = "", entra.get("certificate_passphrase_file")
    if isinstance(secret, str):
        passphrase, why = words_in(Path(secret))
        if why:
            yield (*_AT, "certificate_passphrase_file"), why
            return
        if entra.get("certificate_passphrase") is not None:
            words = "is given beside certificate_passphrase_file; remove one of the two"
            yield (*_AT, "certificate_passphrase"), words
    elif isinstance(entra.get("certificate_passphrase"), str):
        passphrase = entra["certificate_passphrase"]
    name = "certificate" if file is None else "certificate_file"
    files: list[Any] = [file, entra.get("certificate_key_file")]
    contents: list[bytes | None] = [str(value).encode(), None]
    for place, at in enumerate(("certificate_file", "certificate_key_file")):
        if isinstance(files[place], str):
            try:
                contents[place] = Path(files[place]).read_bytes()
            except OSError as error:
                yield (*_AT, at), f"{files[place]} cannot be read: {error.strerror}"
                return
    try:
        read_pair(contents[0] or b"", key=contents[1], passphrase=passphrase)
    except ValueError as error:
        yield (*_AT, name), str(error) if file is None else f"{file} {error}"

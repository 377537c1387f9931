"""Reads a Dockerfile as far as ours goes; whatever else stands in one is an error, never passed over."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class Run:
    """A shell command, and the folder and variables that it is run with."""

    command: str
    folder: str
    env: dict[str, str]


@dataclass(frozen=True)
class Copy:
    """Files of the build's context, or of an earlier stage; `target` is an absolute path."""

    sources: list[str]
    target: str
    stage: str | None = None


@dataclass
class Stage:
    """One stage, and what its image says of the process that is run in it."""

    base: str
    name: str
    steps: list[Run | Copy] = field(default_factory=list)
    args: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0"
    ports: list[str] = field(default_factory=list)
    entry: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)


def stages(text: str, *, args: Mapping[str, str], base_env: Mapping[str, str]) -> dict[str, Stage]:
    """Return the stages by name; the last one, which becomes the image, is called `final`.

    Args:
        text: the Dockerfile.
        args: what is given with `--build-arg`.
        base_env: the variables of the base image.
    """
    found: dict[str, Stage] = {}
    before: dict[str, str] = {}
    stage: Stage | None = None
    for word, rest in _instructions(text):
        if word == "FROM":
            base, *named = _expanded(rest, before).split()
            stage = Stage(base, named[1] if named else "final", env=dict(base_env))
            found[stage.name] = stage
        elif stage is None:
            assert word == "ARG", f"{word} before FROM"
            before |= _arg(rest, args)
        else:
            _apply(stage, word, rest, args)
    assert list(found)[-1] == "final", "the last stage has no name of its own"
    return found


def _apply(stage: Stage, word: str, rest: str, args: Mapping[str, str]) -> None:  # noqa: C901
    known = {**stage.args, **stage.env}
    match word:
        case "ARG":
            stage.args |= _arg(rest, args)
        case "ENV":
            stage.env |= _pairs(rest, known)
        case "LABEL":
            stage.labels |= _pairs(rest, known)
        case "WORKDIR":
            stage.folder = rest
        case "USER":
            stage.user = rest
        case "EXPOSE":
            stage.ports += rest.split()
        case "RUN":
            stage.steps.append(Run(rest, stage.folder, known))
        case "COPY":
            option = re.match(r"--from=(\S+)\s+", rest)
            *sources, target = rest[option.end() if option else 0 :].split()
            slash = "/" if target.endswith("/") or len(sources) > 1 else ""
            target = str(PurePosixPath(stage.folder) / target) + slash
            stage.steps.append(Copy(sources, target, option[1] if option else None))
        case "ENTRYPOINT":
            stage.entry = json.loads(rest)
        case "CMD":
            stage.command = json.loads(rest)
        case _:
            raise AssertionError(f"an instruction that this does not know: {word}")


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in lines.replace("\\\n", " ").splitlines():
        if line.strip():
            word, rest = line.split(maxsplit=1)
            yield word, rest.strip()


def _arg(rest: str, given: Mapping[str, str]) -> dict[str, str]:
    name, _, default = rest.partition("=")
    return {name: given.get(name, default)}


def _pairs(rest: str, known: Mapping[str, str]) -> dict[str, str]:
    words = [word.partition("=") for word in shlex.split(rest)]
    return {name: _expanded(value, known) for name, _, value in words}


def _expanded(text: str, known: Mapping[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}|\$(\w+)", lambda found: known[found[1] or found[2]], text)


def context(root: Path) -> list[Path]:
    """Return the files, relative to `root`, that `.dockerignore` lets a build see."""
    rules = [
        line
        for line in (root / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert rules[0] == "*", "what is not named stays out"
    seen = []
    for rule in (rule[1:] for rule in rules if rule.startswith("!")):
        found = root / rule
        seen += [found] if found.is_file() else (one for one in found.rglob("*") if one.is_file())
    out = [rule.removeprefix("**/") for rule in rules[1:] if not rule.startswith("!")]
    relative = (one.relative_to(root) for one in seen)
    return sorted(
        one
        for one in relative
        if not any(fnmatch(part, rule) for part in one.parts for rule in out)
    )

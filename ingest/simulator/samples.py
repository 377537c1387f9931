"""Recorded answers of the real API, served unchanged: files named `mde_*.json`, in order."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingest.simulator.population import Population
from ingest.simulator.times import read_instant

_SPACE = re.compile(r"[ \t\r\n]*")


class SamplesError(ValueError):
    """The folder has no answers that could be served; the message says why."""


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """One recorded answer: its bytes, and those of each alert in it."""

    name: str
    body: bytes
    alerts: tuple[bytes, ...]


def load_answers(folder: Path) -> list[RecordedAnswer]:
    """Return the answers of a folder, in the order of their names.

    Raises:
        SamplesError: there is none, or one is no answer of the alert API.
    """
    paths = sorted(folder.glob("mde_*.json"))
    if not paths:
        raise SamplesError(f"{folder}: no mde_*.json in it")
    answers = []
    for path in paths:
        body = path.read_bytes()
        try:
            alerts = elements(body.decode(), "value")
            for alert in alerts:
                content = json.loads(alert)
                read_instant(content["lastUpdateTime"])
                read_instant(content["alertCreationTime"])
        except (ValueError, KeyError, TypeError) as error:
            raise SamplesError(f"{path}: not an answer of the alert API: {error}") from None
        answers.append(RecordedAnswer(path.name, body, tuple(raw.encode() for raw in alerts)))
    return answers


def elements(text: str, name: str) -> list[str]:
    """Return the elements of the array under a key of the outermost object, as they stand.

    Raises:
        ValueError: the text is not such an object.
    """
    decoder = json.JSONDecoder()
    found: list[str] | None = None

    def after_space(at: int) -> int:
        match = _SPACE.match(text, at)
        return at if match is None else match.end()

    def expect(at: int, characters: str) -> str:
        if text[at : at + 1] not in tuple(characters):
            raise ValueError(f"{' or '.join(characters)} is missing at {at}")
        return text[at]

    at = after_space(0)
    expect(at, "{")
    while text[at] != "}":
        key, at = _value(decoder, text, after_space(at + 1))
        at = after_space(at)
        expect(at, ":")
        at = after_space(at + 1)
        if key == name and text[at] == "[":
            found = []
            end = after_space(at + 1)
            at = end - 1 if text[end : end + 1] != "]" else end
            while text[at] != "]":
                start = after_space(at + 1)
                _, end = _value(decoder, text, start)
                found.append(text[start:end])
                at = after_space(end)
                expect(at, ",]")
            at += 1
        else:
            _, at = _value(decoder, text, at)
        at = after_space(at)
        expect(at, ",}")
    if found is None:
        raise ValueError(f"no array under {name!r}")
    return found


def _value(decoder: json.JSONDecoder, text: str, at: int) -> tuple[Any, int]:
    return decoder.raw_decode(text, at)


@dataclass(slots=True)
class Replay:
    """Serves recorded answers: each first page is the next of them, whole and unchanged.

    An alert that was served is among the tenant's alerts from then on, in its exact bytes. After the
    last answer, and for every other query, those are what is asked. An answer that holds an alert
    which was touched since is not served any more: it would bring back the version before.
    """

    answers: list[RecordedAnswer]
    _next: int = 0
    _touched: set[str] = field(default_factory=set)

    def answer(self, population: Population, now: float) -> bytes | None:
        """Return the next answer, None where what is known so far has to be asked."""
        while self._next < len(self.answers):
            answer = self.answers[self._next]
            self._next += 1
            stale = False
            for raw in answer.alerts:
                if json.loads(raw)["id"] in self._touched:
                    stale = True
                else:
                    population.keep(raw, now)
            if not stale:
                return answer.body
        return None

    def touched(self, alert: str) -> None:
        """Remember that an alert is no longer as it was recorded."""
        self._touched.add(alert)

    @property
    def oldest(self) -> int:
        """The lowest `lastUpdateTime` of all answers, in ticks."""
        return min(
            read_instant(json.loads(raw)["lastUpdateTime"])
            for answer in self.answers
            for raw in answer.alerts
        )

    @property
    def tenant(self) -> str | None:
        """The tenant that the recorded alerts name, where they do."""
        named = (
            json.loads(raw).get("aadTenantId") for answer in self.answers for raw in answer.alerts
        )
        return next((name for name in named if name), None)

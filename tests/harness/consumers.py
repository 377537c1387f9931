"""What others read our topics with, run as `docs/consumers.md` says it, each into a file."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from ingest.simulator.audit import Observed, Where
from ingest.simulator.envelope import opened
from ingest.simulator.processes import Child

CONSUMERS = Path(__file__).parents[2] / "docs" / "consumers.md"
_PROGRAMS = {"kcat": "kcat", "rsyslogd": "rsyslog"}
_RULES = 'ruleset(name="alerts") {'


def missing() -> list[str]:
    """Return which of Debian's packages with consumers this machine lacks."""
    lacks = [package for program, package in _PROGRAMS.items() if shutil.which(program) is None]
    modules = Path("/usr/lib").glob("*/rsyslog/imkafka.so")
    return lacks if any(modules) else [*lacks, "rsyslog-kafka"]


def recipe(section: str) -> str:
    """Return the first block of code under a heading of `docs/consumers.md`."""
    text = CONSUMERS.read_text().split(f"\n## {section}\n", 1)[1]
    return re.search(r"^```[a-z]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[1]


class Kcat:
    """`kcat`, following the raw alerts."""

    def __init__(self, *, bootstrap: str, topic: str, folder: Path) -> None:
        command = recipe("kcat").replace("kafka-1:9092", bootstrap)
        command = command.replace("defender.alerts", topic).replace("kcat ", "exec kcat -u -q ", 1)
        self.child = Child(name="kcat", command=["/bin/sh", "-c", command], folder=folder)

    def read(self) -> Iterator[Observed]:
        """Yield what it printed, whole records only."""
        rest = self.child.out.read_bytes()
        while b"\n" in rest:
            head, rest = rest.split(b"\n", 1)
            partition, offset, key_size, size, headers = head.decode().split(" ", 4)
            key_end = int(key_size)
            end = key_end + 1 + int(size)
            if len(rest) < end + 1:
                return
            yield Observed(
                where=Where.ALERTS,
                partition=int(partition),
                offset=int(offset),
                key=rest[:key_end],
                value=rest[key_end + 1 : end],
                headers=[
                    (name, value.encode())
                    for name, value in re.findall(r"(?:^|,)(ce_[a-z]+)=([^,]*)", headers)
                ],
            )
            rest = rest[end + 1 :]


class Rsyslog:
    """`rsyslogd` with imkafka, following the structured alerts."""

    def __init__(self, *, bootstrap: str, topic: str, folder: Path) -> None:
        self._folder = folder / "rsyslog"
        for name in ("spool", "log"):
            (self._folder / name).mkdir(parents=True)
        text = recipe("rsyslog").replace("kafka-1:9092", bootstrap)
        text = text.replace('topic="defender.alerts"', f'topic="{topic}"')
        text = text.replace("/var/spool/rsyslog", str(self._folder / "spool"))
        text = text.replace("/var/log/defender", str(self._folder / "log"))
        # What it got, byte for byte, beside what the recipe writes.
        self._exact = self._folder / "exact"
        text = text.replace(
            _RULES,
            'template(name="exact" type="string" string="\\"%rawmsg:::json%\\"\\n")\n'
            f'{_RULES}\n    action(type="omfile" file="{self._exact}" template="exact")',
        )
        config = self._folder / "rsyslog.conf"
        config.write_text(text)
        command = ["rsyslogd", "-n", "-f", str(config), "-i", str(self._folder / "pid")]
        self.child = Child(name="rsyslog", command=command, folder=folder)

    def read(self) -> Iterator[Observed]:
        """Yield what it got, whole lines only, in the order of its reading."""
        for number, line in enumerate(_lines(self._exact)):
            envelope = json.loads(line.decode("utf-8", "surrogateescape"))
            attributes, data = opened(envelope.encode("utf-8", "surrogateescape"))
            yield Observed(
                where=Where.ALERTS,
                partition=0,
                offset=number,
                key=f"{attributes['tenantid']}/{attributes['subject']}".encode(),
                value=data,
                headers=[(f"ce_{name}", value.encode()) for name, value in attributes.items()],
            )

    def written(self) -> dict[str, list[object]]:
        """Return what the recipe's own lines say, by tenant."""
        return {
            file.stem: [json.loads(line) for line in _lines(file)]
            for file in (self._folder / "log").iterdir()
        }

    def exact(self) -> dict[str, list[object]]:
        """Return the same of what it got."""
        found: dict[str, list[object]] = {}
        for line in _lines(self._exact):
            envelope = json.loads(json.loads(line))
            found.setdefault(envelope["tenantid"], []).append(envelope)
        return found


def _lines(file: Path) -> list[bytes]:
    return file.read_bytes().split(b"\n")[:-1] if file.exists() else []

"""One audited run, from the outside: read along, freeze, drain, judge."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from ingest.simulator.audit import Audit, Observed
from ingest.simulator.reader import Reader, security_of
from ingest.simulator.remote import RemoteCloud
from ingest.simulator.verdict import Verdict

_READ_SECONDS = 0.2
_REFRESH_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Subject:
    """What the audit needs to know of the daemon: read from its configuration, by name.

    Args:
        alerts: the topics that its alerts go to.
        kafka: how a reader of the topics connects, as the section `kafka` of a configuration says it.
    """

    bootstrap: str
    prefix: str
    poll_interval: float
    ca_file: Path
    status_url: str | None
    kafka: Mapping[str, Any] = field(default_factory=dict, repr=False)
    alerts: Sequence[str] = ()

    @classmethod
    def of(cls, config: Path, reader: Path | None = None) -> "Subject":
        """Read it from the daemon's configuration file.

        Args:
            config: the daemon's.
            reader: another one, whose `kafka` says how to read: the daemon may only write alerts.

        Raises:
            ValueError: if something is missing there.
        """
        try:
            content: dict[str, Any] = yaml.safe_load(config.read_text()) or {}
            kafka = (
                content["kafka"] if reader is None else yaml.safe_load(reader.read_text())["kafka"]
            )
            listen = content.get("listen", {})
            prefix = content["kafka"].get("prefix", "defender")
            route = content["kafka"].get("route", "{prefix}.alerts").replace("{prefix}", prefix)
            port = listen.get("port", 9464)
            return cls(
                bootstrap=",".join(kafka["bootstrap_servers"]),
                prefix=prefix,
                poll_interval=float(content.get("poll", {}).get("interval_seconds", 60)),
                ca_file=Path(content["ca_file"]),
                status_url=f"http://{listen.get('host', '127.0.0.1')}:{port}" if port else None,
                kafka=kafka,
                alerts=content["kafka"].get("route_topics") or [route],
            )
        except (AttributeError, KeyError, TypeError, yaml.YAMLError) as error:
            raise ValueError(
                f"{config} does not say what is needed ({error}); the simulator writes one that does"
            ) from error


class Trial:
    """One run: read along, then judged by a second reading from the beginning.

    Args:
        subject: the daemon.
        cloud: the simulator.
        watch: called with what was read, as it comes.
        absences: times in which a tenant was none of the daemon's: see `Audit.absent`.
    """

    def __init__(
        self,
        *,
        subject: Subject,
        cloud: RemoteCloud,
        watch: Callable[[Sequence[Observed]], None] = lambda _: None,
        absences: Mapping[str, Sequence[tuple[float, float | None]]] | None = None,
    ) -> None:
        self._subject = subject
        self._cloud = cloud
        self._reader = self._fresh_reader()
        self._watch = watch
        self._absences = dict(absences or {})
        self._seen = Audit(poll_interval=subject.poll_interval)
        self._seen.absent(self._absences)

    def absent(self, absences: Mapping[str, Sequence[tuple[float, float | None]]]) -> None:
        """Learn while the run goes on when tenants were none of the daemon's."""
        self._absences.update(absences)
        self._seen.absent(self._absences)

    def _fresh_reader(self) -> Reader:
        subject = self._subject
        return Reader(
            bootstrap=subject.bootstrap,
            prefix=subject.prefix,
            alerts=subject.alerts,
            security=security_of(subject.kafka),
        )

    async def __aenter__(self) -> Self:
        """Connect."""
        await self._reader.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Disconnect."""
        await self._reader.close()

    async def find_topics(self) -> None:
        """Wait until the daemon's topics exist."""
        await self._reader.find_topics()

    async def follow(self, *, seconds: float) -> None:
        """Read along for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            await self._step(min(left, _READ_SECONDS))

    async def behind(self) -> int:
        """Return how many offsets were not read yet."""
        return await self._reader.behind()

    async def drain(self, *, at_most: float) -> int:
        """Freeze the simulator and read until every current version was seen.

        Returns the number of those that were not seen after `at_most` seconds.
        """
        await asyncio.to_thread(self._cloud.freeze)
        end = time.monotonic() + at_most
        await self._learn(self._seen)
        refreshed = time.monotonic()
        while (missing := self._seen.missing()) and time.monotonic() < end:
            await self._step(_READ_SECONDS)
            if time.monotonic() - refreshed > _REFRESH_SECONDS:
                await self._learn(self._seen)
                refreshed = time.monotonic()
        return missing

    async def judge(
        self,
        *,
        harness_outages: Sequence[tuple[float, float]] = (),
        killed: Sequence[float] = (),
        at_most: float = 60,
    ) -> Verdict:
        """Read to the end and judge; the daemon has been stopped or is quiet.

        Args:
            harness_outages: times in which whoever ran this kept the daemon itself from reading.
            killed: when a daemon without transactions was killed: see `Audit.killed`.
            at_most: seconds to wait for the end of what was written.

        Raises:
            TimeoutError: if an open transaction hides the end for so long.
        """
        audit = Audit(poll_interval=self._subject.poll_interval)
        async with asyncio.timeout(at_most), self._fresh_reader() as reader:
            audit.partitions = await reader.find_topics()
            while await reader.behind():
                for record in await reader.read(seconds=_READ_SECONDS):
                    audit.saw(record)
        await self._learn(audit)
        outages: Mapping[str, Sequence[Sequence[float | None]]] = {
            **await asyncio.to_thread(self._cloud.outages),
            "*": harness_outages,
        }
        audit.excuse(outages)
        audit.absent(self._absences)
        audit.killed(killed)
        return audit.verdict()

    async def _step(self, seconds: float) -> None:
        records = await self._reader.read(seconds=seconds)
        for record in records:
            self._seen.saw(record)
        if records:
            self._watch(records)

    async def _learn(self, audit: Audit) -> None:
        for line in await asyncio.to_thread(lambda: list(self._cloud.record())):
            audit.expect(line)

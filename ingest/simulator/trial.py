"""One audited run, from the outside: read along, freeze, drain, judge."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ingest.simulator.audit import Audit, Observed
from ingest.simulator.reader import Reader
from ingest.simulator.remote import RemoteCloud
from ingest.simulator.verdict import Verdict

_READ_SECONDS = 0.2
_REFRESH_SECONDS = 2.0
_END_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Subject:
    """What the audit needs to know of the daemon: read from its configuration, by name."""

    bootstrap: str
    prefix: str
    poll_interval: float
    ca_file: Path
    status_url: str | None

    @classmethod
    def of(cls, config: Path) -> "Subject":
        """Read it from the daemon's configuration file.

        Raises:
            ValueError: if something is missing there.
        """
        content: dict[str, Any] = yaml.safe_load(config.read_text())
        try:
            listen = content.get("listen", {})
            port = listen.get("port", 9464)
            return cls(
                bootstrap=",".join(content["kafka"]["bootstrap_servers"]),
                prefix=content["kafka"].get("prefix", "defender"),
                poll_interval=float(content.get("poll", {}).get("interval_seconds", 60)),
                ca_file=Path(content["ca_file"]),
                status_url=f"http://{listen.get('host', '127.0.0.1')}:{port}" if port else None,
            )
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{config} has no {error}; the simulator writes one that has"
            ) from error


class Trial:
    """The reader and the audit of one run.

    Args:
        subject: the daemon.
        cloud: the simulator.
        reader: reads what the daemon published.
        watch: called with what was read, as it comes.
    """

    def __init__(
        self,
        *,
        subject: Subject,
        cloud: RemoteCloud,
        reader: Reader,
        watch: Callable[[Sequence[Observed]], None] = lambda _: None,
    ) -> None:
        self._cloud = cloud
        self._reader = reader
        self._watch = watch
        self._refreshed = 0.0
        self.audit = Audit(poll_interval=subject.poll_interval)

    async def find_topics(self) -> None:
        """Wait until the daemon's topics exist."""
        self.audit.partitions = await self._reader.find_topics()

    async def follow(self, *, seconds: float) -> None:
        """Read along for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            await self._step(min(left, _READ_SECONDS))

    async def drain(self, *, at_most: float) -> int:
        """Freeze the simulator and read until every current version was seen.

        Returns the number of those that were not seen after `at_most` seconds.
        """
        await asyncio.to_thread(self._cloud.freeze)
        end = time.monotonic() + at_most
        await self._refresh()
        while (missing := self.audit.missing()) and time.monotonic() < end:
            await self._step(_READ_SECONDS)
            if time.monotonic() - self._refreshed > _REFRESH_SECONDS:
                await self._refresh()
        return missing

    async def judge(self, *, harness_outages: Sequence[tuple[float, float]] = ()) -> Verdict:
        """Read to the end and judge; the daemon has been stopped or is quiet.

        Args:
            harness_outages: times in which whoever ran this kept the daemon itself from reading.

        Raises:
            TimeoutError: if an open transaction hides the end for a minute.
        """
        async with asyncio.timeout(_END_SECONDS):
            while await self._reader.behind():
                await self._step(_READ_SECONDS)
        await self._refresh()
        outages: Mapping[str, Sequence[Sequence[float | None]]] = {
            **await asyncio.to_thread(self._cloud.outages),
            "*": harness_outages,
        }
        self.audit.excuse(outages)
        return self.audit.verdict()

    async def _step(self, seconds: float) -> None:
        records = await self._reader.read(seconds=seconds)
        for record in records:
            self.audit.saw(record)
        if records:
            self._watch(records)

    async def _refresh(self) -> None:
        for line in await asyncio.to_thread(lambda: list(self._cloud.record())):
            self.audit.expect(line)
        self._refreshed = time.monotonic()

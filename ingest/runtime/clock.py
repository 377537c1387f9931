"""The local clock: the only place that asks the operating system for the time."""

import asyncio
import time


class SystemClock:
    """Implements `ingest.pipeline.ports.Clock` with the event loop's sleep."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def unix(self) -> float:
        """Return Unix seconds."""
        return time.time()  # noqa: TID251 - this is the Clock

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        await asyncio.sleep(seconds)

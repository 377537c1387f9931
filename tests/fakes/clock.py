"""A clock on the event loop's own time: virtual under looptime, so that nothing really sleeps."""

import asyncio


class LoopClock:
    def __init__(self, *, epoch: float = 1_700_000_000.0) -> None:
        self._epoch = epoch

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def unix(self) -> float:
        return self._epoch + asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

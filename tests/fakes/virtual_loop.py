"""An event loop whose time passes only while nothing else happens, for tests that run it step by step.

looptime's would do as well, at three times the cost.
"""

import asyncio
import selectors


class _Jumping(selectors.DefaultSelector):
    """Waits by moving time on."""

    now = 0.0

    def select(self, timeout: float | None = None):
        if timeout is None:
            raise RuntimeError("nothing will ever happen")
        self.now += max(0.0, timeout)
        return super().select(0) if timeout else []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

"""One HTTP listener: opened as a stage, with a clear word where its address cannot be had."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar

from aiohttp import web

from ingest.errors import SettingsError

_Made = TypeVar("_Made")


class Listener:
    """Serves an application while its context is entered; `url` is known from then on.

    Args:
        app: what is served.
        host: the address.
        port: the port; 0 takes a free one.
        section: of the settings, for the error.
    """

    def __init__(self, app: web.Application, *, host: str, port: int, section: str) -> None:
        self._host, self._port, self._section = host, port, section
        # No access log: an address line may hold what lets somebody in.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        self.url = ""

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            SettingsError: the address cannot be listened on.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            problem = (
                f"{self._section}.host, {self._section}.port: cannot listen on "
                f"{self._host}:{self._port}: {error.strerror or error}; choose another (0 takes a free port)"
            )
            raise SettingsError([problem]) from None
        host, port, *_ = self._runner.addresses[0]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        await self._runner.cleanup()


class Serving:
    """What answers behind a listener while its context is entered; `url` is known from then on.

    What takes a while to make is made aside, in a thread: so it holds the loop for moments only.
    """

    def __init__(self, listener: Listener, *, thread: str) -> None:
        self._listener = listener
        self._thread = ThreadPoolExecutor(1, thread)

    @property
    def url(self) -> str:
        """Where it is reached."""
        return self._listener.url

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            SettingsError: the address cannot be listened on.
        """
        await self._listener.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        await self._listener.__aexit__()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _aside(self, make: Callable[[], _Made]) -> _Made:
        return await asyncio.get_running_loop().run_in_executor(self._thread, make)

"""Chromium without a screen, driven over its own debugging protocol: what a person would see and press.

No driver beside it is needed: the protocol is JSON over a web socket.
"""

import asyncio
import base64
import itertools
import json
import shutil
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

NAMES = ("chromium", "chromium-browser", "google-chrome")
_SECONDS = 60.0


def program() -> str | None:
    """Return the browser of this machine, None where it has none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page of one browser, with a profile of its own."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()
        self.complaints: list[str] = []

    @classmethod
    @asynccontextmanager
    async def open(cls, profile: Path):
        """Start a browser, and end it with the context."""
        found = program()
        assert found is not None
        process = await asyncio.create_subprocess_exec(
            found,
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--no-first-run", "--disable-background-networking", "--hide-scrollbars"),
            # The simulated cloud's authority is nobody's.
            "--ignore-certificate-errors",
            *("--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with ClientSession() as session:
                url = await cls._page_url(session, profile)
                async with session.ws_connect(url, max_msg_size=0) as socket:
                    browser = cls(socket)
                    reading = asyncio.create_task(browser._read())
                    try:
                        await browser._begin()
                        yield browser
                    finally:
                        reading.cancel()
                        await asyncio.gather(reading, return_exceptions=True)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    @staticmethod
    async def _page_url(session: ClientSession, profile: Path) -> str:
        file = profile / "DevToolsActivePort"
        async with asyncio.timeout(_SECONDS):
            while not file.exists() or not file.read_text().strip():
                await asyncio.sleep(0.05)
            port = file.read_text().split()[0]
            while True:
                async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                    pages = [one for one in await answer.json() if one["type"] == "page"]
                if pages:
                    return pages[0]["webSocketDebuggerUrl"]
                await asyncio.sleep(0.05)

    async def _begin(self) -> Self:
        for domain in ("Page", "Log", "Runtime"):
            await self._tell(f"{domain}.enable")
        await self.size(900, 1000)
        return self

    async def size(self, width: int, height: int) -> None:
        """Make the page as large as some screen, in pixels."""
        await self._tell(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    async def open_page(self, url: str) -> None:
        """Go to an address, and wait until it has loaded."""
        async with self._leads_on():
            await self._tell("Page.navigate", url=url)

    async def press(self, text: str) -> None:
        """Go to a button or link by the keyboard alone, press it, and wait for what it leads to."""
        for _ in range(60):
            await self._key("Tab", 9)
            focused = await self.value("document.activeElement.innerText || ''")
            if focused.strip() == text:
                break
        else:
            raise AssertionError(f"the keyboard does not reach {text!r}")
        async with self._leads_on():
            await self._key("Enter", 13, text="\r")

    async def value(self, expression: str) -> Any:
        """Return what an expression says on the page."""
        answer = await self._tell(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def choose(self, selector: str, value: str) -> None:
        """Choose from a list."""
        await self.value(f"document.querySelector({selector!r}).value = {value!r}")

    async def scheme(self, name: str) -> None:
        """Prefer `light` or `dark`."""
        media = [{"name": "prefers-color-scheme", "value": name}]
        await self._tell("Emulation.setEmulatedMedia", features=media)

    async def screenshot(self, file: Path) -> None:
        answer = await self._tell("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(answer["data"]))

    @asynccontextmanager
    async def _leads_on(self):
        self._loaded.clear()
        yield
        async with asyncio.timeout(_SECONDS):
            await self._loaded.wait()

    async def _key(self, key: str, code: int, **more: str) -> None:
        for kind in ("keyDown", "keyUp"):
            words = more if kind == "keyDown" else {}
            await self._tell(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                windowsVirtualKeyCode=code,
                **words,
            )

    async def _tell(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(_SECONDS):
            return await answer

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is not WSMsgType.TEXT:
                continue
            content = json.loads(message.data)
            if "id" in content:
                answer = self._answers.pop(content["id"])
                if "error" in content:
                    answer.set_exception(AssertionError(str(content["error"])))
                else:
                    answer.set_result(content["result"])
            elif content["method"] == "Page.loadEventFired":
                self._loaded.set()
            elif content["method"] == "Log.entryAdded":
                entry = content["params"]["entry"]
                if entry["level"] in ("error", "warning"):
                    self.complaints.append(f"{entry['text']} {entry.get('url', '')}")

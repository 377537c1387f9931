"""The simulated cloud behind identity's HTTP, without sockets or threads: real MSAL in virtual time."""

import asyncio
from urllib.parse import urlencode, urlsplit

from ingest.identity.http import Answer, Exchange
from ingest.simulator.cloud import SimulatedCloud


class CloudHttp:
    """In the place of `TokenHttp`; `posts` are the paths that were asked."""

    def __init__(self, cloud: SimulatedCloud) -> None:
        self._cloud = cloud
        self.posts: list[str] = []

    def exchange(self) -> Exchange:
        return Exchange(self._send)

    def close(self) -> None:
        pass

    def _send(self, url, *, data, headers) -> Answer:
        parts = urlsplit(url)
        self.posts.append(parts.path)
        heads = {"host": parts.netloc} | {name.lower(): str(one) for name, one in headers.items()}
        body = urlencode({name: _text(value) for name, value in data.items()}).encode()
        answer = self._cloud.handle("POST", parts.path, "", heads, body)
        return Answer(answer.status, answer.body.decode(), answer.headers)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def in_the_loop(loop, seconds: float):
    """Return what `run_in_executor` is to be: the work at once, its answer `seconds` later."""

    async def work(call):
        try:
            return call()
        finally:
            await asyncio.sleep(seconds)

    return lambda _, call: work(call)

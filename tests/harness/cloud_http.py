"""The simulated cloud behind identity's HTTP, without sockets: real MSAL in virtual time."""

import asyncio
from urllib.parse import urlencode, urlsplit

from ingest.identity.http import Answer
from ingest.simulator.cloud import SimulatedCloud

ROUND_TRIP_SECONDS = 0.05


class CloudHttp:
    """In the place of `LoginHttp`; `posts` are the paths that were asked."""

    def __init__(self, cloud: SimulatedCloud) -> None:
        self._cloud = cloud
        self.posts: list[str] = []

    async def post(self, url, *, fields, headers) -> Answer:
        parts = urlsplit(url)
        self.posts.append(parts.path)
        heads = {"host": parts.netloc} | {name.lower(): str(one) for name, one in headers.items()}
        answer = self._cloud.handle("POST", parts.path, "", heads, urlencode(fields).encode())
        await asyncio.sleep(ROUND_TRIP_SECONDS)
        return Answer(answer.status, answer.body.decode(), answer.headers)

"""A broker that refuses on demand: a proxy before Apache Kafka that keeps records from it.

What it refuses never reaches the broker, so that a client which commits all the same loses it for good;
what it loses the answer of has reached it, so that a client which sends it again has it twice.
"""

import asyncio
import struct
from collections import Counter, deque
from contextlib import suppress
from io import BytesIO

from aiokafka.protocol.produce import ProduceRequest_v7, ProduceResponse_v7
from aiokafka.protocol.types import Int32, String

_PRODUCE, _END_TXN = 0, 26
_HEADER = struct.Struct(">hhi")


class RefusingProxy:
    """Passes everything on but what it is told to refuse.

    `refusals` holds error codes for the next produce requests to `topic`, 0 for one that passes;
    `lost_ends` counts the answers to ends of transactions that are lost on their way back.
    """

    def __init__(self, *, port: int, upstream: int) -> None:
        self._port = port
        self._upstream = upstream
        self.topic = ""
        self.refusals: deque[int] = deque()
        self.lost_ends = 0
        self.done: Counter[str] = Counter()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._meet, "127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _meet(self, reader, writer) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            near, far = await asyncio.open_connection("127.0.0.1", self._upstream)
            try:
                with suppress(asyncio.IncompleteReadError, ConnectionError):
                    while True:
                        if not await self._exchange(reader, writer, near, far):
                            return
            finally:
                far.close()
        except asyncio.CancelledError:
            # The end of the test.
            return
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _exchange(self, reader, writer, near, far) -> bool:
        """Pass one request on and its answer back; False ends the connection."""
        request = await _frame(reader)
        key, version, correlation = _HEADER.unpack_from(request)
        refused = []
        if key == _PRODUCE and version == ProduceRequest_v7.API_VERSION:
            request, refused = self._without_refused(request)
        if request:
            far.write(struct.pack(">i", len(request)) + request)
            answer = await _frame(near)
            if refused:
                answer = _with_refused(answer[4:], correlation, refused)
        else:
            answer = _with_refused(b"", correlation, refused)
        if key == _END_TXN and self.lost_ends:
            self.lost_ends -= 1
            self.done["lost end"] += 1
            return False
        writer.write(struct.pack(">i", len(answer)) + answer)
        return True

    def _without_refused(self, request: bytes):
        """Return the request without what is refused, empty if that is all of it, and what it was."""
        stream = BytesIO(request)
        stream.seek(_HEADER.size)
        String("utf-8").decode(stream)
        header = request[: stream.tell()]
        decoded = ProduceRequest_v7.decode(stream)
        if not any(topic == self.topic for topic, _ in decoded.topics) or not self.refusals:
            return request, []
        code = self.refusals.popleft()
        if code == 0:
            return request, []
        self.done[f"refused {code}"] += 1
        kept = [entry for entry in decoded.topics if entry[0] != self.topic]
        refused = [
            (topic, [(partition, code, -1, -1, -1) for partition, _ in partitions])
            for topic, partitions in decoded.topics
            if topic == self.topic
        ]
        if not kept:
            return b"", refused
        rest = ProduceRequest_v7(
            decoded.transactional_id, decoded.required_acks, decoded.timeout, kept
        )
        return header + rest.encode(), refused


def _with_refused(answer: bytes, correlation: int, refused: list) -> bytes:
    topics = list(ProduceResponse_v7.decode(BytesIO(answer)).topics) if answer else []
    return Int32.encode(correlation) + ProduceResponse_v7(topics + refused, 0).encode()


async def _frame(reader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)

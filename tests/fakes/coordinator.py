"""A group's coordinator as one member sees it, and the admin client that asks it."""

import asyncio
from types import SimpleNamespace

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaConnectionError

TOPIC, INSTANCE = "defender.tenants", "one"
SHARDS = range(3)


class Coordinator:
    """`latency` is how long an answer takes; it says what was so in the middle of it."""

    def __init__(self) -> None:
        self.history: list[tuple[float, frozenset[int] | None]] = [(0.0, frozenset())]
        self.latency = 0.0
        self.fails = False
        self.asking = self.most_asking = 0

    @property
    def placed(self) -> frozenset[int] | None:
        """What is placed on us; None while the group rebalances."""
        return self.history[-1][1]

    def place(self, placed: frozenset[int] | None) -> None:
        self.history.append((asyncio.get_running_loop().time(), placed))

    def was_placed(self, shard: int, since: float) -> bool:
        """Tell whether a shard was ours at any time since an instant."""
        ends = [at for at, _ in self.history[1:]] + [float("inf")]
        views = zip(self.history, ends, strict=True)
        return any(shard in (placed or ()) and end >= since for (_, placed), end in views)

    async def start(self) -> None:
        await asyncio.sleep(self.latency / 2)

    async def stop(self) -> None:
        await asyncio.sleep(0)

    async def describe_consumer_groups(self, groups: list[str]) -> list[SimpleNamespace]:
        self.asking += 1
        self.most_asking = max(self.most_asking, self.asking)
        try:
            await asyncio.sleep(self.latency / 2)
            if self.fails:
                raise KafkaConnectionError
            state = "PreparingRebalance" if self.placed is None else "Stable"
            members = [] if self.placed is None else self._members(self.placed)
            await asyncio.sleep(self.latency / 2)
        finally:
            self.asking -= 1
        return [SimpleNamespace(groups=[(0, groups[0], state, "consumer", "sticky", members)])]

    def _members(self, ours: frozenset[int]) -> list[tuple[str, str, str, bytes, bytes]]:
        shares = {INSTANCE: ours, "other": frozenset(SHARDS) - ours}
        return [
            (name, f"defender-ingest-{name}", "", b"", _encoded(share))
            for name, share in shares.items()
        ]


def _encoded(share: frozenset[int]) -> bytes:
    return ConsumerProtocolMemberAssignment(0, [(TOPIC, sorted(share))], b"").encode()

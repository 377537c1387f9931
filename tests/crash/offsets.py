"""What a broker shows of open transactions: the last stable offset lies below the high watermark."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient


class Offsets:
    """Asks for the ends of every partition of some topics, as each isolation level has them."""

    def __init__(self, *, bootstrap: str, topics: Sequence[str]) -> None:
        self._bootstrap = bootstrap
        self._topics = list(topics)
        self._stable = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, isolation_level="read_committed"
        )
        self._high = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, isolation_level="read_uncommitted"
        )

    async def __aenter__(self) -> Self:
        await self._stable.start()
        await self._high.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stable.stop()
        await self._high.stop()

    async def _partitions(self) -> list[TopicPartition]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        await admin.start()
        try:
            described = await admin.describe_topics(self._topics)
        finally:
            await admin.close()
        return [
            TopicPartition(topic["topic"], partition["partition"])
            for topic in described
            for partition in topic["partitions"]
        ]

    async def written(self) -> int:
        """Return how many offsets were ever used; topics that are not there yet have none."""
        return sum((await self._high.end_offsets(await self._partitions())).values())

    async def open(self) -> list[str]:
        """Return the partitions in which a transaction is open, with both offsets."""
        partitions = await self._partitions()
        # In this order: what is written in between makes no transaction look open that is not.
        high = await self._high.end_offsets(partitions)
        stable = await self._stable.end_offsets(partitions)
        return [
            f"{place.topic}/{place.partition} {stable[place]}<{high[place]}"
            for place in partitions
            if stable[place] < high[place]
        ]

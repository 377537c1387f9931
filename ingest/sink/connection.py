"""What every Kafka client of ours has in common: the one home of its configuration."""

from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaConnectionError

from ingest.errors import SinkError
from ingest.settings.models import Kafka
from ingest.sink.diagnosis import diagnose
from ingest.sink.refusals import translate
from ingest.sink.security import Security

BATCH_BYTES = 512 * 1024
"""Uncompressed bytes of one batch for one partition; measured best with zstd."""

_LINGER_MS = 0
"""Batches are built by us, so that none has to wait for company."""

_IDLE_MS = 180_000
"""Event Hubs, and many a load balancer, drop what was idle for four minutes, without a word."""

_HEARTBEAT_MS = 1000
_REBALANCE_SHARE = 0.8
"""A rebalance ends before a member that is frozen through it is expelled for its silence."""

_Client = TypeVar("_Client", AIOKafkaConsumer, AIOKafkaProducer, AIOKafkaAdminClient)


class Connection:
    """Makes clients from the settings; owns none of them.

    Raises:
        SettingsError: a file of `kafka.tls` or `kafka.sasl` cannot be used.
    """

    def __init__(self, *, settings: Kafka, client_id: str) -> None:
        self._settings = settings
        self._client_id = client_id
        self._security = Security(settings)

    @property
    def servers(self) -> str:
        """The bootstrap servers, for messages."""
        return ", ".join(self._settings.bootstrap_servers)

    @property
    def principal(self) -> str:
        """Whom the brokers take us for, for messages."""
        return self._security.principal

    async def explain(self, error: BaseException, doing: str, resource: str) -> SinkError:
        """Translate an error; where no broker takes us, find out why and say that."""
        if isinstance(error, KafkaConnectionError | TimeoutError):
            options, principal = self._security.options, self.principal
            if trouble := await diagnose(self._settings, options, principal):
                return type(trouble)(f"could not {doing} {resource}: {trouble}")
        return translate(error, doing, resource, principal=self.principal)

    def _following(self, client: _Client) -> _Client:
        self._security.follow(client)
        return client

    def _common(self) -> dict[str, Any]:
        return {
            "bootstrap_servers": list(self._settings.bootstrap_servers),
            "client_id": self._client_id,
            "request_timeout_ms": round(self._settings.request_timeout_seconds * 1000),
            "retry_backoff_ms": 50,
            "connections_max_idle_ms": _IDLE_MS,
            "metadata_max_age_ms": _IDLE_MS,
            **self._security.options,
        }

    def producer(self, transactional_id: str, *, batch_bytes: int) -> AIOKafkaProducer:
        """Return a transactional producer that is not started."""
        return self._following(
            AIOKafkaProducer(
                **self._common(),
                transactional_id=transactional_id,
                transaction_timeout_ms=round(self._settings.transaction_timeout_seconds * 1000),
                **self._packing(batch_bytes),
            )
        )

    def acknowledged_producer(self, *, batch_bytes: int) -> AIOKafkaProducer:
        """Return a producer without transactions, for a shard's batches, that is not started."""
        return self._following(
            AIOKafkaProducer(**self._common(), **self._safety, **self._packing(batch_bytes))
        )

    def _packing(self, batch_bytes: int) -> dict[str, Any]:
        codec = self._settings.compression
        return {
            # zstd, not lz4: aiokafka's lz4 is fixed at its slowest level.
            "compression_type": None if codec == "none" else codec,
            "max_batch_size": batch_bytes,
            "max_request_size": 64 * 1024 * 1024,
            "linger_ms": _LINGER_MS,
        }

    @property
    def _safety(self) -> dict[str, Any]:
        return {"enable_idempotence": self._settings.idempotence, "acks": "all"}

    def consumer(self, *, wait_ms: int = 50, min_bytes: int = 1) -> AIOKafkaConsumer:
        """Return a `read_committed` consumer of no group that is not started.

        Args:
            wait_ms: how long a broker keeps a question for records that are not there yet.
            min_bytes: with so many it is answered before that.
        """
        return self._following(
            AIOKafkaConsumer(
                **self._common(),
                group_id=None,
                isolation_level="read_committed",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                fetch_max_wait_ms=wait_ms,
                fetch_min_bytes=min_bytes,
            )
        )

    def member(self, group: str, client_id: str) -> AIOKafkaConsumer:
        """Return a member of a group that is not started; it places shards and reads nothing.

        `client_id` must be unique to this member: the coordinator's view is searched for it.
        """
        session = round(self._settings.session_timeout_seconds * 1000)
        rebalance = round(session * _REBALANCE_SHARE)
        # aiokafka keeps the assignor's memory in its class: a class of its own for each member.
        sticky = type("Sticky", (StickyPartitionAssignor,), {"member_assignment": None})
        return self._following(
            AIOKafkaConsumer(
                **{
                    **self._common(),
                    "client_id": client_id,
                    # A join waits as long as a rebalance may take.
                    "request_timeout_ms": rebalance + 1000,
                },
                group_id=group,
                # One, and only one: aiokafka sends a join for each.
                partition_assignment_strategy=(sticky,),
                session_timeout_ms=session,
                heartbeat_interval_ms=min(_HEARTBEAT_MS, session // 3),
                rebalance_timeout_ms=rebalance,
                enable_auto_commit=False,
                auto_offset_reset="latest",
            )
        )

    def plain_producer(self) -> AIOKafkaProducer:
        """Return a producer without transactions, for single records, that is not started."""
        return self._following(
            AIOKafkaProducer(**self._common(), **self._safety, linger_ms=_LINGER_MS)
        )

    def admin(self) -> AIOKafkaAdminClient:
        """Return an admin client that is not started."""
        return self._following(AIOKafkaAdminClient(**self._common()))

"""What is done for each kind of fault: it is held for its time and undone, whatever happens meanwhile."""

from collections.abc import Awaitable, Callable, Mapping

from tests.chaos import on_brokers, on_replicas, on_tenants
from tests.chaos.cluster import Cluster
from tests.chaos.plan import Fault

DO: Mapping[str, Callable[[Cluster, Fault], Awaitable[str | None]]] = {
    "kill": on_replicas.kill,
    "term": on_replicas.term,
    "loop_blocked": on_replicas.freeze,
    "zombie": on_replicas.freeze,
    "zombie_in_transaction": on_replicas.freeze_in_transaction,
    "clock_jump": on_replicas.jump,
    "cut_from_brokers": on_replicas.cut_from_brokers,
    "cut_from_one_broker": on_replicas.cut_from_one_broker,
    "cut_from_apis": on_replicas.cut_from_apis,
    "broker_killed": on_brokers.kill,
    "broker_frozen": on_brokers.freeze,
    "disk_full": on_brokers.fill_disk,
    "replica_added": on_replicas.add,
    "replica_removed": on_replicas.remove,
    "rolling_restart": on_replicas.restart_all,
    "tenant_added": on_tenants.add,
    "tenant_removed": on_tenants.remove,
    "tenant_paused": on_tenants.pause,
}
"""Each returns what is worth saying of it, if anything."""

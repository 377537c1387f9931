"""Every metric of the daemon, with what it means.

`docs/metrics.md` is generated from it; a metric that is not in it cannot be made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ingest.model.memory import Kind, Reason
from ingest.model.status import State
from ingest.model.window import Tier

PREFIX = "defender_ingest_"


@dataclass(frozen=True, slots=True)
class Described:
    """One metric of the catalogue.

    `labels` has each label's values that are known beforehand. They are there from the start: Prometheus
    sees no rise in a series that begins at 1.
    """

    kind: Literal["counter", "gauge", "histogram"]
    text: str
    labels: Mapping[str, tuple[str, ...]] | None = None
    buckets: tuple[float, ...] = ()


_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)

_TIERS = tuple(map(str, Tier))
_STATES = tuple(map(str, State))

_CALLS = (
    *("ok", "throttled", "unauthorized", "forbidden", "not_found", "cancelled"),
    *("http_400", "http_500", "http_502", "http_503", "http_504"),
    *("timeout", "network", "tls", "proxy", "unreadable", "too_large"),
)
_TOKENS = (
    *("ok", "not_consented", "service_missing", "no_permission", "cancelled"),
    *("secret_expired", "bad_secret", "bad_certificate", "bad_federation"),
    *("bad_assertion", "assertion_expired", "entra_timeout", "entra_network", "entra_tls"),
    *("entra_proxy", "entra_unwell", "entra_unreadable"),
)
_QUARANTINE = (
    *("no_id", "bad_id", "no_time", "bad_time", "not_an_object", "undecodable"),
    *("too_large", "invalid_record", "corrupt_record", "refused"),
)

CATALOGUE: dict[str, Described] = {
    "alerts_received_total": Described(
        "counter", "Records that the API returned, of committed decisions."
    ),
    "alerts_published_total": Described(
        "counter", "Versions published, by what happened.", {"kind": tuple(map(str, Kind))}
    ),
    "alerts_duplicates_total": Described(
        "counter", "Records that Kafka has already; overlaps make them on purpose."
    ),
    "alerts_stale_total": Described(
        "counter",
        "Records older than what was published (`stale`) or than memory reaches (`beyond`).",
        {"reason": (str(Reason.STALE), str(Reason.BEYOND))},
    ),
    "alerts_quarantined_total": Described(
        "counter", "Records set aside in the quarantine topic, by reason.", {"reason": _QUARANTINE}
    ),
    "alerts_late_total": Described(
        "counter", "Published versions that became visible after the fast watermark had passed."
    ),
    "alerts_future_total": Described(
        "counter", "Published versions dated after the API's own clock."
    ),
    "alerts_silent_total": Described(
        "counter", "Published versions whose content changed without their time."
    ),
    "alerts_flapping_total": Described(
        "counter", "Records whose content flaps at one time; not published again."
    ),
    "sweeps_total": Described(
        "counter",
        "Readings of a window, by tier and outcome; `whole` is the good one.",
        {"tier": _TIERS, "outcome": ("whole", "cut_short")},
    ),
    "sweep_seconds": Described(
        "histogram", "Duration of a reading.", {"tier": _TIERS}, buckets=_SECONDS
    ),
    "sweep_doubts_total": Described(
        "counter", "Boxes that could not be proven whole; slow readings come back to them."
    ),
    "state_transitions_total": Described(
        "counter", "Tenants entering a state.", {"state": _STATES}
    ),
    "source_requests_total": Described(
        "counter", "Calls to the alert API, by outcome.", {"outcome": _CALLS}
    ),
    "source_request_seconds": Described(
        "histogram", "Duration of a call to the alert API.", buckets=_SECONDS
    ),
    "source_records_total": Described(
        "counter", "Records that the alert API returned, whatever became of them."
    ),
    "source_bytes_total": Described("counter", "Decompressed bytes read from the alert API."),
    "source_budget_wait_seconds_total": Described(
        "counter", "Seconds that calls waited for their tenant's budget, over all tenants."
    ),
    "source_throttled_seconds_total": Described(
        "counter", "Seconds that the alert API asked to be left alone, over all tenants."
    ),
    "source_links_refused_total": Described(
        "counter", "`nextLink`s to another origin or path; never followed."
    ),
    "source_memory_bytes": Described("gauge", "Bytes of answers in memory now."),
    "token_requests_total": Described(
        "counter", "Token requests to Entra ID, by outcome.", {"outcome": _TOKENS}
    ),
    "token_request_seconds": Described(
        "histogram", "Duration of a token request.", buckets=_SECONDS
    ),
    "credential_rejected": Described(
        "gauge", "1 while Entra ID refuses our credential for more than one tenant."
    ),
    "credential_expires_timestamp_seconds": Described(
        "gauge",
        "When our credential expires; absent where nobody knows.",
        {"kind": ()},
    ),
    "consents_total": Described(
        "counter", "Visits to the consent page, by what came of them.", {"outcome": ("active",)}
    ),
    "transactions_total": Described(
        "counter",
        "Kafka transactions, by outcome.",
        {"outcome": ("committed", "aborted")},
    ),
    "commit_seconds": Described(
        "histogram", "Duration of a transaction, begin to committed.", buckets=_SECONDS
    ),
    "records_committed_total": Described("counter", "Records in committed transactions."),
    "shards_placed": Described("gauge", "Shards that the consumer group has placed here."),
    "shard_placements_total": Described(
        "counter", "Times that the consumer group placed shards here, others or the same."
    ),
    "shards_ready": Described("gauge", "Shards whose producer is initialised and state restored."),
    "shard_restarts_total": Described("counter", "Shards that went back to their checkpoint."),
    "tasks_restarted_total": Described(
        "counter", "Tasks that ended unbidden and were started again.", {"task": ("reader",)}
    ),
    "started_timestamp_seconds": Described("gauge", "When this process started."),
    "build_info": Described("gauge", "Always 1; the version is a label.", {"version": ()}),
    "tenants": Described("gauge", "Tenants by state.", {"state": _STATES}),
    "tenants_registered": Described(
        "gauge",
        "Tenants registered in the shards that are placed here; should equal the sum of `tenants`.",
    ),
    "freshness_tenants": Described(
        "gauge",
        "Tenants whose last complete reading is at most that many seconds old.",
        {"within_seconds": ()},
    ),
    "reconciled_tenants": Described(
        "gauge",
        "Tenants whose last complete reconciling reading is at most that many seconds old.",
        {"within_seconds": ()},
    ),
    "freshness_max_seconds": Described(
        "gauge", "Age of the oldest last complete reading; tenants never read count from start."
    ),
    "remembered_alerts": Described("gauge", "Alerts remembered, over all tenants."),
    "tenant_state_since_timestamp_seconds": Described(
        "gauge",
        "Since when a tenant that is not healthy is in its state. Only such tenants have it.",
        {"tenant": (), "name": (), "state": (), "code": (), "must_act": ()},
    ),
    "tenant_fresh_timestamp_seconds": Described(
        "gauge",
        "Start of the last complete reading of a tenant that is not healthy.",
        {"tenant": ()},
    ),
}

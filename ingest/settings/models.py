"""The shape of the configuration: frozen sections, units in names, every field explained.

A component is given its section, never the whole. The docstring under a field is its description in
`docs/configuration.md` and in the schema.
"""

from datetime import date
from functools import cached_property
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator

from ingest.model.route import Route
from ingest.model.tenant import Tenant, is_guid, labels_of
from ingest.settings.admin import Admin
from ingest.settings.brokers import Sasl, Tls
from ingest.settings.consent import Consent
from ingest.settings.proxy import Http
from ingest.settings.regions import PUBLIC_LOGIN, Host, Region, with_known
from ingest.settings.section import File, Section


def _port(value: str) -> str:
    if not 0 < int(value.rpartition(":")[2]) <= 65_535:  # noqa: PLR2004
        raise ValueError("must be HOST:PORT with a port up to 65535")
    return value


_LONGEST = 10 * 366 * 86_400
"""Ten years: a longer time is a slip of the unit, and a window before year 1 cannot be asked for."""

Seconds = Annotated[float, Field(gt=0, le=_LONGEST)]
SecondsOrNone = Annotated[float, Field(ge=0, le=_LONGEST)]
Server = Annotated[
    str, Field(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$"), AfterValidator(_port)
]
Day = Annotated[date, Field(strict=False)]
HeaderText = Annotated[str, Field(pattern=r"^[!-~]([ -~]*[!-~])?$")]


class Entra(Section):
    """The partner's multi-tenant application in Entra ID."""

    client_id: str
    """The application's (client) id, a GUID."""

    client_secret: SecretStr | None = None
    """The application's secret. Better: `client_secret_file`, and better still a certificate or a federated
    token. Exactly one of the three is needed. All files are read again when they change."""

    client_secret_file: File | None = None
    """A file that holds the secret; white space around it is ignored."""

    client_secret_expires: Day | None = None
    """The day on which the secret expires (UTC), such as 2027-03-31, as the Entra portal shows it: nothing
    else can tell. It counts until another secret is put into the file."""

    certificate: SecretStr | None = None
    """The application's certificate and its RSA key: PEM, or a PFX in base64. Better: `certificate_file`."""

    certificate_file: File | None = None
    """A file with the certificate, and its key where that has no file of its own: PEM or PFX."""

    certificate_key_file: File | None = None
    """A PEM file with the certificate's private key, where it is not in `certificate_file`."""

    certificate_passphrase: SecretStr | None = None
    """The passphrase of the key or PFX, where it has one. Better: `certificate_passphrase_file`."""

    certificate_passphrase_file: File | None = None
    """A file that holds the passphrase; white space around it is ignored."""

    federated_token_file: File | None = None
    """A file with another issuer's token for the application, as Kubernetes' workload identity writes it
    (`AZURE_FEDERATED_TOKEN_FILE`)."""

    expiry_warning_days: int = Field(default=30, ge=0, le=3650)
    """From so many days before a secret's or certificate's end on it is told of, once a day."""

    login_url: Host = PUBLIC_LOGIN
    """The login host of the cloud that the application is registered in."""

    token_version: Literal["v1", "v2"] = "v2"  # noqa: S105
    """`v2` asks for a scope through MSAL; `v1` sends the older `resource` form."""

    token_requests: int = Field(default=48, ge=1, le=256)
    """Token requests in flight at once; one tenant has at most one. After a start, a fleet's tokens come
    at the pace of this number for each time that Entra ID takes to answer."""

    timeout_seconds: Seconds = 30
    """The bound on one token request."""

    @field_validator("client_id")
    @classmethod
    def _client_id_is_a_guid(cls, value: str) -> str:
        if not is_guid(value.lower()):
            raise ValueError("must be a GUID")
        return value.lower()


class Source(Section):
    """How the alert API is read."""

    user_agent: HeaderText = "MdatpPartner-DefenderIngest/0.1"
    """Sent with every call; Microsoft asks partners for `MdatpPartner-{Company}-{Product}/{Version}`."""

    connections: int = Field(default=512, ge=1)
    """The most open connections to all API hosts together; no more than help are opened."""

    connect_timeout_seconds: Seconds = 10
    """The bound on opening one connection."""

    read_timeout_seconds: Seconds = 30
    """The bound on silence while an answer is read."""

    timeout_seconds: Seconds = 120
    """The bound on one call from start to end; what trickles is cut here."""

    page_size: int = Field(default=10_000, ge=1, le=10_000)
    """`$top`: the API's maximum is 10,000."""

    page_bytes: int = Field(default=64 * 1024 * 1024, ge=64 * 1024)
    """The largest answer, decompressed; above it a smaller question is asked."""

    memory_bytes: int = Field(default=256 * 1024 * 1024, ge=1024 * 1024)
    """All answers in memory together, decompressed; calls wait for room. At least twice `page_bytes`."""

    calls_per_minute: int = Field(default=80, ge=1)
    """Calls to one tenant in any minute; the API's limit is 100."""

    calls_per_hour: int = Field(default=1200, ge=1)
    """Calls to one tenant in any hour; the API's limit is 1,500."""

    @field_validator("memory_bytes")
    @classmethod
    def _is_more_than_one_page(cls, value: int, info: ValidationInfo) -> int:
        # Room for the largest answer is kept back; what is left is for all others.
        if value < 2 * info.data.get("page_bytes", 0):
            raise ValueError(
                "must be at least twice page_bytes, or one large answer would hold all tenants up: "
                "raise it, or lower page_bytes with it"
            )
        return value


class Poll(Section):
    """When a tenant is read, and how far each reading looks back."""

    interval_seconds: Seconds = 60
    """Between two readings of a tenant's newest alerts."""

    overlap_seconds: SecondsOrNone = 300
    """How far each reading starts before the watermark, since alerts become visible late."""

    reconcile_interval_seconds: Seconds = 3600
    """Between two slower readings that look back further."""

    reconcile_look_back_seconds: SecondsOrNone = 86_400
    """How far those look back: what becomes visible later than this is not found."""

    first_look_back_seconds: SecondsOrNone = 604_800
    """How far back a tenant is read when it is read for the first time."""

    parked_probe_seconds: Seconds = 300
    """Before the first probe of a parked tenant; later ones wait up to 16 times as long."""

    quiet_after_seconds: Seconds = 604_800
    """A tenant that answers, and of which nothing new was found for so long, is `quiet`."""

    remembered_alerts: int = Field(default=500_000, ge=1_000)
    """The most alerts that are remembered for one tenant; beyond it the horizon rises, counted."""

    @field_validator("reconcile_look_back_seconds")
    @classmethod
    def _memory_reaches(cls, value: float, info: ValidationInfo) -> float:
        # Of the field, not of the model: it is told beside the section's other mistakes.
        if info.data.get("overlap_seconds", 0.0) > value:
            raise ValueError(
                "must not be less than overlap_seconds: "
                "no reading may look back further than memory reaches"
            )
        return value


class Kafka(Section):
    """Where alerts go."""

    bootstrap_servers: list[Server] = Field(min_length=1)
    """HOST:PORT of one or more brokers."""

    tls: Tls = Tls()
    sasl: Sasl = Sasl()

    prefix: str = Field(default="defender", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    """Names every topic, group and transactional id, so that installations can share a cluster."""

    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    """`at_least_once` is for brokers without transactions: alerts are acknowledged first, and only then the
    checkpoint is written. Nothing is lost; what it costs stands in `docs/guarantees.md`."""

    idempotence: bool = True
    """Let brokers drop what a producer sends twice because an answer was lost. Off is for brokers that refuse
    it, with `at_least_once` alone: such a retry then repeats records."""

    compression: Literal["zstd", "gzip", "none"] = "zstd"
    """Of records on the way and at rest; off `zstd` for brokers that refuse it."""

    request_bytes: int | None = Field(default=None, ge=64 * 1024)
    """The largest request that the brokers take, where it is not much more than a record: batches go one
    after another then, with `at_least_once` alone. Event Hubs: 1000000."""

    encoding: Literal["raw", "cloudevents-structured"] = "raw"
    """What an alert's value is: `raw` is the API's own bytes, with all else in headers.
    `cloudevents-structured` puts a JSON envelope around them, for consumers that lose headers."""

    route: str = "{prefix}.alerts"
    """The topic that a tenant's alerts go to. It may go by what never changes in an alert's life: `{prefix}`,
    `{feed}`, `{region}` and `{label.NAME}`, a label of the tenant. By any but `{prefix}`, `route_topics` is
    needed."""

    route_topics: list[str] = []  # noqa: RUF012 - the library copies it
    """Every topic that `route` may lead to. A tenant whose alerts would go elsewhere is not read."""

    create_topics: bool = True
    """Make topics that are absent; existing ones are checked and never changed."""

    alert_partitions: int = Field(default=12, ge=1, le=10_000)
    """Partitions of the alerts topic when it is made."""

    shards: int = Field(default=32, ge=1, le=1024)
    """The most replicas that can share the work: partitions of the tenants, checkpoints and tenant-status
    topics; raised by `defender-ingest reshard`. Each costs its owner a producer: 0.2 MB, two connections, no
    CPU when idle."""

    session_timeout_seconds: float = Field(default=10, ge=6, le=300)
    """After so long without a heartbeat a replica counts as dead, and others take its tenants over."""

    replication_factor: int = Field(default=3, ge=1)
    """Replicas of topics when they are made; `min.insync.replicas` is one less, at least 1."""

    retention_hours: int = Field(default=168, ge=1)
    """How long the alerts and quarantine topics keep a record when they are made."""

    transaction_timeout_seconds: float = Field(default=20, ge=5, le=900)
    """The bound on one transaction; a dead replica's open one holds readers back this long."""

    request_timeout_seconds: Seconds = 5
    """The bound on one request to a broker."""

    batch_bytes: int = Field(default=8 * 1024 * 1024, ge=64 * 1024)
    """The most that tenants sharing a transaction put into it together."""

    @cached_property
    def routing(self) -> Route:
        """Which topic a tenant's alerts go to."""
        return Route(self.route, self.route_topics, prefix=self.prefix)

    @field_validator("idempotence")
    @classmethod
    def _transactions_are_idempotent(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001
        if not value and info.data.get("delivery") == "exactly_once":
            raise ValueError("must be true for delivery: exactly_once")
        return value

    @field_validator("request_bytes")
    @classmethod
    def _small_requests_are_acknowledged(
        cls, value: int | None, info: ValidationInfo
    ) -> int | None:
        if value is not None and info.data.get("delivery") == "exactly_once":
            raise ValueError("is for delivery: at_least_once")
        return value

    @field_validator("route")
    @classmethod
    def _route_is_sound(cls, value: str) -> str:
        Route.check(value)
        return value

    @field_validator("route_topics")
    @classmethod
    def _route_leads_there(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if {"route", "prefix"} <= info.data.keys():
            Route(info.data["route"], value, prefix=info.data["prefix"])
        return value


class Listen(Section):
    """The listener for probes, metrics and status."""

    host: str = "127.0.0.1"
    """The address to listen on; in a container 0.0.0.0."""

    port: int = Field(default=9464, ge=0, le=65_535)
    """The port; 0 takes a free one and logs it."""


class Metrics(Section):
    """What `/metrics` says of single tenants."""

    tenants: bool = True
    """Give tenants that are not healthy a series each; all others are in counts and histograms."""


class Logs(Section):
    """What the log says."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe event that is written."""

    format: Literal["auto", "json", "console"] = "auto"
    """`auto` is `console` on a terminal and `json` elsewhere."""


class Shutdown(Section):
    """How the process ends."""

    grace_seconds: Seconds = 25
    """The whole of a graceful stop; keep it below the orchestrator's own grace period."""


class TenantEntry(Section):
    """One customer."""

    id: str
    """The GUID of the customer's Entra directory."""

    name: str = Field(min_length=1, max_length=200)
    """A name for people, in logs and headers."""

    region: str = "commercial"
    """A key of `regions`."""

    labels: dict[str, str] = {}  # noqa: RUF012 - the library copies it
    """Your own words about it, such as `tier: gold`: headers of its alerts; `kafka.route` may go by them."""

    @property
    def tenant(self) -> Tenant:
        """The tenant that it means."""
        return Tenant(self.id, self.name, self.region, labels_of(self.labels))

    @field_validator("labels")
    @classmethod
    def _labels_are_sound(cls, value: dict[str, str]) -> dict[str, str]:
        return dict(labels_of(value))

    @field_validator("id")
    @classmethod
    def _id_is_a_guid(cls, value: str) -> str:
        if not is_guid(value.lower()):
            raise ValueError("must be a GUID (the tenant's directory id, not its domain name)")
        return value.lower()


class Settings(Section):
    """The whole configuration of one daemon."""

    entra: Entra
    kafka: Kafka
    http: Http = Http()
    source: Source = Source()
    poll: Poll = Poll()
    listen: Listen = Listen()
    consent: Consent = Consent()
    admin: Admin = Admin()
    metrics: Metrics = Metrics()
    logs: Logs = Logs()
    shutdown: Shutdown = Shutdown()
    ca_file: File | None = None
    """A PEM file of certificate authorities for the login and API hosts, in place of the system's."""

    regions: dict[str, Region] = {}  # noqa: RUF012 - the library copies it
    """API hosts by name, beside Microsoft's own, which are known: commercial, us, eu, uk, au, swa, ina, gcc,
    gcc-high and dod. A token is never sent to any other host."""

    tenants: list[TenantEntry] = []  # noqa: RUF012 - the library copies it
    """Customers to register at start, where they are not yet; all others are known from the tenants topic
    (`defender-ingest tenants`). Taking one out of this list removes nobody."""

    @property
    def served(self) -> dict[str, Region]:
        """The regions whose tenants sign in where this daemon does."""
        return {
            name: region
            for name, region in self.regions.items()
            if region.login_url in (None, self.entra.login_url)
        }

    @property
    def logins(self) -> dict[str, str | None]:
        """The login host of each region, None for whichever is configured."""
        return {name: region.login_url for name, region in self.regions.items()}

    @field_validator("regions")
    @classmethod
    def _microsofts_are_known(cls, value: dict[str, Region]) -> dict[str, Region]:
        return with_known(value)

"""The composition root: the only module that knows every concrete class.

It is one straight line on purpose: the order of its lines is the order of dependence, and the stages
are closed backwards, also when opening fails half-way.
"""

import asyncio
import os
import random
from collections.abc import Coroutine
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from ingest.encode.cloudevents import CloudEvents
from ingest.encode.structured import StructuredCloudEvents
from ingest.identity.consent import directory_consent_url
from ingest.identity.tokens import Tokens
from ingest.model.enrolment import Signature, at_start
from ingest.model.instant import TICKS
from ingest.model.report import RENEW_SECONDS
from ingest.model.roster import Registration
from ingest.model.tenant import FeedKey, Tenant
from ingest.model.window import Reach
from ingest.pipeline.fleet import Fleet
from ingest.pipeline.poller import Poller
from ingest.pipeline.ports import Clock, Source, Topic
from ingest.pipeline.schedule import Schedule
from ingest.pipeline.worker import Worker
from ingest.portal.admin import AdminPortal
from ingest.portal.confirmation import Confirmation
from ingest.portal.consent import ConsentPage
from ingest.portal.consent_desk import ConsentDesk
from ingest.portal.fleet_view import FleetView
from ingest.portal.web import Portal
from ingest.runtime.allocator import spare_collector
from ingest.runtime.clock import SystemClock
from ingest.runtime.shutdown import Stages
from ingest.runtime.supervisor import Supervisor
from ingest.runtime.whoami import whoami
from ingest.settings.models import Poll, Settings
from ingest.sink.admissions import Admissions
from ingest.sink.board import StatusBoard
from ingest.sink.log import KafkaCommitLog
from ingest.sink.registrar import Registrar
from ingest.sink.secret import Secret
from ingest.source.client import DefenderSource
from ingest.telemetry.fleet import FleetCollector
from ingest.telemetry.metrics import (
    ConsentMetrics,
    IdentityMetrics,
    PipelineMetrics,
    RuntimeMetrics,
    SinkMetrics,
    SourceMetrics,
)

_LATE_INTERVALS = 3
"""A tenant that was not read to the end for longer is late on the status page."""


def reach_of(poll: Poll) -> Reach:
    """Turn the poll section into ticks."""
    return Reach(
        overlap=round(poll.overlap_seconds * TICKS),
        look_back=round(poll.reconcile_look_back_seconds * TICKS),
        first=round(poll.first_look_back_seconds * TICKS),
        remembered=poll.remembered_alerts,
    )


async def serve(settings: Settings, *, stop: asyncio.Event) -> int:
    """Run the daemon until `stop` is set or an error asks to end; return the exit code.

    Raises:
        IngestError: with recovery STOP, where it could not even start.
    """
    clock = SystemClock()
    rng = random.Random()
    events: structlog.stdlib.BoundLogger = structlog.get_logger("defender_ingest")
    registry = CollectorRegistry()
    runtime_metrics = RuntimeMetrics(registry)
    runtime_metrics.started(clock.unix())

    grace = settings.shutdown.grace_seconds
    async with Stages(grace_seconds=grace, clock=clock, events=events) as stages:
        tokens = await stages.enter(
            "tokens",
            tokens_of(settings, clock=clock, rng=rng, registry=registry, log=events),
        )
        source = await stages.enter(
            "source",
            source_of(settings, tokens, clock=clock, registry=registry, log=events),
        )
        log = KafkaCommitLog(
            settings=settings.kafka,
            client_id=settings.entra.client_id,
            metrics=SinkMetrics(registry),
            clock=clock,
            log=events,
            rng=rng,
        )
        board = StatusBoard(settings=settings.kafka, clock=clock, rng=rng, log=events)
        fleet = _fleet(settings, source, log, board, clock, rng, PipelineMetrics(registry), events)
        registry.register(
            FleetCollector(
                fleet.snapshot,
                fleet.registered,
                clock.unix,
                per_tenant=settings.metrics.tenants,
            )
        )
        # Before the brokers, and until after them: to wait for them is no reason to be restarted.
        portal = await stages.enter(
            "portal",
            Portal(
                settings=settings.listen,
                registry=registry,
                ready=lambda: ["stopping"] if stop.is_set() else log.not_ready(),
                snapshot=fleet.snapshot,
                delivery=lambda: log.delivery,
                credential=tokens.credential,
                clock=clock,
                log=events,
            ),
        )
        # It waits for brokers, however long that takes; a stop must not wait with it.
        if not await _opened(stages.enter("kafka", log), stop):
            events.info("stopping")
            return 0
        await _enrol(settings, log, clock, events)
        await stages.enter("statuses", board)
        if settings.admin.port is not None:
            admin = await stages.enter("admin", _admin(settings, log, board, clock))
            events.info("admin_listening", url=admin.url)
        if settings.consent.url is not None:
            await stages.enter(
                "consent page", _consent_page(settings, source, log, clock, rng, registry, events)
            )
        supervisor = await stages.enter(
            "readers", Supervisor(clock=clock, rng=rng, metrics=runtime_metrics, events=events)
        )
        fleet.start(supervisor.spawn)
        # The last to be opened is the first to be closed: others take over while this one still ends.
        await stages.enter("membership", log.membership)
        spare_collector()
        events.info("started", tenants=len(log.roster.everybody()), listening=portal.url)
        error = await supervisor.until(stop)
        stop.set()
        if error is None:
            events.info("stopping")
            return 0
        events.error("stopping", error=str(error))
        return getattr(error, "exit_code", os.EX_SOFTWARE)


def tokens_of(
    settings: Settings,
    *,
    clock: Clock,
    rng: random.Random,
    registry: CollectorRegistry,
    log: structlog.stdlib.BoundLogger,
) -> Tokens:
    """Return what gets tokens by a configuration: the daemon's, or a command's own."""
    return Tokens(
        settings=settings.entra,
        regions=settings.served,
        ca_file=settings.ca_file,
        clock=clock,
        rng=rng,
        metrics=IdentityMetrics(registry),
        log=log,
        proxy_of=settings.http.proxy_of,
    )


def source_of(
    settings: Settings,
    tokens: Tokens,
    *,
    clock: Clock,
    registry: CollectorRegistry,
    log: structlog.stdlib.BoundLogger,
) -> DefenderSource:
    """Return what reads alerts with these tokens by a configuration."""
    return DefenderSource(
        settings=settings.source,
        regions=settings.served,
        ca_file=settings.ca_file,
        tokens=tokens,
        clock=clock,
        metrics=SourceMetrics(registry),
        log=log,
        proxy_of=settings.http.proxy_of,
    )


async def _opened(opening: Coroutine[Any, Any, object], stop: asyncio.Event) -> bool:
    """Wait until something is open; False says that a stop was asked for before."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(opening, name="opening")
    asked = loop.create_task(stop.wait(), name="wait for the stop")
    try:
        await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
            return True
        return False
    finally:
        for one in (task, asked):
            one.cancel()
        await asyncio.gather(task, asked, return_exceptions=True)


async def _enrol(
    settings: Settings, log: KafkaCommitLog, clock: Clock, events: structlog.stdlib.BoundLogger
) -> None:
    """Register the tenants of the configuration that nobody has registered yet."""
    wanted = (one.tenant for one in settings.tenants)
    signature = Signature(by=whoami(), at=clock.unix(), why="in the daemon's configuration")
    if writes := at_start(wanted, log.roster.everybody(), signature, log.roster.unreadable()):
        async with Registrar(settings=settings.kafka, log=events) as registrar:
            await registrar.write(writes)


def _admin(
    settings: Settings, log: KafkaCommitLog, board: StatusBoard, clock: Clock
) -> AdminPortal:
    entra, file = settings.entra, settings.admin.token_file
    token = None if file is None else Secret(key="admin.token_file", value=None, file=file).read
    return AdminPortal(
        settings=settings.admin,
        token=token,
        view=FleetView(
            roster=log.roster.everybody,
            unreadable=log.roster.unreadable,
            status=board.get,
            is_told=lambda: board.is_whole,
            clock=clock,
            # A status is renewed once a minute, and tells of the reading before.
            late_after=_LATE_INTERVALS * settings.poll.interval_seconds + RENEW_SECONDS,
        ),
        consent_url=lambda tenant: directory_consent_url(
            login_url=entra.login_url, client_id=entra.client_id, tenant=tenant
        ),
    )


def _consent_page(
    settings: Settings,
    source: Source,
    log: KafkaCommitLog,
    clock: Clock,
    rng: random.Random,
    registry: CollectorRegistry,
    events: structlog.stdlib.BoundLogger,
) -> ConsentPage:
    consent = settings.consent
    key = Secret(key="consent.key_file", value=None, file=consent.key_file)
    desk = ConsentDesk(
        settings=consent,
        regions=settings.served,
        key=key.read,
        roster=log.roster,
        admissions=Admissions(settings=settings.kafka, clock=clock, rng=rng, log=events),
        confirmation=Confirmation(source=source, clock=clock, log=events),
        clock=clock,
        log=events,
    )
    return ConsentPage(
        settings=consent,
        entra=settings.entra,
        regions=settings.served,
        desk=desk,
        clock=clock,
        metrics=ConsentMetrics(registry),
        log=events,
    )


def _fleet(
    settings: Settings,
    source: Source,
    log: KafkaCommitLog,
    board: StatusBoard,
    clock: Clock,
    rng: random.Random,
    metrics: PipelineMetrics,
    events: structlog.stdlib.BoundLogger,
) -> Fleet:
    poll = settings.poll
    schedule = Schedule(
        interval=poll.interval_seconds,
        reconcile_interval=poll.reconcile_interval_seconds,
        parked_probe=poll.parked_probe_seconds,
        quiet_after=poll.quiet_after_seconds,
    )
    reach = reach_of(poll)

    route = settings.kafka.routing
    structured = settings.kafka.encoding == "cloudevents-structured"
    encodes = StructuredCloudEvents if structured else CloudEvents

    def encoder(tenant: Tenant) -> CloudEvents:
        feed = FeedKey(tenant.id)
        topic = route.topic(tenant, feed.feed)
        return encodes(
            tenant=tenant, feed=feed, topic=Topic.ALERTS if topic == route.default else topic
        )

    def worker(registration: Registration, starting: int) -> Worker:
        tenant = registration.tenant
        feed = FeedKey(tenant.id)
        bound = events.bind(tenant=tenant.id, tenant_name=tenant.name, feed=str(feed.feed))
        poller = Poller(
            tenant=tenant,
            feed=feed,
            reach=reach,
            page_size=settings.source.page_size,
            batch_bytes=settings.kafka.batch_bytes,
            source=source,
            log=log,
            encoder=encoder(tenant),
            clock=clock,
            metrics=metrics,
            events=bound,
        )
        return Worker(
            tenant=tenant,
            feed=feed,
            poller=poller,
            schedule=schedule,
            starting=starting,
            order=registration.order,
            clock=clock,
            rng=rng,
            metrics=metrics,
            events=bound,
        )

    return Fleet(
        placement=log,
        log=log,
        make=worker,
        encoder=encoder,
        replica=log.name,
        former=board.former,
        clock=clock,
        metrics=metrics,
        events=events,
    )

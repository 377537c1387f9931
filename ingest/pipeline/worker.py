"""One tenant's life: when it is read, what became of it, and in which state that leaves it."""

import asyncio
import random
from collections import deque
from typing import Any

import structlog

from ingest.errors import Blame, CredentialRejected, IngestError, Recovery, Throttled
from ingest.model.report import Report
from ingest.model.roster import Order
from ingest.model.status import (
    KEPT_POLLS,
    KEPT_TRANSITIONS,
    WELL,
    FeedStatus,
    Poll,
    State,
    Transition,
)
from ingest.model.tenant import FeedKey, Tenant
from ingest.model.window import Tier
from ingest.pipeline.entering import say_entered
from ingest.pipeline.poller import Cycle, Poller
from ingest.pipeline.ports import Clock, Encoder
from ingest.pipeline.schedule import Schedule, obeyed_wait
from ingest.pipeline.silence import Silence
from ingest.pipeline.trouble import code_of, trouble_of
from ingest.telemetry.metrics import PipelineMetrics

_LAG_INTERVALS = 3
"""A tenant whose reading takes longer than this many intervals is catching up."""


class Worker:
    """Reads one feed for ever; ends only by cancellation, or by an error that stops the process.

    `starting` is how many tenants begin to be read together with this one.
    """

    def __init__(
        self,
        *,
        tenant: Tenant,
        feed: FeedKey,
        poller: Poller,
        schedule: Schedule,
        starting: int,
        order: Order | None = None,
        clock: Clock,
        rng: random.Random,
        metrics: PipelineMetrics,
        events: structlog.stdlib.BoundLogger,
    ) -> None:
        self._tenant = tenant
        self._poller = poller
        self._schedule = schedule
        self._starting = starting
        self._order = order
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._events = events
        self._failures = 0
        self._probes = 0
        self._reconcile_at: float | None = None
        self._reconcile_fails = False
        self._read_since: float | None = None
        self._woken = asyncio.Event()
        self.transitions = 0
        self._silence = Silence(since=clock.unix(), after=schedule.quiet_after)
        self._polls: deque[Poll] = deque(maxlen=KEPT_POLLS)
        self._status = FeedStatus(
            feed=feed,
            name=tenant.name,
            state=State.STARTING,
            code="starting",
            reason="not read yet since this process started",
            blame=Blame.NOBODY,
            since=clock.unix(),
        )

    @property
    def status(self) -> FeedStatus:
        """How the feed is doing, as of now."""
        return self._status.but(
            watermark=self._poller.watermark,
            remembered=self._poller.remembered,
            silent_since=self._silence.since,
            looked_at=self._silence.looked_at,
            calls_left=self._poller.calls_left,
            polls=tuple(self._polls),
        )

    @property
    def feed(self) -> FeedKey:
        """What is read."""
        return self._status.feed

    def resume(self, former: Report) -> None:
        """Go on from what was last said of the tenant, by whoever; to be called before `run`."""
        now = self._clock.unix()

        def past(unix: float | None) -> float | None:
            # Another replica's clock may run ahead; what is fresh in the future would never look late.
            return None if unix is None else min(unix, now)

        self._change(
            fresh_at=past(former.fresh_at),
            reconciled_at=past(former.instant("reconciled_at")),
            transitions=former.transitions[-KEPT_TRANSITIONS:],
        )
        self._polls.extend(former.polls)
        looked_at = past(former.instant("looked_at"))
        self._silence.resume(past(former.instant("silent_since")), looked_at)

    def update(self, tenant: Tenant, encoder: Encoder, order: Order | None) -> None:
        """Go on under another name or in another region, or obey an order, with a reading at once."""
        self._order = order
        self._tenant = tenant
        self._poller.retarget(tenant, encoder)
        self._change(name=tenant.name)
        self.transitions += 1
        self._woken.set()

    async def forget(self) -> None:
        """Delete the checkpoint of a tenant that was removed; `run` must have ended."""
        await self._poller.forget()

    def notice_lag(self, now: float) -> None:
        """Say that the feed is catching up if its reading has been under way for long; `now` is monotonic."""
        since = self._read_since
        if since is None or self._status.state not in (*WELL, State.STARTING):
            return
        if now - since > _LAG_INTERVALS * self._schedule.interval:
            reason = "one reading takes longer than three intervals"
            self._turn(State.CATCHING_UP, "catching_up", reason, Blame.NOBODY)

    async def run(self) -> None:
        """Read the feed, turn after turn."""
        now = self._clock.unix()
        due = self._schedule.due(self._tenant.id, now)
        wait = self._schedule.first(self._tenant.id, now, self._starting)
        while True:
            self._plan(wait)
            await self._rest(wait)
            wait = await self._turn_once(due)
            due = self._clock.unix() + wait

    async def _rest(self, seconds: float) -> None:
        """Sleep, unless woken."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()

    async def _turn_once(self, due: float) -> float:
        """Read what is due, since the Unix time `due`, and return the wait until the next turn."""
        cycle = Cycle(tier=Tier.FAST, started=self._clock.monotonic())
        self._read_since = cycle.started
        # It is being made; what was planned is over.
        self._change(next_attempt=None)
        started = self._clock.unix()
        try:
            await self._poller.prepare(due)
            if self._order is not None:
                await self._poller.obey(self._order)
                self._order = None
            await self._poller.sweep(Tier.FAST, cycle)
            self._done(cycle, started)
            if self._is_reconciliation_due():
                cycle = Cycle(tier=Tier.SLOW, started=self._clock.monotonic())
                started = self._clock.unix()
                self._reconcile_fails = True
                await self._poller.sweep(Tier.SLOW, cycle)
                await self._listen(cycle)
                self._reconcile_fails = False
                self._reconcile_at = self._clock.monotonic() + self._schedule.reconcile_interval
                self._done(cycle, started)
        except IngestError as error:
            if error.recovery is Recovery.STOP:
                raise
            return self._failed(error, cycle)
        finally:
            self._read_since = None
        return self._schedule.next(self._tenant.id, self._clock.unix())

    def _is_reconciliation_due(self) -> bool:
        now = self._clock.monotonic()
        if self._reconcile_at is None:
            # Kafka knows when the last one was; this process does not.
            last = self._poller.reconciled_to or 0.0
            since = self._clock.unix() - last
            self._reconcile_at = now + self._schedule.reconcile_first(self._tenant.id, since)
        return now >= self._reconcile_at

    async def _listen(self, cycle: Cycle) -> None:
        """Tell a quiet tenant from one whose readings miss what is there; `cycle` looked far back."""
        silence = self._silence
        if not cycle.whole or cycle.received or not silence.is_look_due(self._clock.unix()):
            return
        cycle.calls += 1
        glance = await self._poller.glance()
        silence.looked(glance, self._clock.unix())

    def _well(self) -> None:
        """Enter the state of a feed whose reading went to the end."""
        if (missed := self._silence.missed()) is not None:
            self._turn(State.FAILING, "readings_miss", missed, Blame.US)
        elif (quiet := self._silence.quiet(self._clock.unix())) is not None:
            self._turn(State.QUIET, "quiet", quiet, Blame.NOBODY)
        else:
            self._turn(State.HEALTHY, "healthy", "read to the end", Blame.NOBODY)

    def _done(self, cycle: Cycle, started: float) -> None:
        if cycle.published or cycle.quarantined:
            self._silence.broken(started)
        if not cycle.whole:
            # What is read so far is committed; it is not fresh, and must not look so (law 7).
            reason = "there is more to read than one reading's calls allow; it goes on next time"
            self._turn(State.CATCHING_UP, "cut_short", reason, Blame.NOBODY)
            self._report(cycle, outcome="cut_short")
            return
        # Trouble with reconciling is not over because the fast reading before it is well.
        if not self._reconcile_fails:
            self._failures = self._probes = 0
            self._well()
        if cycle.tier is Tier.FAST:
            self._change(fresh_at=started)
        else:
            self._change(reconciled_at=started, fresh_at=started)
        self._report(cycle, outcome="whole")

    def _failed(self, error: IngestError, cycle: Cycle) -> float:
        chance = self._rng.random()
        # What is said of our credential once need not be said of each tenant each minute.
        confirmed = isinstance(error, CredentialRejected) and error.is_confirmed
        if not confirmed or self._status.code != code_of(error):
            self._report(cycle, outcome=code_of(error), error=str(error))
        trouble = trouble_of(error, was_read=self._status.fresh_at is not None)
        self._turn(trouble.state, trouble.code, trouble.reason, trouble.blame)
        match error:
            case Throttled():
                return obeyed_wait(error.retry_after, self._schedule.after_failure(1, chance))
            case CredentialRejected():
                if error.is_confirmed:
                    # No longer waits each time: to ask costs no call.
                    return self._schedule.while_credential_refused(0, chance)
                self._probes += 1
                return self._schedule.while_credential_refused(self._probes - 1, chance)
        if trouble.state is State.FAILING:
            self._failures += 1
            return self._schedule.after_failure(self._failures, chance)
        self._probes += 1
        return self._schedule.while_parked(self._probes - 1, chance)

    def _turn(self, state: State, code: str, reason: str, blame: Blame) -> None:
        """Enter a state; a transition is logged and counted once, staying in one is not.

        Nor is it one where a former owner had left the tenant in that state: it lasts since then.
        """
        before, now = self._status, self._clock.unix()
        if (before.state, before.code) == (state, code):
            return
        self._change(state=state, code=code, reason=reason, blame=blame, since=now)
        self.transitions += 1
        last = before.transitions[-1] if before.transitions else None
        if before.state is State.STARTING and last and (last.state, last.code) == (state, code):
            self._change(since=last.at)
            return
        entered = Transition(now, str(state), code, str(blame.value))
        self._change(transitions=(*before.transitions, entered)[-KEPT_TRANSITIONS:])
        say_entered(self._status, was=str(before.state), metrics=self._metrics, events=self._events)

    def _report(self, cycle: Cycle, *, outcome: str, error: str | None = None) -> None:
        seconds = self._clock.monotonic() - cycle.started
        self._polls.append(
            Poll(
                at=self._clock.unix() - seconds,
                tier=str(cycle.tier),
                outcome=outcome,
                seconds=round(seconds, 3),
                received=cycle.received,
                published=cycle.published,
                calls=cycle.calls,
            )
        )
        self._metrics.swept(cycle.tier, outcome=outcome, seconds=seconds, doubts=cycle.doubts)
        counts = {
            "tier": str(cycle.tier),
            "outcome": outcome,
            "received": cycle.received,
            "published": cycle.published,
            "duplicates": cycle.duplicates,
            "stale": cycle.stale,
            "quarantined": cycle.quarantined,
            "late": cycle.late,
            "doubts": cycle.doubts,
            "calls": cycle.calls,
            "seconds": round(seconds, 3),
        }
        if error is not None:
            self._events.info("sweep_failed", error=error, **counts)
        elif cycle.published or cycle.quarantined or cycle.doubts:
            self._events.info("sweep_finished", **counts)
        else:
            self._events.debug("sweep_finished", **counts)

    def _plan(self, wait: float) -> None:
        self._change(next_attempt=self._clock.unix() + wait)

    def _change(self, **fields: Any) -> None:
        self._status = self._status.but(**fields)

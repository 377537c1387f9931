"""One tenant's life in virtual time; its readings end as they are told."""

import asyncio
import random
from collections import deque
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import structlog
from prometheus_client import CollectorRegistry

from ingest.errors import (
    Blame,
    CheckpointUnreadable,
    CredentialRejected,
    QueryRefused,
    SinkForbidden,
    SourceUnavailable,
    TenantRejected,
    Throttled,
    TopicMismatch,
)
from ingest.model.report import decode_report, encode_report
from ingest.model.status import State
from ingest.model.tenant import FeedKey, Tenant
from ingest.model.window import Tier
from ingest.pipeline.schedule import Schedule, phase
from ingest.pipeline.silence import Found, Glance
from ingest.pipeline.worker import Worker
from ingest.telemetry.metrics import PipelineMetrics
from tests.fakes.clock import LoopClock

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

TENANT = Tenant("11111111-1111-1111-1111-111111111111", "Contoso", "commercial")
INTERVAL, RECONCILE, PROBE = 60.0, 3600.0, 300.0
BEGIN = 1_700_000_000.0
SCHEDULE = Schedule(interval=INTERVAL, reconcile_interval=RECONCILE, parked_probe=PROBE)
FORBIDDEN = TenantRejected("nobody consented", reason="forbidden", blame=Blame.CUSTOMER)
GONE = SourceUnavailable("the API is gone", reason="http_503")


class Readings:
    """In the poller's place: readings take `seconds`, and end as `ends` says, then well."""

    def __init__(self, clock, *, ends=(), seconds=0.0, reconciled_to=None):
        self.clock = clock
        self.ends = deque(ends)
        self.slow_ends = deque()
        self.always = None
        self.seconds = seconds
        self.reconciled_to = reconciled_to
        self.watermark = None
        self.remembered = 7
        self.cut_short = False
        self.made: list[tuple[Tier, float]] = []
        self.dues: list[float] = []
        self.refusal = None
        self.received = self.published = 1
        self.glances = deque()
        self.calls_left = 20

    async def glance(self):
        assert self.made[-1][0] is Tier.SLOW
        return self.glances.popleft()

    async def prepare(self, due):
        self.dues.append(due)
        if self.refusal is not None:
            raise self.refusal

    async def sweep(self, tier, cycle):
        self.made.append((tier, self.clock.monotonic()))
        await self.clock.sleep(self.seconds)
        ends = self.ends if tier is Tier.FAST else self.slow_ends
        end = ends.popleft() if ends else self.always
        if end is not None:
            raise end
        self.watermark = self.clock.unix()
        cycle.whole = not self.cut_short
        cycle.received, cycle.published = self.received, self.published
        if tier is Tier.SLOW:
            self.reconciled_to = self.clock.unix()

    def times(self, tier=Tier.FAST):
        return [at for made, at in self.made if made is tier]


def make(*ends, seconds=0.0, reconciled_to=BEGIN):
    clock = LoopClock(epoch=BEGIN)
    readings = Readings(clock, ends=ends, seconds=seconds, reconciled_to=reconciled_to)
    return worker_of(readings), readings


def worker_of(readings):
    return Worker(
        tenant=TENANT,
        feed=FeedKey(TENANT.id),
        poller=readings,
        schedule=SCHEDULE,
        starting=1,
        clock=readings.clock,
        rng=random.Random(1),
        metrics=PipelineMetrics(CollectorRegistry()),
        events=structlog.get_logger(),
    )


@asynccontextmanager
async def living(worker):
    task = asyncio.get_running_loop().create_task(worker.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def status_after(worker, seconds):
    async with living(worker):
        await asyncio.sleep(seconds)
        return worker.status


async def test_a_tenant_is_starting_until_its_first_reading_ended():
    worker, _ = make(seconds=30.0)
    status = worker.status
    assert (status.state, status.blame, status.since) == (State.STARTING, Blame.NOBODY, BEGIN)
    assert status.fresh_at is None
    status = await status_after(worker, 20)
    assert status.state is State.STARTING


async def test_a_tenant_that_was_read_is_healthy_and_fresh_since_the_reading_began():
    worker, readings = make(seconds=5.0)
    status = await status_after(worker, 20)
    assert (status.state, status.code) == (State.HEALTHY, "healthy")
    assert status.fresh_at == BEGIN + readings.times()[0]
    assert status.watermark == readings.watermark
    assert status.remembered == 7
    assert status.name == "Contoso"


async def test_a_tenant_whose_reading_was_cut_short_is_catching_up_and_not_fresh():
    worker, readings = make()
    readings.cut_short = True
    status = await status_after(worker, 200)
    assert (status.state, status.code) == (State.CATCHING_UP, "cut_short")
    assert status.fresh_at is None
    readings.cut_short = False
    assert (await status_after(worker_of(readings), 200)).state is State.HEALTHY


async def test_a_tenant_is_read_at_the_same_place_of_every_interval():
    worker, readings = make()
    await status_after(worker, 1000)
    times = readings.times()[1:]
    assert len(times) >= 14
    assert {round(later - earlier, 3) for earlier, later in pairwise(times)} == {INTERVAL}


async def test_healthy_is_since_the_first_of_many_good_readings():
    worker, _ = make()
    first = await status_after(worker, 10)
    later = await status_after(worker, 500)
    assert later.since == first.since
    assert later.fresh_at > first.fresh_at


async def test_a_parked_tenant_has_a_state_a_reason_a_since_and_who_must_act():
    worker, readings = make()
    async with living(worker):
        await asyncio.sleep(100)
        readings.always = FORBIDDEN
        await asyncio.sleep(2000)
        status = worker.status
    first = next(at for at in readings.times() if at > 100)
    assert (status.state, status.code) == (State.PARKED, "forbidden")
    assert status.reason == "nobody consented"
    assert status.blame is Blame.CUSTOMER
    assert status.since == BEGIN + first
    assert status.next_attempt > BEGIN + 2100


async def test_a_parked_tenant_is_probed_more_and_more_rarely_and_read_again_once_it_may():
    worker, readings = make()
    readings.always = FORBIDDEN
    async with living(worker):
        await asyncio.sleep(20_000)
        times = readings.times()
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert PROBE * 0.75 <= gaps[0] <= PROBE * 1.25
        assert gaps[3] > 2 * gaps[0]
        readings.always = None
        await asyncio.sleep(20_000)
        assert worker.status.state is State.HEALTHY
        assert worker.status.blame is Blame.NOBODY


async def test_a_tenant_that_is_parked_again_is_probed_soon_again():
    worker, readings = make(FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN, None, FORBIDDEN)
    await status_after(worker, 20_000)
    times = readings.times()
    assert times[6] - times[5] <= PROBE * 1.25


async def test_a_credential_that_is_refused_for_this_tenant_alone_is_tried_ever_more_rarely():
    worker, readings = make()
    readings.always = CredentialRejected("the secret expired", reason="secret_expired")
    status = await status_after(worker, 20_000)
    waits = [b - a for a, b in pairwise(readings.times())]
    assert (status.state, status.code, status.blame) == (State.PARKED, "secret_expired", Blame.US)
    assert waits[0] <= 60
    assert all(480 <= wait <= 961 for wait in waits[4:])


async def test_a_credential_that_is_refused_for_others_too_is_tried_each_minute_and_told_once():
    worker, readings = make()
    readings.always = CredentialRejected("expired", reason="secret_expired", is_confirmed=True)
    with structlog.testing.capture_logs() as told:
        status = await status_after(worker, 20_000)
    assert (status.state, status.code, status.blame) == (State.PARKED, "secret_expired", Blame.US)
    assert max(b - a for a, b in pairwise(readings.times())) <= 61
    assert [event["event"] for event in told] == ["sweep_failed", "state_changed"]


async def test_a_checkpoint_that_cannot_be_read_parks_the_tenant_for_us():
    worker, _ = make(CheckpointUnreadable("record k is damaged"))
    status = await status_after(worker, 10)
    assert (status.state, status.code) == (State.PARKED, "checkpoint_unreadable")
    assert (status.reason, status.blame) == ("record k is damaged", Blame.US)


async def test_a_throttled_tenant_is_left_alone_as_long_as_it_asked():
    worker, readings = make(Throttled("asks for 500 s", retry_after=500.0))
    status = await status_after(worker, 400)
    assert (status.state, status.code, status.blame) == (
        State.THROTTLED,
        "throttled",
        Blame.NOBODY,
    )
    assert len(readings.made) == 1
    assert status.next_attempt == pytest.approx(BEGIN + readings.times()[0] + 500)


async def test_a_throttled_tenant_is_healthy_after_its_next_reading():
    worker, _ = make(Throttled("asks for 50 s", retry_after=50.0))
    assert (await status_after(worker, 100)).state is State.HEALTHY


async def test_an_absurd_wait_is_a_state_with_a_rare_probe():
    worker, readings = make()
    readings.always = Throttled("asks for a year", retry_after=3e7)
    status = await status_after(worker, 3 * 3600 + 100)
    assert status.state is State.THROTTLED
    assert len(readings.made) == 4


async def test_a_failing_tenant_is_tried_more_and_more_rarely_and_names_the_reason():
    worker, readings = make()
    readings.always = GONE
    status = await status_after(worker, 10_000)
    gaps = [b - a for a, b in pairwise(readings.times())]
    assert (status.state, status.code) == (State.FAILING, "http_503")
    assert (status.reason, status.blame) == ("the API is gone", Blame.MICROSOFT)
    assert gaps[0] <= INTERVAL
    assert max(gaps) <= 600
    assert min(gaps[5:]) >= 300


@pytest.mark.parametrize(
    ("error", "code", "blame"),
    [
        (SinkForbidden("no right to write"), "kafka", Blame.US),
        (QueryRefused("refused", reason="http_400"), "http_400", Blame.US),
    ],
)
async def test_a_failure_names_who_must_act(error, code, blame):
    worker, _ = make(error)
    status = await status_after(worker, 10)
    assert (status.state, status.code, status.blame) == (State.FAILING, code, blame)


async def test_a_state_keeps_its_since_while_it_lasts_and_not_longer():
    worker, readings = make(GONE, GONE, GONE)
    async with living(worker):
        await asyncio.sleep(10)
        first = worker.status.since
        await asyncio.sleep(100)
        assert worker.status.since == first
        await asyncio.sleep(1000)
        assert worker.status.state is State.HEALTHY
        assert worker.status.since > first
    assert readings.times()


async def test_an_error_that_asks_to_stop_the_process_ends_the_worker():
    worker, _ = make(TopicMismatch("another installation"))
    with pytest.raises(TopicMismatch):
        await worker.run()


async def test_a_cancelled_worker_ends_in_the_middle_of_a_reading():
    worker, _ = make(seconds=1000.0)
    async with living(worker) as task:
        await asyncio.sleep(10)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def test_a_reading_that_takes_longer_than_three_intervals_is_catching_up():
    worker, _ = make(seconds=400.0)
    async with living(worker):
        await asyncio.sleep(100)
        worker.notice_lag(asyncio.get_running_loop().time())
        assert worker.status.state is State.STARTING
        await asyncio.sleep(100)
        worker.notice_lag(asyncio.get_running_loop().time())
        assert worker.status.state is State.CATCHING_UP
        assert worker.status.blame is Blame.NOBODY
        await asyncio.sleep(250)
        assert worker.status.state is State.HEALTHY


async def test_between_two_readings_nothing_lags():
    worker, _ = make(Throttled("wait", retry_after=3000.0))
    async with living(worker):
        await asyncio.sleep(2000)
        worker.notice_lag(asyncio.get_running_loop().time())
        assert worker.status.state is State.THROTTLED


async def test_the_fast_reading_comes_first_and_a_new_tenant_is_reconciled_soon():
    worker, readings = make(reconciled_to=None)
    status = await status_after(worker, RECONCILE * 0.2)
    assert readings.made[0][0] is Tier.FAST
    assert len(readings.times(Tier.SLOW)) == 1
    assert status.reconciled_at == BEGIN + readings.times(Tier.SLOW)[0]


async def test_reconciliation_comes_once_an_interval():
    worker, readings = make()
    await status_after(worker, 5 * RECONCILE + 200)
    assert len(readings.times(Tier.SLOW)) == 5


async def test_a_process_that_is_restarted_often_still_reconciles_in_time():
    _, readings = make(reconciled_to=BEGIN)
    for _ in range(10):
        await status_after(worker_of(readings), RECONCILE / 5)
    slow = readings.times(Tier.SLOW)
    assert slow
    assert slow[0] <= RECONCILE * 1.15


async def test_a_process_that_is_restarted_often_does_not_reconcile_each_time():
    _, readings = make(reconciled_to=BEGIN)
    for _ in range(10):
        await status_after(worker_of(readings), RECONCILE / 20)
    assert not readings.times(Tier.SLOW)


async def test_a_reconciliation_that_failed_is_due_at_the_next_turn():
    worker, readings = make(reconciled_to=None)
    readings.slow_ends.append(GONE)
    status = await status_after(worker, RECONCILE * 0.3)
    assert len(readings.times(Tier.SLOW)) == 2
    assert status.state is State.HEALTHY


async def test_a_failed_reconciliation_leaves_the_freshness_of_the_fast_reading():
    worker, readings = make(reconciled_to=None)
    readings.slow_ends.extend([GONE] * 100)
    status = await status_after(worker, RECONCILE * 0.5)
    assert status.state is State.FAILING
    assert status.reconciled_at is None
    assert status.fresh_at == BEGIN + readings.times()[-1]


async def test_a_reconciliation_that_keeps_failing_is_one_state_with_one_since():
    # The fast readings between are well, and must not make the trouble look new each time.
    worker, readings = make(reconciled_to=None)
    readings.slow_ends.extend([GONE] * 1000)
    async with living(worker):
        await asyncio.sleep(RECONCILE)
        first = worker.status
        await asyncio.sleep(RECONCILE)
        assert (first.state, worker.status.state) == (State.FAILING, State.FAILING)
        assert worker.status.since == first.since


async def test_the_first_reading_is_due_as_the_schedule_says_and_each_other_one_at_its_turn():
    worker, readings = make()
    first = SCHEDULE.due(TENANT.id, BEGIN)
    await status_after(worker, 4 * INTERVAL)
    assert readings.dues[0] == pytest.approx(first, abs=1e-3)
    assert len(readings.dues) >= 4
    for due in readings.dues[1:]:
        assert due % INTERVAL == pytest.approx(phase(TENANT.id) * INTERVAL, abs=1e-3)


async def test_a_tenant_that_gets_no_token_is_not_called_and_says_why():
    worker, readings = make()
    readings.refusal = FORBIDDEN
    status = await status_after(worker, 1)
    assert (status.state, status.code) == (State.PARKED, "forbidden")
    assert readings.made == []


def handed_on(status, worker):
    """Let another worker go on from what the tenant-status topic has of a tenant."""
    record = encode_report(status, replica="gone", now=BEGIN)
    worker.resume(decode_report(TENANT.id.encode(), record))


def entered(status):
    return [(one.state, one.code, one.must_act) for one in status.transitions]


async def test_the_last_transitions_are_kept_with_who_had_to_act_oldest_first():
    worker, _ = make(GONE, FORBIDDEN)
    status = await status_after(worker, 1000)
    assert entered(status) == [
        ("failing", "http_503", "microsoft"),
        ("parked", "forbidden", "customer"),
        ("healthy", "healthy", "nobody"),
    ]
    assert status.transitions[-1].at == status.since


async def test_no_more_than_twenty_transitions_are_kept():
    worker, _ = make(*[GONE, None] * 15)
    status = await status_after(worker, 5000)
    assert len(status.transitions) == 20
    assert status.state is State.HEALTHY


async def test_the_last_readings_are_kept():
    worker, _ = make(GONE)
    status = await status_after(worker, 10 * INTERVAL)
    assert len(status.polls) == 5
    assert {(one.outcome, one.received, one.published) for one in status.polls} == {("whole", 1, 1)}


async def test_a_tenant_that_another_replica_takes_over_keeps_its_history_and_its_since(caplog):
    first, _ = make(FORBIDDEN)
    left = await status_after(first, 10)
    then, readings = make()
    readings.always = FORBIDDEN
    handed_on(left, then)
    assert then.status.state is State.STARTING
    status = await status_after(then, 10)
    assert (status.state, status.code, status.since) == (State.PARKED, "forbidden", left.since)
    assert status.transitions == left.transitions


async def test_a_tenant_that_is_found_in_another_state_after_a_take_over_has_one_transition_more():
    first, _ = make(FORBIDDEN)
    left = await status_after(first, 10)
    then, _ = make()
    handed_on(left, then)
    status = await status_after(then, 10)
    assert [one.code for one in status.transitions] == ["forbidden", "healthy"]


async def test_freshness_outlives_the_process():
    first, _ = make()
    left = await status_after(first, 10)
    then, readings = make()
    readings.always = GONE
    handed_on(left, then)
    status = await status_after(then, 10)
    assert left.fresh_at is not None
    assert status.fresh_at == left.fresh_at


async def test_consent_that_was_taken_back_is_told_from_consent_that_was_never_given():
    refused = TenantRejected("no consent", reason="not_consented", blame=Blame.CUSTOMER)
    never, _ = make(refused)
    worker, _ = make(None, refused)
    assert (await status_after(never, 10)).code == "not_consented"
    revoked = await status_after(worker, INTERVAL + 10)
    assert (revoked.state, revoked.code) == (State.PARKED, "consent_revoked")
    assert "taken back" in revoked.reason
    handed_on(revoked, never)
    assert (await status_after(never, 10)).code == "healthy"


def silent(*glances, **options):
    worker, readings = make(**options)
    readings.received = readings.published = 0
    readings.glances.extend(glances)
    return worker, readings


DAY = 86_400.0


async def test_a_tenant_with_nothing_new_for_a_week_is_quiet_and_nobody_has_to_act():
    old = Glance(Found.KNOWN, BEGIN - 8 * DAY)
    worker, _ = silent(old)
    status = await status_after(worker, RECONCILE + INTERVAL)
    assert (status.state, status.blame) == (State.QUIET, Blame.NOBODY)
    assert (status.silent_since, status.fresh_at is not None) == (BEGIN - 8 * DAY, True)


async def test_a_tenant_with_something_this_week_is_healthy_and_asked_once_a_day():
    recent = Glance(Found.KNOWN, BEGIN - 2 * DAY)
    worker, readings = silent(*[recent] * 9)
    status = await status_after(worker, 3 * DAY)
    assert status.state is State.HEALTHY
    assert 9 - len(readings.glances) == 3


async def test_a_tenant_that_has_no_alert_at_all_is_quiet_after_a_week():
    worker, readings = silent(*[Glance(Found.NOTHING)] * 9)
    async with living(worker):
        await asyncio.sleep(6 * DAY)
        assert worker.status.state is State.HEALTHY
        await asyncio.sleep(2 * DAY)
        assert worker.status.state is State.QUIET
        assert "no alert at all" in worker.status.reason
        readings.received = readings.published = 1
        await asyncio.sleep(2 * INTERVAL)
        assert worker.status.state is State.HEALTHY


async def test_an_alert_that_readings_by_time_do_not_return_is_a_failure_once_seen_twice():
    missed = Glance(Found.MISSED, BEGIN - 3600)
    worker, readings = silent(missed, missed, reconciled_to=BEGIN - 2 * RECONCILE)
    async with living(worker):
        await asyncio.sleep(RECONCILE / 2)
        assert worker.status.state is State.HEALTHY
        await asyncio.sleep(RECONCILE)
        status = worker.status
        assert (status.state, status.code, status.blame) == (
            State.FAILING,
            "readings_miss",
            Blame.US,
        )
        readings.received = readings.published = 1
        await asyncio.sleep(2 * INTERVAL)
        assert worker.status.state is State.HEALTHY


async def test_a_look_that_fails_is_a_failure_like_any_other():
    worker, readings = silent(reconciled_to=BEGIN - 2 * RECONCILE)

    async def fail():
        raise GONE

    readings.glance = fail
    status = await status_after(worker, RECONCILE / 2)
    assert (status.state, status.code) == (State.FAILING, "http_503")


async def test_quiet_outlives_the_process_without_another_look():
    first, _ = silent(Glance(Found.KNOWN, BEGIN - 8 * DAY))
    left = await status_after(first, RECONCILE + INTERVAL)
    then, _ = silent()
    handed_on(left, then)
    status = await status_after(then, 10)
    assert (status.state, status.since) == (State.QUIET, left.since)


async def test_a_former_owner_whose_clock_ran_ahead_makes_nothing_fresh_that_is_not():
    first, _ = silent(Glance(Found.KNOWN, BEGIN - 2 * DAY))
    left = await status_after(first, RECONCILE + INTERVAL)
    left = left.but(fresh_at=BEGIN + 9 * DAY, looked_at=BEGIN + 9 * DAY)
    then, readings = silent(Glance(Found.KNOWN, BEGIN - 2 * DAY))
    handed_on(left, then)
    assert then.status.fresh_at == readings.clock.unix()
    await status_after(then, 2 * DAY)
    assert not readings.glances


async def test_an_attempt_that_is_being_made_is_not_the_next_one():
    worker, _ = make(seconds=20.0)
    async with living(worker):
        await asyncio.sleep(10)
        during = worker.status.next_attempt
        await asyncio.sleep(15)
        assert during is None
        assert worker.status.next_attempt > worker._clock.unix()

"""When to read a tenant next: pure functions of settings, chance and what happened."""

import zlib
from dataclasses import dataclass

STARTS_PER_SECOND = 500.0
"""First readings after a start are spread so that no more than this many begin in a second."""

_TOO_SOON_SECONDS = 1.0
_FAILING_CAP_SECONDS = 600.0
_OVERDUE_SHARE = 0.1
_PARKED_DOUBLINGS = 4
_CREDENTIAL_PROBE_SECONDS = 60.0
RARE_PROBE_SECONDS = 3600.0
"""A wait that the API asked for beyond this becomes a state with a probe this often."""


def phase(tenant: str) -> float:
    """Return a tenant's fixed place within an interval, from 0 up to 1, spread evenly."""
    return zlib.crc32(tenant.encode()) / 2**32


@dataclass(frozen=True, slots=True)
class Schedule:
    """Intervals in seconds; after `quiet_after` without anything new a tenant is quiet."""

    interval: float
    reconcile_interval: float
    parked_probe: float
    quiet_after: float = 604_800.0

    def due(self, tenant: str, now: float) -> float:
        """Return the Unix time by which a tenant that begins to be read here should be read.

        At its next turn, or sooner: whoever read it before may have missed its last one. Nobody can tell,
        but the longer ago that was, the less likely it is: a graceful stop costs a second, a kill the
        session timeout. So it may wait half as long as its last turn is ago.
        """
        ago = (now - phase(tenant) * self.interval) % self.interval
        return now + min(ago / 2, self.interval - ago)

    def first(self, tenant: str, now: float, fleet: int) -> float:
        """Return the wait before the first reading after a start of `fleet` tenants, as they are due."""
        latest = self.interval / 3
        share = (self.due(tenant, now) - now) / latest
        return share * min(self.interval, fleet / STARTS_PER_SECOND)

    def next(self, tenant: str, now: float) -> float:
        """Return the wait until the tenant's next regular turn: always the same phase.

        A tenant whose reading took longer than an interval skips the turns that it missed; one that was
        read a moment ago skips the one that is due at once.
        """
        turn = phase(tenant) * self.interval
        wait = (turn - now) % self.interval
        return wait if wait > min(self.interval * 0.1, _TOO_SOON_SECONDS) else wait + self.interval

    def after_failure(self, failures: int, chance: float) -> float:
        """Return the wait after the `failures`-th failed reading in a row; `chance` is in [0, 1)."""
        ceiling = max(self.interval, _FAILING_CAP_SECONDS)
        wait = min(ceiling, self.interval * 2.0 ** min(failures - 1, 16))
        return wait * (0.5 + 0.5 * chance)

    def while_parked(self, probes: int, chance: float) -> float:
        """Return the wait before the next probe of a parked tenant."""
        return self.parked_probe * 2.0 ** min(probes, _PARKED_DOUBLINGS) * (0.75 + 0.5 * chance)

    def while_credential_refused(self, probes: int, chance: float) -> float:
        """Return the wait before the next attempt of a tenant that our own credential is refused for.

        A minute at most before the first: whoever mends it looks whether everybody is read again.
        """
        first = min(self.parked_probe, _CREDENTIAL_PROBE_SECONDS)
        return first * 2.0 ** min(probes, _PARKED_DOUBLINGS) * (0.5 + 0.5 * chance)

    def reconcile_first(self, tenant: str, since_last: float) -> float:
        """Return the wait before the first reconciling reading after a start.

        It depends on when the last one was, `since_last` seconds ago, also in a former process: one that
        is restarted again and again must not put it off for ever. What is overdue is spread out.
        """
        spread = phase(tenant) * self.reconcile_interval * _OVERDUE_SHARE
        return max(self.reconcile_interval - max(0.0, since_last), spread)


def obeyed_wait(retry_after: float | None, default: float) -> float:
    """Return how long to leave a throttled tenant alone.

    The wait that the API asked for, to the second; beyond an hour, an hour: a rare probe.
    """
    if retry_after is None:
        return default
    return min(max(retry_after, 1.0), RARE_PROBE_SECONDS)

"""Fleets for the status page: registrations, and what replicas last said."""

from ingest.errors import Blame
from ingest.model.report import decode_report, encode_report
from ingest.model.roster import Origin, Registration, Standing
from ingest.model.status import FeedStatus, Poll, State, Transition
from ingest.model.tenant import FeedKey, Tenant
from ingest.portal.fleet_view import FleetView

NOW = 1_700_000_000.0
LATE_AFTER = 240.0


def guid(number):
    return f"{number:08x}-0000-4000-8000-000000000000"


class StillClock:
    def __init__(self, now=NOW):
        self.now = now

    def unix(self):
        return self.now

    def monotonic(self):
        return self.now

    async def sleep(self, seconds):
        raise AssertionError("a page waits for nobody")


class Made:
    """A fleet that a test makes up."""

    def __init__(self):
        self.clock = StillClock()
        self.roster, self.said, self.damaged = {}, {}, {}
        self.said_of, self.told = self.said.get, True
        self.view = FleetView(
            roster=lambda: self.roster,
            unreadable=lambda: self.damaged,
            status=self._status,
            is_told=lambda: self.told,
            clock=self.clock,
            late_after=LATE_AFTER,
        )

    def _status(self, tenant):
        return self.said_of(tenant)

    def look(self, query, **options):
        return self.view.look(query, self.view.registered(), **options)

    def one(self, tenant):
        return self.view.one(tenant, self.view.registered())

    def add(self, number, state=State.HEALTHY, standing=Standing.ACTIVE, **changes):
        tenant = Tenant(guid(number), changes.pop("name", f"Customer {number}"), "eu", ())
        self.roster[tenant.id] = Registration(
            tenant, standing, Origin.COMMAND, by="ann@desk", at=NOW - 9000
        )
        said_at = changes.pop("said_at", NOW - 20)
        if state is None:
            return tenant
        fields = {
            "code": str(state),
            "reason": "read to the end",
            "blame": Blame.NOBODY,
            "since": NOW - 3600,
            "fresh_at": NOW - 30,
            "watermark": NOW - 60,
            "calls_left": 20,
            "transitions": (Transition(NOW - 3600, str(state), str(state), "nobody"),),
            "polls": (Poll(NOW - 30, "fast", "whole", 0.2, 3, 1, 1),),
        }
        status = FeedStatus(
            feed=FeedKey(tenant.id), name=tenant.name, state=state, **fields | changes
        )
        record = encode_report(status, replica="pod-0:1", now=said_at)
        self.said[tenant.id] = decode_report(tenant.id.encode(), record)
        return tenant

    def park(self, number, code="not_consented", **changes):
        reason = "no consent: its administrator gives it at https://login.test/adminconsent"
        fields = {"code": code, "reason": reason, "blame": Blame.CUSTOMER} | changes
        return self.add(number, State.PARKED, **fields)

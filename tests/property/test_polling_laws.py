"""Pollers that crash at any await keep the laws together; and the machine sees a broken part."""

from dataclasses import replace

import pytest
from hypothesis import settings

from ingest.pipeline.poller import Poller
from tests.property.breaking import what_fails
from tests.property.daemons import Daemon
from tests.property.polling import Polling

TestPolling = Polling.TestCase
TestPolling.settings = settings(deadline=None, max_examples=80, stateful_step_count=25)


class AlertsFirst(Daemon):
    """Commits the checkpoint apart from its alerts, a moment later."""

    async def commit(self, batch):
        await super().commit(replace(batch, checkpoint={}))
        await super().commit(replace(batch, records=()))


class CheckpointFirst(Daemon):
    """Commits the alerts apart from their checkpoint, a moment later."""

    async def commit(self, batch):
        await super().commit(replace(batch, records=()))
        await super().commit(replace(batch, checkpoint={}))


class Stubborn(Poller):
    """Goes on with what it knew when it was told to go back."""

    def __init__(self, **of):
        super().__init__(**of)
        restore = self._held.restore

        async def stubborn(server_time=None):
            state = self._held.state
            await restore(server_time)
            self._held.state = state or self._held.state

        self._held.restore = stubborn


class WithStubborn(Daemon):
    poller_class = Stubborn


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (AlertsFirst, "a_consumer_sees_each_version_once_and_in_order"),
        (CheckpointFirst, "nothing_is_missing_once_faults_stop"),
        (WithStubborn, "a_consumer_sees_each_version_once_and_in_order"),
    ],
)
def test_a_broken_part_is_found(broken, law):
    assert law in what_fails(Polling, daemon_class=broken)

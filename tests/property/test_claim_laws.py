"""A claim is granted by the coordinator's present word alone; and the machine sees a broken part."""

import pytest
from hypothesis import settings

from ingest.errors import NotOwner
from ingest.sink.membership import Membership, _Coordinator
from tests.property.breaking import what_fails
from tests.property.claiming import Claiming

TestClaiming = Claiming.TestCase
TestClaiming.settings = settings(deadline=None, max_examples=100, stateful_step_count=30)


class Believing(Membership):
    """Takes its own assignment for the coordinator's."""

    async def claim(self, shard):
        await self._stable.wait()
        if shard not in self.owned:
            raise NotOwner("not ours")


class Forgetful(Membership):
    """Does not see that it was placed otherwise while it asked."""

    async def claim(self, shard):
        while True:
            await self._stable.wait()
            if shard not in self.owned:
                raise NotOwner("not ours")
            if shard in (await self._coordinator.assignment() or ()):
                return
            await self._clock.sleep(1.0)


class Sharing(Membership):
    """Takes the answer to a question that was asked before the claim."""

    def __init__(self, **options):
        super().__init__(**options)
        coordinator = self._coordinator

        async def assignment():
            if coordinator._asking.locked():
                async with coordinator._asking:
                    return coordinator._answer
            return await _Coordinator.assignment(coordinator)

        coordinator.assignment = assignment


class Impatient(Membership):
    """Takes a coordinator that does not answer, or not yet, for one that says no."""

    async def claim(self, shard):
        await self._stable.wait()
        if shard not in (await self._coordinator.assignment() or ()):
            raise NotOwner("not ours")


class Unwatched(Membership):
    """Never looks whether the group still knows it."""

    async def _watch(self):
        await self._clock.sleep(1e6)


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (Believing, "no_claim_is_answered_wrongly"),
        (Forgetful, "no_claim_is_answered_wrongly"),
        (Sharing, "no_claim_is_answered_wrongly"),
        (Impatient, "no_claim_is_answered_wrongly"),
        (Unwatched, "a_membership_that_learns_nothing_more_is_replaced"),
    ],
)
def test_a_broken_part_is_found(broken, law):
    assert law in what_fails(Claiming, membership_class=broken)

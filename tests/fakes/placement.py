"""A placement that a test decides: who is registered, and whose record cannot be read."""

import asyncio
from collections.abc import Iterable

from ingest.model.roster import Origin, Registration, Standing
from ingest.model.tenant import Tenant


class FixedPlacement:
    def __init__(self, tenants: Iterable[Tenant] = ()) -> None:
        self.roster: dict[str, Registration] = {}
        self.damaged: dict[str, str] = {}
        self._changed = asyncio.Event()
        for tenant in tenants:
            self.register(tenant)

    def register(self, tenant: Tenant, standing=Standing.ACTIVE, **more) -> None:
        self.roster[tenant.id] = Registration(
            tenant=tenant, standing=standing, origin=Origin.COMMAND, by="a test", at=0.0, **more
        )
        self._changed.set()

    def take_away(self, tenant: Tenant) -> None:
        """The tenant's shard is another replica's now."""
        del self.roster[tenant.id]
        self._changed.set()

    def tell(self) -> None:
        self._changed.set()

    async def changed(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    def registered(self):
        return dict(self.roster)

    def unreadable(self):
        return dict(self.damaged)

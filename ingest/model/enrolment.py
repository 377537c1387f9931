"""What a list of tenants asks to be changed in the roster: each way in changes only what came by it.

Pure: the present roster and the wanted tenants in, the records to write out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ingest.model.roster import Origin, Registration, Standing
from ingest.model.tenant import Tenant

REMOVALS_SHARE = 0.05
"""A list may remove this part of the tenants that came from lists, and no more unless told so."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Who asks, when (Unix seconds) and why: what every changed record carries."""

    by: str
    at: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a list would do, by the tenants' records as they would be; `left` names what it leaves alone.

    `kept` are the tenants that nothing changes for; `listed_before` is how many of the present roster
    came from lists.
    """

    added: tuple[Registration, ...] = ()
    changed: tuple[Registration, ...] = ()
    removed: tuple[Registration, ...] = ()
    kept: int = 0
    left: tuple[str, ...] = ()
    listed_before: int = 0

    @property
    def writes(self) -> tuple[Registration, ...]:
        """Every record to be written."""
        return (*self.added, *self.changed, *self.removed)

    def removes_too_many(self, allowed: int | None) -> bool:
        """Tell whether more tenants would go than a slip of the pen may remove.

        `allowed` is what the operator said; without it 5 % of the listed tenants, and at least one where
        there are more than one.
        """
        count = len(self.removed)
        if allowed is not None:
            return count > allowed
        if self.listed_before and count >= self.listed_before:
            return True
        return count > max(1, int(self.listed_before * REMOVALS_SHARE))


def at_start(
    wanted: Iterable[Tenant], roster: Mapping[str, Registration], signature: Signature
) -> list[Registration]:
    """Return what a daemon registers of its own configuration: whoever is not known at all.

    A name or region is taken over where the record came from a configuration too. Nobody is removed, and
    nobody who was paused or removed comes back: a restart is no decision about a customer.
    """
    writes = []
    for tenant in wanted:
        known = roster.get(tenant.id)
        if known is None:
            writes.append(_record(tenant, Origin.CONFIG, signature))
        elif known.origin is Origin.CONFIG and known.is_read and known.tenant != tenant:
            writes.append(_signed(replace(known, tenant=tenant), signature))
    return writes


def from_file(
    wanted: Iterable[Tenant], roster: Mapping[str, Registration], signature: Signature
) -> Plan:
    """Return what a file of tenants asks for; it touches only what came from files.

    A tenant of the file that came by another way is left as it is, and named. One that a person removed
    comes back: to list it is to ask for it. One that is paused stays so.
    """
    added, changed, left = [], [], []
    kept = 0
    listed = {tenant.id: tenant for tenant in wanted}
    before = [
        one
        for one in roster.values()
        if one.origin is Origin.FILE and one.standing is not Standing.REMOVED
    ]
    for tenant in listed.values():
        known = roster.get(tenant.id)
        if known is None or known.standing is Standing.REMOVED:
            added.append(_record(tenant, Origin.FILE, signature))
        elif known.origin is not Origin.FILE:
            left.append(f"{tenant.id} ({known.tenant.name}) came by {known.origin}")
        elif known.tenant != tenant:
            changed.append(_signed(replace(known, tenant=tenant), signature))
        else:
            kept += 1
    removed = [
        _signed(replace(one, standing=Standing.REMOVED, order=None), signature)
        for one in before
        if one.tenant.id not in listed
    ]
    return Plan(
        added=tuple(added),
        changed=tuple(changed),
        removed=tuple(removed),
        kept=kept,
        left=tuple(left),
        listed_before=len(before),
    )


def name_taken(tenant: Tenant, roster: Mapping[str, Registration]) -> Registration | None:
    """Return whoever else goes by the tenant's name, read or paused."""
    for one in roster.values():
        same = one.tenant.name.casefold() == tenant.name.casefold()
        if same and one.tenant.id != tenant.id and one.standing is not Standing.REMOVED:
            return one
    return None


def _record(tenant: Tenant, origin: Origin, signature: Signature) -> Registration:
    return Registration(
        tenant=tenant,
        standing=Standing.ACTIVE,
        origin=origin,
        by=signature.by,
        at=signature.at,
        why=signature.why,
    )


def _signed(registration: Registration, signature: Signature) -> Registration:
    return replace(registration, by=signature.by, at=signature.at, why=signature.why)

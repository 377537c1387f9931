"""What a list of tenants, or an operator, asks to be changed in the roster.

A list changes only what came by lists of its kind; people may change everything. A record that cannot
be read is never written over: it may be a newer version's. Pure: the present roster in, the records to
write out.
"""

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

from ingest.errors import CommandRefused
from ingest.model.roster import Order, Origin, Registration, Standing
from ingest.model.tenant import Tenant

REMOVALS_PERCENT = 5
"""A list may remove this part of the tenants that came from lists, and no more unless told so."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Who asks, when (Unix seconds) and why: what every changed record carries."""

    by: str
    at: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a list would do, by the tenants' records as they would be.

    `kept` are the tenants that nothing changes for; `left` names those that it leaves alone because they
    came by another way; `refused` those of the list that cannot be done as they stand, each with the
    remedy. `listed_before` is how many of the present roster came from lists.
    """

    added: tuple[Registration, ...] = ()
    changed: tuple[Registration, ...] = ()
    removed: tuple[Registration, ...] = ()
    kept: int = 0
    left: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    listed_before: int = 0

    @property
    def writes(self) -> tuple[Registration, ...]:
        """Every record to be written."""
        return (*self.added, *self.changed, *self.removed)

    def removes_too_many(self, allowed: int | None) -> bool:
        """Tell whether more tenants would go than a slip of the pen may remove.

        `allowed` is what the operator said; without it 5 % of the listed tenants.
        """
        if allowed is not None:
            return len(self.removed) > allowed
        return len(self.removed) * 100 > self.listed_before * REMOVALS_PERCENT


def at_start(
    wanted: Iterable[Tenant],
    roster: Mapping[str, Registration],
    signature: Signature,
    unreadable: Container[str] = (),
) -> list[Registration]:
    """Return what a daemon registers of its own configuration: whoever is not known at all.

    A name or region is taken over where the record came from a configuration too. Nobody is removed, and
    nobody who was paused or removed comes back: a restart is no decision about a customer.
    """
    writes = []
    for tenant in wanted:
        known = roster.get(tenant.id)
        if tenant.id in unreadable:
            continue
        if known is None or known.standing is Standing.AWAITING:
            writes.append(_record(tenant, Origin.CONFIG, signature, known))
        elif known.origin is Origin.CONFIG and known.is_read and known.tenant != tenant:
            writes.append(_signed(replace(known, tenant=tenant), signature))
    return writes


def from_file(
    wanted: Iterable[Tenant],
    roster: Mapping[str, Registration],
    signature: Signature,
    unreadable: Container[str] = (),
) -> Plan:
    """Return what a file of tenants asks for; it touches only what came from files.

    A tenant of the file that came by another way is left as it is, and named. One that a person removed
    comes back: to list it is to ask for it. One that is paused stays so.
    """
    added, changed, left, refused = [], [], [], []
    kept = 0
    listed = {tenant.id: tenant for tenant in wanted}
    before = [
        one
        for one in roster.values()
        if one.origin is Origin.FILE and one.standing is not Standing.REMOVED
    ]
    for tenant in listed.values():
        known = roster.get(tenant.id)
        if tenant.id in unreadable:
            refused.append(f"{_called(tenant)}: {_UNREADABLE}")
        elif known is None or known.standing in _NOT_TAKEN:
            added.append(_record(tenant, Origin.FILE, signature, known))
        elif known.origin is not Origin.FILE:
            differs = "" if known.tenant == tenant else ", and is otherwise than the file has it"
            left.append(f"{_called(known.tenant)} came by {known.origin}, not from a file{differs}")
        elif known.tenant != tenant:
            changed.append(_signed(replace(known, tenant=tenant), signature))
        else:
            kept += 1
    removed = [
        _signed(replace(one, standing=Standing.REMOVED, order=None), signature)
        for one in before
        if one.tenant.id not in listed and one.tenant.id not in unreadable
    ]
    writes, clashes = _without_clashes([*added, *changed], removed, roster)
    return Plan(
        added=tuple(one for one in added if one.tenant.id in writes),
        changed=tuple(one for one in changed if one.tenant.id in writes),
        removed=tuple(removed),
        kept=kept,
        left=tuple(left),
        refused=(*refused, *clashes),
        listed_before=len(before),
    )


def to_add(
    tenant: Tenant,
    roster: Mapping[str, Registration],
    signature: Signature,
    unreadable: Container[str] = (),
) -> Registration | None:
    """Return the record that adds a tenant, None where it is registered just so.

    Raises:
        CommandRefused: it is registered otherwise, or its name is another's.
    """
    _refuse_the_unreadable(tenant, unreadable)
    known = roster.get(tenant.id)
    if known is None or known.standing in _NOT_TAKEN:
        _refuse_a_taken_name(tenant, roster)
        return _record(tenant, Origin.COMMAND, signature, known)
    if known.tenant == tenant:
        return None
    if known.tenant.name != tenant.name:
        raise CommandRefused(
            f"tenant {tenant.id} is registered as {known.tenant.name}; it cannot be {tenant.name} too: "
            f"use that name, or rename it with `defender-ingest tenants change {tenant.id} --name ...`"
        )
    if known.tenant.region == tenant.region:
        raise CommandRefused(
            f"tenant {_called(tenant)} is registered with other labels: change them with "
            f"`defender-ingest tenants change {tenant.id} --label ...`"
        )
    raise CommandRefused(
        f"tenant {_called(tenant)} is registered in region {known.tenant.region}, not "
        f"{tenant.region}: change it with `defender-ingest tenants change {tenant.id} "
        f"--region {tenant.region}`"
    )


def to_change(
    known: Registration, tenant: Tenant, roster: Mapping[str, Registration], signature: Signature
) -> Registration | None:
    """Return the record that gives a tenant another name or region, None where it has them.

    It is the operator's from then on: a list that it came from does not change it back.

    Raises:
        CommandRefused: it was removed, or the name is another's.
    """
    _refuse_the_removed(known)
    if known.tenant == tenant:
        return None
    _refuse_a_taken_name(tenant, roster)
    return _signed(replace(known, tenant=tenant, origin=Origin.COMMAND), signature)


def to_standing(
    known: Registration, standing: Standing, signature: Signature
) -> Registration | None:
    """Return the record that pauses, resumes or removes a tenant, None where it is so already.

    Raises:
        CommandRefused: it was removed, and only adding it brings it back; or it awaits approval, and can
            only be removed.
    """
    if known.standing is standing:
        return None
    _refuse_the_removed(known)
    if standing is not Standing.REMOVED:
        _refuse_the_awaiting(known)
    order = None if standing is Standing.REMOVED else known.order
    return _signed(replace(known, standing=standing, order=order), signature)


def to_approve(
    known: Registration, tenant: Tenant, roster: Mapping[str, Registration], signature: Signature
) -> Registration | None:
    """Return the record that lets a tenant be read that awaits approval; None where it is read.

    `tenant` is what it is called, and where it is, from now on.

    Raises:
        CommandRefused: it is paused or was removed, or the name is another's.
    """
    _refuse_the_removed(known)
    if known.standing is Standing.PAUSED:
        raise CommandRefused(
            f"{_called(known.tenant)} is paused and awaits no approval: "
            f"`tenants resume {known.tenant.id}` reads it again"
        )
    if known.is_read:
        return None
    _refuse_a_taken_name(tenant, roster)
    return _signed(replace(known, tenant=tenant, standing=Standing.ACTIVE), signature)


def to_order(known: Registration, order: Order, signature: Signature) -> Registration:
    """Return the record that carries an order to whoever reads the tenant.

    A former one that nobody has obeyed yet is replaced by it.

    Raises:
        CommandRefused: the tenant is not read, so nobody would obey.
    """
    _refuse_the_removed(known)
    _refuse_the_awaiting(known)
    if known.standing is Standing.PAUSED:
        raise CommandRefused(
            f"{_called(known.tenant)} is paused, so nobody would do it; "
            f"`tenants resume {known.tenant.id}` first"
        )
    return _signed(replace(known, order=order), signature)


def find(
    text: str, roster: Mapping[str, Registration], unreadable: Container[str] = ()
) -> Registration:
    """Return the registered tenant that an operator means by its GUID or its name.

    Raises:
        CommandRefused: there is none, or more than one.
    """
    meant = text.strip()
    if meant.lower() in unreadable:
        raise CommandRefused(f"tenant {meant.lower()}: {_UNREADABLE}")
    if (by_id := roster.get(meant.lower())) is not None:
        return by_id
    named = [one for one in roster.values() if _folded(one) == meant.casefold()]
    # A removed one's name may be another's by now.
    named = [one for one in named if one.standing is not Standing.REMOVED] or named
    if len(named) == 1:
        return named[0]
    if named:
        ids = ", ".join(sorted(one.tenant.id for one in named))
        raise CommandRefused(f"more than one tenant is named {meant}: give the GUID, one of {ids}")
    names = {_folded(one): one.tenant.name for one in roster.values()}
    close = get_close_matches(meant.casefold(), names, 1)
    hint = f"did you mean {names[close[0]]}?" if close else "see `defender-ingest tenants list`"
    raise CommandRefused(f"no tenant {meant} is registered; {hint}")


def name_taken(tenant: Tenant, roster: Mapping[str, Registration]) -> Registration | None:
    """Return whoever else goes by the tenant's name, read or paused."""
    for one in roster.values():
        same = _folded(one) == tenant.name.casefold()
        if same and one.tenant.id != tenant.id and one.standing is not Standing.REMOVED:
            return one
    return None


_NOT_TAKEN = (Standing.REMOVED, Standing.AWAITING)
"""Who stands so is read as soon as anybody of ours asks for it."""

_UNREADABLE = (
    "its record in the tenants topic is damaged or of a newer version and is not written over: "
    "use the version that wrote it, or delete the record (see docs/operations.md) and add it anew"
)


def _without_clashes(
    wanted: list[Registration], removed: list[Registration], roster: Mapping[str, Registration]
) -> tuple[set[str], list[str]]:
    """Leave out whoever would get a name that another has then; return who is left, and the refusals.

    Names are judged as they would be after all of it, so that two tenants can swap theirs.
    """
    writes = {one.tenant.id: one for one in wanted}
    gone = {one.tenant.id: one for one in removed}
    refusals: list[str] = []
    while True:
        holders: defaultdict[str, list[Registration]] = defaultdict(list)
        for one in ({**roster, **gone, **writes}).values():
            if one.standing is not Standing.REMOVED:
                holders[_folded(one)].append(one)
        clashing = [
            (one, other)
            for one in writes.values()
            for other in holders[_folded(one)]
            if other.tenant.id != one.tenant.id
        ]
        if not clashing:
            return set(writes), refusals
        for one, other in clashing:
            # Who is refused keeps its former name, which may be what another one is to get.
            if writes.pop(one.tenant.id, None) is not None:
                refusals.append(_clash(one.tenant, other.tenant))


def _refuse_the_unreadable(tenant: Tenant, unreadable: Container[str]) -> None:
    if tenant.id in unreadable:
        raise CommandRefused(f"tenant {_called(tenant)}: {_UNREADABLE}")


def _refuse_the_removed(known: Registration) -> None:
    if known.standing is Standing.REMOVED:
        raise CommandRefused(
            f"tenant {_called(known.tenant)} was removed by {known.by}: add it anew with "
            f"`defender-ingest tenants add {known.tenant.id} --name ...`"
        )


def _refuse_the_awaiting(known: Registration) -> None:
    if known.standing is Standing.AWAITING:
        raise CommandRefused(
            f"{_called(known.tenant)} awaits approval and is not read: `tenants approve "
            f"{known.tenant.id} --name ...` lets it be, `tenants remove {known.tenant.id}` does not"
        )


def _refuse_a_taken_name(tenant: Tenant, roster: Mapping[str, Registration]) -> None:
    if (other := name_taken(tenant, roster)) is not None:
        raise CommandRefused(f"tenant {_clash(tenant, other.tenant)}")


def _clash(tenant: Tenant, other: Tenant) -> str:
    return f"{_called(tenant)}: the name is that of tenant {other.id} already; choose another name"


def _called(tenant: Tenant) -> str:
    return f"{tenant.name} ({tenant.id})"


def _folded(one: Registration) -> str:
    return one.tenant.name.casefold()


def _record(
    tenant: Tenant, origin: Origin, signature: Signature, known: Registration | None
) -> Registration:
    return Registration(
        tenant=tenant,
        standing=Standing.ACTIVE,
        origin=origin,
        by=signature.by,
        at=signature.at,
        why=signature.why,
        # Used is used: nobody else can come by it.
        invitation=None if known is None else known.invitation,
    )


def _signed(registration: Registration, signature: Signature) -> Registration:
    return replace(registration, by=signature.by, at=signature.at, why=signature.why)

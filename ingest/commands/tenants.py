"""`defender-ingest tenants`: what each of its acts does, and the plain words that it is told in."""

import argparse
import asyncio
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from ingest.commands.acts import Acts
from ingest.commands.customer import guid_of, labelled, name_of, region_of
from ingest.commands.desk import Desk, open_desk
from ingest.commands.listing import Listing
from ingest.commands.paint import Paint
from ingest.commands.roles import as_json, as_table, lacking
from ingest.commands.table import terminal_width
from ingest.errors import CommandRefused
from ingest.identity.consent import directory_consent_url
from ingest.model.enrolment import (
    REMOVALS_PERCENT,
    Plan,
    Signature,
    find,
    from_file,
    to_add,
    to_approve,
    to_change,
    to_order,
    to_standing,
)
from ingest.model.instant import format_instant, from_unix
from ingest.model.roster import Order, OrderKind, Origin, Registration, Standing
from ingest.model.tenant import Feed, Tenant
from ingest.runtime.whoami import whoami
from ingest.settings.models import Settings
from ingest.settings.tenants_file import load_tenants

_DAY = 86_400

_DONE = {
    Standing.PAUSED: "paused. Whoever reads it stops at once; what is remembered of it is kept",
    Standing.ACTIVE: "resumed. It is read from where it stopped, as far as the API still has it",
    Standing.REMOVED: "removed. Whoever reads it stops at once and forgets where it was; its alerts "
    "in Kafka stay. Its record is kept, so that no restart brings it back",
}
_WANTED = {"pause": Standing.PAUSED, "resume": Standing.ACTIVE, "remove": Standing.REMOVED}


def perform(
    arguments: argparse.Namespace, settings: Settings, *, say: Callable[[str], None]
) -> int:
    """Do what was asked for; return the exit code.

    Raises:
        IngestError: nothing, or not all of it, was done; the message says which.
    """
    return asyncio.run(_Acts(settings, arguments, say).perform())


class _Acts(Acts):
    """One command: its words, and what each act needs of the world."""

    async def perform(self) -> int:
        """Do the act; return the exit code."""
        acts = {
            "list": self._list,
            "add": self._add,
            "change": self._change,
            "approve": self._approve,
            "apply": self._apply,
            "rewind": self._order,
            "refetch": self._order,
        }
        act = self._words.act
        if act in _WANTED:
            return await self._to_standing(_WANTED[act])
        return await acts[act]()

    async def _list(self) -> int:
        if self._words.missing_role is not None:
            return await self._list_lacking(self._words.missing_role)
        async with self._open(make_topics=False) as desk:
            listing = Listing(
                roster=desk.roster,
                unreadable=desk.unreadable,
                statuses=await desk.statuses(),
                now=self._clock.unix(),
                state=self._words.state,
            )
        in_json = self._words.json
        table = listing.as_table(terminal_width(), Paint.of_terminal())
        for line in listing.as_json() if in_json else table:
            self._say(line)
        return 0

    async def _list_lacking(self, role: str) -> int:
        async with self._open(make_topics=False) as desk:
            roster = desk.roster
        found = await lacking(
            role, roster.values(), self._settings, clock=self._clock, log=self._log
        )
        asked = sum(one.is_read for one in roster.values())
        lines = as_json(found, role) if self._words.json else as_table(found, role, asked)
        for line in lines:
            self._say(line)
        return 0

    async def _add(self) -> int:
        words = self._words
        name, region = name_of(words.name), self._region(words.region)
        labels = self._labels(())
        tenant = Tenant(
            await guid_of(words.tenant, self._settings, say=self._say),
            name,
            region,
            labels,
        )
        self._refuse_the_unroutable(tenant)
        async with self._open(make_topics=True) as desk:
            self._tell_of_topics(desk)
            record = to_add(tenant, desk.roster, self._signature(), desk.unreadable)
            before = desk.roster.get(tenant.id)
            if record is None:
                paused = before is not None and before.standing is Standing.PAUSED
                hint = f"; it is paused: `tenants resume {tenant.id}` reads it again"
                self._say(
                    f"{_called(tenant)} is registered already, in region {tenant.region}: nothing to do"
                    + (hint if paused else "")
                )
                return 0
            await desk.write([record])
        days = self._settings.poll.first_look_back_seconds / _DAY
        self._say(f"{_called(tenant)}, region {tenant.region}: added")
        self._say(f"running replicas begin to read it at once, from {days:.3g} days back")
        if before is not None:
            self._say(_again(before))
        entra = self._settings.entra
        link = directory_consent_url(
            login_url=entra.login_url, client_id=entra.client_id, tenant=tenant.id
        )
        self._say(f"its administrator has to have consented once, at {link}")
        return 0

    async def _change(self) -> int:
        words = self._words
        if words.name is None and words.region is None and not words.label:
            raise CommandRefused("nothing to change: give --name, --region or --label", usage=True)
        async with self._open(make_topics=False) as desk:
            known = find(words.tenant, desk.roster, desk.unreadable)
            tenant = self._as_told(known.tenant)
            record = to_change(known, tenant, desk.roster, self._signature())
            if record is None:
                self._say(f"{_called(tenant)} is so already: nothing to do")
                return 0
            await desk.write([record])
        self._say(f"{_called(tenant)}: {_difference(known.tenant, tenant)}")
        self._tell_of_another_topic(known.tenant, tenant)
        if known.origin in (Origin.FILE, Origin.CONFIG):
            self._say(f"it came by {known.origin}, which does not change it any more")
        return 0

    def _as_told(self, tenant: Tenant) -> Tenant:
        """Return a tenant with the name, region and labels that the command gives it.

        Raises:
            CommandRefused: one of them cannot be, or leads to no topic.
        """
        words = self._words
        if words.name is not None:
            tenant = replace(tenant, name=name_of(words.name))
        if words.region is not None:
            tenant = replace(tenant, region=self._region(words.region))
        tenant = replace(tenant, labels=self._labels(tenant.labels))
        self._refuse_the_unroutable(tenant)
        return tenant

    async def _approve(self) -> int:
        words = self._words
        async with self._open(make_topics=False) as desk:
            known = find(words.tenant, desk.roster, desk.unreadable)
            tenant = self._as_told(known.tenant)
            record = to_approve(known, tenant, desk.roster, self._signature("approved"))
            if record is None:
                self._say(f"{_called(tenant)} is read already: nothing to do")
                return 0
            await desk.write([record])
        self._say(f"{_called(tenant)}, region {tenant.region}: approved; it is read from now on")
        return 0

    async def _to_standing(self, standing: Standing) -> int:
        async with self._open(make_topics=False) as desk:
            known = find(self._words.tenant, desk.roster, desk.unreadable)
            record = to_standing(known, standing, self._signature())
            if record is None:
                self._say(f"{_called(known.tenant)} is {standing} already: nothing to do")
                return 0
            await desk.write([record])
        self._say(f"{_called(known.tenant)}: {_DONE[standing]}")
        if standing is Standing.REMOVED and known.origin is Origin.FILE:
            self._say(
                "it came from a file: take it out there too, or the next `apply` adds it anew"
            )
        return 0

    async def _order(self) -> int:
        words = self._words
        if words.act == "rewind":
            order = Order(uuid.uuid4().hex, OrderKind.REWIND, since=words.since)
            told = f"what changed since {format_instant(words.since)} is read and published again"
        else:
            order = Order(uuid.uuid4().hex, OrderKind.REFETCH, alert=words.alert)
            told = f"alert {words.alert} is fetched and published again"
        async with self._open(make_topics=False) as desk:
            known = find(words.tenant, desk.roster, desk.unreadable)
            await desk.write([to_order(known, order, self._signature())])
        self._say(f"{_called(known.tenant)}: {told}, once, by whoever reads it")
        self._say(f"what may be there already has the header ce_replay={order.id}")
        return 0

    async def _apply(self) -> int:
        words = self._words
        settings = self._settings
        entries = load_tenants(
            words.file, settings.logins, settings.entra.login_url, settings.kafka.routing
        )
        wanted = [one.tenant for one in entries]
        signature = self._signature(f"applied from {words.file.name}")
        async with self._open(make_topics=not words.dry_run) as desk:
            self._tell_of_topics(desk)
            plan = from_file(wanted, desk.roster, signature, desk.unreadable)
            if not wanted:
                return self._apply_nobody(plan)
            for line in _plan_lines(plan, desk.roster):
                self._say(line)
            self._refuse_too_many(plan)
            if words.dry_run:
                self._say("nothing was written: this is a dry run")
            elif plan.writes:
                await desk.write(plan.writes)
                self._say("done; running replicas follow at once")
            else:
                self._say("nothing to do")
        if plan.refused:
            raise CommandRefused(
                f"{words.file}: {len(plan.refused)} of {len(wanted)} tenants were refused, see `!` above; "
                "mend them and apply it again (the others are not held up by them)"
            )
        return 0

    def _apply_nobody(self, plan: Plan) -> int:
        file = self._words.file
        if plan.listed_before:
            raise CommandRefused(
                f"{file}: names no tenant, which is taken for a mistake: none of the "
                f"{plan.listed_before} tenants that came from files was removed, whatever "
                "--allow-removals says. To remove them, use `defender-ingest tenants remove` for each"
            )
        self._say(f"{file}: names no tenant, and none came from a file before: nothing to do")
        return 0

    def _refuse_too_many(self, plan: Plan) -> None:
        allowed = self._words.allow_removals
        if not plan.removes_too_many(allowed):
            return
        limit = f"{REMOVALS_PERCENT} %" if allowed is None else f"the {allowed} allowed"
        count = len(plan.removed)
        raise CommandRefused(
            f"{self._words.file}: would remove {count} of {plan.listed_before} tenants that came from "
            f"files, more than {limit}: nothing was written; if that is meant, say "
            f"--allow-removals {count}"
        )

    def _open(self, *, make_topics: bool) -> AbstractAsyncContextManager[Desk]:
        kafka = self._settings.kafka
        return open_desk(kafka, make_topics=make_topics, clock=self._clock, log=self._log)

    def _tell_of_topics(self, desk: Desk) -> None:
        if desk.topics_made:
            prefix = self._settings.kafka.prefix
            self._say(f"the topics {prefix}.* were not there and have been made")

    def _signature(self, why: str = "") -> Signature:
        words = self._words
        return Signature(by=words.by or whoami(), at=self._clock.unix(), why=words.why or why)

    def _labels(self, before: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        return labelled(before, self._words.label)

    def _region(self, text: str | None) -> str:
        return region_of(text, self._settings)

    def _tell_of_another_topic(self, before: Tenant, after: Tenant) -> None:
        route = self._settings.kafka.routing
        if route.refusal(before) is not None:
            return
        for feed in Feed:
            former, topic = route.topic(before, feed), route.topic(after, feed)
            if topic != former:
                self._say(
                    f"its alerts go to {topic} from now on; what is in {former} stays there, and the order "
                    "of an alert's versions holds within each of the two"
                )

    def _refuse_the_unroutable(self, tenant: Tenant) -> None:
        if (why := self._settings.kafka.routing.refusal(tenant)) is not None:
            raise CommandRefused(why)


def _plan_lines(plan: Plan, roster: Mapping[str, Registration]) -> Iterator[str]:
    """Yield what a plan does, a tenant a line, and one that counts."""
    for one in plan.added:
        before = roster.get(one.tenant.id)
        note = "" if before is None else f"; {_again(before)}"
        yield f"+ {_called(one.tenant)}, region {one.tenant.region}{note}"
    for one in plan.changed:
        yield f"~ {_called(one.tenant)}: {_difference(roster[one.tenant.id].tenant, one.tenant)}"
    for one in plan.removed:
        yield f"- {_called(one.tenant)}"
    for line in plan.left:
        yield f"= {line}: left alone"
    for line in plan.refused:
        yield f"! {line}"
    yield (
        f"{len(plan.added)} to add, {len(plan.changed)} to change, {len(plan.removed)} to remove, "
        f"{plan.kept} as they are, {len(plan.left)} left alone, {len(plan.refused)} refused"
    )


def _again(before: Registration) -> str:
    """Warn of what it means to add a tenant that was removed."""
    if before.standing is Standing.AWAITING:
        return f"it awaited approval, which this gives; it had {before.why}"
    when = format_instant(from_unix(before.at))[:10]
    return (
        f"warning: it was removed by {before.by} on {when} and is read from the beginning again: alerts "
        "that are in Kafka already appear there a second time"
    )


def _called(tenant: Tenant) -> str:
    return f"{tenant.name} ({tenant.id})"


def _difference(before: Tenant, after: Tenant) -> str:
    parts = []
    if before.name != after.name:
        parts.append(f"name {before.name} is now {after.name}")
    if before.region != after.region:
        parts.append(f"region {before.region} is now {after.region}")
    labels = dict(before.labels), dict(after.labels)
    for label in sorted(labels[0].keys() | labels[1].keys()):
        was, now = (some.get(label, "none") for some in labels)
        if was != now:
            parts.append(f"label {label}, {was} before, is now {now}")
    return ", ".join(parts)

"""`defender-ingest invite` and `consent-url`: the links that customers are sent."""

import argparse
import asyncio
import json
import secrets
from collections.abc import Callable

from ingest.commands.acts import Acts
from ingest.commands.customer import guid_of, labelled, name_of, region_of
from ingest.commands.desk import open_desk
from ingest.errors import CommandRefused, SettingsError
from ingest.identity.consent import admin_consent_url, authorize_url
from ingest.model.enrolment import name_taken
from ingest.model.instant import format_instant, from_unix
from ingest.model.invitation import Invitation, seal_invitation
from ingest.model.roster import Standing
from ingest.model.tenant import NOBODY, Tenant
from ingest.runtime.whoami import whoami
from ingest.settings.consent import CALLBACK, INVITATION, read_keys
from ingest.settings.models import Settings

_ID_BYTES = 12


def perform(
    arguments: argparse.Namespace, settings: Settings, *, say: Callable[[str], None]
) -> int:
    """Do what was asked for; return the exit code.

    Raises:
        IngestError: no link was made; the message says why.
    """
    acts = _Acts(settings, arguments, say)
    return asyncio.run(acts.invite() if arguments.act == "invite" else acts.link())


class _Acts(Acts):
    """One command."""

    async def invite(self) -> int:
        """Make an invitation."""
        words, consent = self._words, self._settings.consent
        if consent.url is None or consent.key_file is None:
            problem = (
                f"{words.config}: consent.url: is needed to invite: without it there is no page to "
                "invite to (see docs/onboarding.md)"
            )
            raise SettingsError([problem])
        guid = await self._guid()
        labels = labelled((), words.label)
        invitation = Invitation(
            id=secrets.token_urlsafe(_ID_BYTES),
            name=name_of(words.name, "NAME"),
            region=region_of(words.region, self._settings),
            expires=round(self._clock.unix() + consent.invitation_hours * 3600),
            tenant=guid,
            labels=dict(labels),
        )
        tenant = invitation.tenant_of(guid or NOBODY)
        await self._refuse_the_known(tenant)
        try:
            text = seal_invitation(invitation, read_keys(consent.key_file))
        except ValueError as error:
            raise CommandRefused(f"the invitation cannot be made: it {error}") from None
        link = f"{consent.url}{INVITATION}/{text}"
        until = f"{format_instant(from_unix(invitation.expires))[:16]}Z"
        self._log.info(
            "invitation_made",
            invitation=invitation.id,
            tenant=guid,
            tenant_name=invitation.name,
            by=whoami(),
            until=until,
        )
        if words.json:
            document = {"id": invitation.id, "link": link, "until": until}
            self._say(json.dumps({**document, "name": invitation.name, "tenant": guid}))
            return 0
        whose = "any directory" if guid is None else f"directory {guid} alone"
        self._say(f"an invitation for {invitation.name}, for {whose}, once, until {until}:")
        self._say(link)
        return 0

    async def link(self) -> int:
        """Show Microsoft's own links."""
        words, settings = self._words, self._settings
        guid = await self._guid()
        region = region_of(words.region, settings)
        entra, url = settings.entra, settings.consent.url
        v2 = admin_consent_url(
            login_url=entra.login_url,
            client_id=entra.client_id,
            resource=settings.regions[region].resource,
            tenant=guid,
            redirect_url=None if url is None else f"{url}{CALLBACK}",
        )
        older = authorize_url(login_url=entra.login_url, client_id=entra.client_id, tenant=guid)
        if words.json:
            self._say(json.dumps({"admin_consent": v2, "authorize": older}))
            return 0
        self._say("admin consent (v2), which names the directory when it comes back:")
        self._say(v2)
        self._say(
            "the form of Microsoft's partner documents, after which the tenant id is to be asked for:"
        )
        self._say(older)
        return 0

    async def _guid(self) -> str | None:
        text = self._words.tenant
        if text is None:
            return None
        say: Callable[[str], None] = (lambda _: None) if self._words.json else self._say
        return await guid_of(text, self._settings, say=say)

    async def _refuse_the_known(self, tenant: Tenant) -> None:
        """Refuse whom a consent would not register: it changes nothing of who is known."""
        if (why := self._settings.kafka.routing.refusal(tenant)) is not None:
            raise CommandRefused(why)
        kafka = self._settings.kafka
        async with open_desk(kafka, make_topics=False, clock=self._clock, log=self._log) as desk:
            known = desk.roster.get(tenant.id)
            other = name_taken(tenant, desk.roster)
        if known is not None:
            hint = "add it anew with `tenants add`"
            if known.standing is not Standing.REMOVED:
                hint = "send it a link of `consent-url` if it has to consent again"
            raise CommandRefused(
                f"tenant {tenant.id} is registered already, as {known.tenant.name} ({known.standing}), and a "
                f"consent changes nothing of that: {hint}"
            )
        if other is not None:
            raise CommandRefused(
                f"{tenant.name} is the name of tenant {other.tenant.id} already; choose another name"
            )

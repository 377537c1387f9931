"""Which topic a tenant's alerts go to, by a template over what never changes in an alert's life.

A severity or a status changes, and would part the versions of one alert (law 3). Pure.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from ingest.errors import TenantUnroutable
from ingest.model.tenant import Feed, Tenant

_FIELD = re.compile(r"\{([^{}]*)\}")
_LABEL = re.compile(r"label\.([a-z][a-z0-9]{0,14})")
_KNOWN = ("prefix", "feed", "region")
_LITERAL = re.compile(r"[A-Za-z0-9._-]*")
_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
"""What Kafka takes as a topic's name."""

_OURS = ("quarantine", "checkpoints", "tenants", "tenant-status")


class Route:
    """Where alerts go.

    Args:
        template: see `Kafka.route` in the settings.
        topics: every topic that it may lead to; none where it names the prefix alone.
        prefix: the installation's.

    Raises:
        ValueError: it cannot be meant so; the message says why.
    """

    def __init__(self, template: str, topics: Sequence[str], *, prefix: str) -> None:
        self.check(template)
        self._template = template.replace("{prefix}", prefix)
        self._fields = tuple(_FIELD.findall(self._template))
        self.default = f"{prefix}.alerts"
        if not self._fields:
            if any(topic != self._template for topic in topics):
                raise ValueError("must be empty: kafka.route leads to one topic only")
            topics = [self._template]
        elif not topics:
            raise ValueError(
                f"must name every topic that kafka.route may lead to, since it goes by {self._fields[0]}"
            )
        self.topics = tuple(topics)
        self._check_topics(prefix)
        self._lead = lru_cache(maxsize=65_536)(self._topic_of)

    @staticmethod
    def check(template: str) -> None:
        """Refuse a template that can lead nowhere.

        Raises:
            ValueError: saying what of it is wrong.
        """
        for name in _FIELD.findall(template):
            if name not in _KNOWN and not _LABEL.fullmatch(name):
                raise ValueError(
                    f"{{{name[:40]}}} is nothing that a route can go by; use {{prefix}}, {{feed}}, "
                    "{region} or {label.NAME}, which never change in an alert's life"
                )
        if not _LITERAL.fullmatch(_FIELD.sub("", template)):
            raise ValueError(
                "beside names in braces, only A-Z, a-z, 0-9, '.', '_' and '-' are taken"
            )

    @property
    def is_fixed(self) -> bool:
        """Whether all alerts go to one topic."""
        return not self._fields

    def topic(self, tenant: Tenant, feed: Feed) -> str:
        """Return the topic of one feed's alerts.

        Raises:
            TenantUnroutable: it leads to none of the configured ones; the message names the remedy.
        """
        return self._lead(tenant, feed)

    def refusal(self, tenant: Tenant, feeds: Iterable[Feed] = Feed) -> str | None:
        """Return why a tenant's alerts have nowhere to go, None if they have."""
        if not self._fields:
            return None
        try:
            for feed in feeds:
                self.topic(tenant, feed)
        except TenantUnroutable as error:
            return str(error)
        return None

    def _check_topics(self, prefix: str) -> None:
        ours = {f"{prefix}.{name}" for name in _OURS}
        form = re.compile(
            "".join(
                re.escape(part) if at % 2 == 0 else "[A-Za-z0-9._-]+"
                for at, part in enumerate(_FIELD.split(self._template))
            )
        )
        for topic in self.topics:
            if not _TOPIC.fullmatch(topic):
                raise ValueError(f"{topic[:80]!r} is no name that Kafka takes")
            if topic in ours:
                raise ValueError(f"{topic} is a topic of the daemon's own; choose another name")
            if not form.fullmatch(topic):
                raise ValueError(f"{topic}: kafka.route can never lead there; mend one of the two")
        if len(set(self.topics)) < len(self.topics):
            raise ValueError("names a topic twice; remove one")

    def _topic_of(self, tenant: Tenant, feed: Feed) -> str:
        labels = dict(tenant.labels)
        found = {"feed": str(feed), "region": tenant.region}
        found |= {f"label.{name}": value for name, value in labels.items()}
        who = f"tenant {tenant.name} ({tenant.id})"
        for name in self._fields:
            if name not in found:
                label = name.removeprefix("label.")
                raise TenantUnroutable(
                    f"{who} has no label {label}, which kafka.route goes by: its alerts have no topic, so "
                    f"it is not read; give it one with `defender-ingest tenants change {tenant.id} --label "
                    f"{label}=...`"
                )
        topic = _FIELD.sub(lambda match: found[match[1]], self._template)
        if topic not in self.topics:
            raise TenantUnroutable(
                f"{who}: its alerts would go to topic {topic[:120]}, which is none of kafka.route_topics, so "
                "it is not read; change its labels or region with `defender-ingest tenants change "
                f"{tenant.id}`, or add the topic to every replica's kafka.route_topics"
            )
        return topic

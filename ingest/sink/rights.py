"""What Kafka's authorizer has to allow, for whom: the list behind `docs/kafka.md`, the errors and a test.

Read, Write and Alter each include Describe; DescribeConfigs is a right of its own.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from ingest.sink.layout import TopicNames


class Kind(StrEnum):
    """Of a resource; as `kafka-acls` names its option."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactional-id"


@dataclass(frozen=True, slots=True)
class Right:
    """One operation on one resource.

    Args:
        kind: of the resource.
        name: of the resource, or what its name begins with.
        operation: as Kafka names it.
        why: what does not work without it.
        prefixed: whether the name is only the beginning of names.
    """

    kind: Kind
    name: str
    operation: str
    why: str
    prefixed: bool = False

    def command(self, principal: str) -> str:
        """Return the command that grants it."""
        words = ["kafka-acls", "--add", "--allow-principal", principal]
        words += ["--operation", self.operation]
        words += [f"--{self.kind}", self.name]
        if self.prefixed:
            words += ["--resource-pattern-type", "prefixed"]
        return shlex.join(words)


def daemon(names: TopicNames, *, creates: bool, transacts: bool = True) -> tuple[Right, ...]:
    """Return what the daemon needs.

    Args:
        names: of the installation.
        creates: whether it makes absent topics (`kafka.create_topics`).
        transacts: whether it commits in transactions (`kafka.delivery`).
    """
    topic = Kind.TOPIC
    data = (
        *(Right(topic, one, "Write", "alerts are published") for one in names.alert_topics),
        Right(topic, names.quarantine, "Write", "what cannot be published is set aside"),
        Right(topic, names.checkpoints, "Read", "a shard is taken over from its checkpoint"),
        Right(topic, names.checkpoints, "Write", "checkpoints are committed with their alerts"),
        Right(topic, names.tenants, "Read", "tenants are known, and shared among replicas"),
        Right(
            topic,
            names.tenants,
            "Write",
            "tenants of the configuration and of the consent page are registered",
        ),
        Right(
            topic, names.status, "Read", "a tenant's history goes on, and every replica shows all"
        ),
        Right(topic, names.status, "Write", "how each tenant is doing is reported"),
        Right(Kind.GROUP, names.group, "Read", "replicas share the work"),
    )
    fences = Right(
        Kind.TRANSACTIONAL_ID,
        names.transactional_ids,
        "Write",
        "each shard commits in transactions, and fences its former owner",
        prefixed=True,
    )
    return (
        *data,
        *((fences,) if transacts else ()),
        *_checks(names),
        *(_makes(names) if creates else ()),
    )


def _makes(names: TopicNames) -> Iterator[Right]:
    start, why = f"{names.prefix}.", "absent topics are made"
    yield Right(Kind.TOPIC, start, "Create", why, prefixed=True)
    for name in names.alert_topics:
        if not name.startswith(start):
            yield Right(Kind.TOPIC, name, "Create", why)


def commands(names: TopicNames) -> dict[str, tuple[Right, ...]]:
    """Return what an operator's commands need, by command."""
    topic, checks = Kind.TOPIC, _checks(names)
    seen = tuple(
        Right(topic, name, "Describe", "topics are checked first")
        for name in (*names.alert_topics, names.quarantine, names.checkpoints)
    )
    listing = (
        Right(topic, names.tenants, "Read", "who is registered"),
        Right(topic, names.status, "Read", "how each tenant is doing"),
        *seen,
        *checks,
    )
    changing = (*listing, Right(topic, names.tenants, "Write", "a change is one record"))
    quarantine = Right(topic, names.quarantine, "Read", "what was set aside")
    return {
        "topics --check": tuple(
            Right(topic, name, "Describe", "partitions are compared") for name in names.all
        )
        + checks,
        "tenants list": listing,
        "doctor": (
            *listing,
            Right(topic, names.checkpoints, "Read", "where the tenant's reading stands"),
        ),
        "quarantine list, show": (quarantine,),
        "quarantine retry": (quarantine, *changing),
        "tenants add, change, pause, …": changing,
        "reshard": (
            *(Right(topic, one, "Alter", "topics grow") for one in names.by_shard),
            *(Right(topic, one, "Read", "what is moved") for one in names.by_shard),
            *(Right(topic, one, "Write", "where it is moved") for one in names.by_shard),
            *seen[:-1],
            *checks,
            Right(Kind.GROUP, names.group, "Describe", "no replica may run"),
            Right(
                Kind.TRANSACTIONAL_ID,
                names.transactional_ids,
                "Write",
                "every shard is fenced, and moves in transactions",
                prefixed=True,
            ),
        ),
    }


def consumer(names: TopicNames, group: str) -> tuple[Right, ...]:
    """Return what a consumer of the alerts needs, in a group of its own."""
    return (
        *(Right(Kind.TOPIC, one, "Read", "alerts are read") for one in names.alert_topics),
        Right(Kind.GROUP, group, "Read", "offsets are kept"),
    )


def _checks(names: TopicNames) -> tuple[Right, ...]:
    return tuple(
        Right(Kind.TOPIC, name, "DescribeConfigs", "cleanup and record sizes are checked")
        for name in names.all
    )


def on(rights: tuple[Right, ...], topic: str) -> Iterator[Right]:
    """Yield those on a topic that include its being seen at all."""
    return (
        one
        for one in rights
        if (one.kind, one.name) == (Kind.TOPIC, topic) and one.operation != "DescribeConfigs"
    )

"""The law of invitations: however consents cross, nobody but one tenant is ever read by one of them."""

import uuid
from collections.abc import Generator

from hypothesis import given
from hypothesis import strategies as st

from ingest.model.admission import newcomer, promoted, standing_of
from ingest.model.invitation import Invitation
from ingest.model.roster import Registration, Standing, decode_registration
from ingest.model.roster import encode_registration as encode

IDS = [str(uuid.UUID(int=n)) for n in range(1, 5)]
INVITATIONS = [
    Invitation(id=f"i{number}", name=name, region="eu", expires=9)
    for number, name in enumerate(["Contoso", "Fabrikam", "contoso"])
]
CONSENTS = st.lists(
    st.tuples(st.sampled_from(IDS), st.sampled_from([None, *INVITATIONS])), min_size=1, max_size=6
)


def consent(tenant, invitation, topic) -> Generator[None, None, None]:
    """One replica at work; it can stop for ever at each yield, as a crash would have it."""
    roster = dict(topic)
    yield
    if standing_of(tenant, invitation, roster) is not None:
        return
    written = newcomer(tenant, invitation, "eu", roster, 5.0)
    write(topic, written)
    yield
    roster = dict(topic)
    yield
    if (record := promoted(written, invitation, roster)) is not None:
        write(topic, record)


def write(topic, record: Registration) -> None:
    # Through the bytes, as it would be read back.
    topic[record.tenant.id] = decode_registration(record.tenant.id.encode(), encode(record))


def run(consents, turns) -> dict[str, Registration]:
    topic: dict[str, Registration] = {}
    running = [consent(*one, topic) for one in consents]
    for turn in turns:
        next(running[turn % len(running)], None)
    return topic


def active_by(topic):
    return [one.invitation for one in topic.values() if one.is_read]


@given(CONSENTS, st.lists(st.integers(0, 5), max_size=40))
def test_an_invitation_makes_one_tenant_read_at_most_and_nobody_is_read_without(consents, turns):
    topic = run(consents, turns)
    found = active_by(topic)
    assert None not in found
    # Two consents of one tenant may cross, and then say the same.
    assert len(found) == len(set(found))
    names = [one.tenant.name.casefold() for one in topic.values() if one.is_read]
    assert len(names) == len(set(names))


@given(CONSENTS)
def test_one_after_another_the_first_of_each_invitation_is_read(consents):
    topic = run(consents, [n for n in range(len(consents)) for _ in range(5)])
    firsts: dict[str, str] = {}
    seen: set[str] = set()
    names: set[str] = set()
    for tenant, invitation in consents:
        new = tenant not in seen
        if invitation is not None and new and invitation.id not in firsts:
            firsts[invitation.id] = tenant
            expected = invitation.name.casefold() not in names
            assert (topic[tenant].standing is Standing.ACTIVE) == expected
            if expected:
                names.add(invitation.name.casefold())
            seen.add(tenant)
        elif invitation is None and new:
            assert topic[tenant].standing is Standing.AWAITING
            seen.add(tenant)

"""Invitations and states are believed only as they were signed, and each only for what it is."""

import base64
import json

import pytest

from ingest.model.invitation import (
    LONGEST,
    Invitation,
    Visit,
    browser_mark,
    keys_of,
    open_invitation,
    open_visit,
    seal_invitation,
    seal_visit,
)

KEY, OTHER = b"k" * 32, b"o" * 32
GUID = "11111111-1111-1111-1111-111111111111"
CONTOSO = Invitation(
    id="abc", name="Contoso Zürich", region="eu", expires=5, tenant=GUID, labels={"tier": "gold"}
)
VISIT = Visit(browser=browser_mark("cookie"), expires=7, invitation=CONTOSO)


def test_an_invitation_says_what_was_sealed():
    text = seal_invitation(CONTOSO, [KEY])
    assert open_invitation(text, [KEY]) == CONTOSO
    assert text.isascii()
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


def test_a_state_carries_its_invitation_or_none():
    assert open_visit(seal_visit(VISIT, [KEY]), [KEY]) == VISIT
    alone = Visit(browser="b", expires=7)
    assert open_visit(seal_visit(alone, [KEY]), [KEY]) == alone


def test_any_change_makes_it_worthless():
    text = seal_invitation(CONTOSO, [KEY])
    for at in range(len(text)):
        changed = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
        assert open_invitation(changed, [KEY]) is None, at
    assert open_invitation(text[:-1], [KEY]) is None
    assert open_invitation(text + "A", [KEY]) is None


@pytest.mark.parametrize("text", ["", ".", "a.b", "ä.ö", "." * 10, "x" * 5000, "e30.e30"])
def test_what_nobody_signed_is_nothing(text):
    assert open_invitation(text, [KEY]) is None
    assert open_visit(text, [KEY]) is None


def test_a_key_believes_nothing_of_another():
    assert open_invitation(seal_invitation(CONTOSO, [KEY]), [OTHER]) is None


def test_a_key_that_is_being_exchanged_is_still_believed():
    text = seal_invitation(CONTOSO, [KEY])
    assert open_invitation(text, [OTHER, KEY]) == CONTOSO
    assert open_invitation(seal_invitation(CONTOSO, [OTHER, KEY]), [OTHER]) == CONTOSO


def test_an_invitation_is_no_state_and_a_state_no_invitation():
    assert open_visit(seal_invitation(CONTOSO, [KEY]), [KEY]) is None
    assert open_invitation(seal_visit(VISIT, [KEY]), [KEY]) is None


def test_another_version_is_as_good_as_forged(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("ingest.model.invitation.VERSION", 2)
        text = seal_invitation(CONTOSO, [KEY])
    assert open_invitation(text, [KEY]) is None


@pytest.mark.parametrize("change", [{"tenant": "everybody"}, {"labels": {"Not A Name": "x"}}])
def test_what_could_make_no_tenant_is_refused_though_it_is_signed(change):
    text = seal_invitation(
        Invitation(**({"id": "a", "name": "b", "region": "c", "expires": 1} | change)), [KEY]
    )
    assert open_invitation(text, [KEY]) is None


def test_what_does_not_fit_into_a_link_is_not_made():
    labels = {f"l{number}": "x" * 100 for number in range(16)}
    large = Invitation(id="a", name="b", region="c", expires=1, labels=labels)
    with pytest.raises(ValueError, match="labels for a link"):
        seal_invitation(large, [KEY])
    assert len(seal_visit(VISIT, [KEY])) < LONGEST


def test_an_invitation_can_be_read_and_holds_no_key():
    body = seal_invitation(CONTOSO, [KEY]).partition(".")[0]
    document = json.loads(base64.urlsafe_b64decode(body + "=="))
    assert document[1]["name"] == "Contoso Zürich"
    assert "k" * 8 not in str(document)


def test_a_state_does_not_show_the_cookie_that_it_is_bound_to():
    assert browser_mark("cookie") != browser_mark("cookie2")
    assert "cookie" not in browser_mark("cookie")


def test_the_first_of_the_keys_signs_and_short_ones_are_refused():
    first, second = "a" * 32, "b" * 40
    assert keys_of(f"\n{first}\n  {second} \n") == [first.encode(), second.encode()]
    with pytest.raises(ValueError, match="no key"):
        keys_of(" \n")
    with pytest.raises(ValueError, match="fewer than 32"):
        keys_of(f"{first}\nshort")


def test_a_tenant_of_it_has_its_name_region_and_labels():
    tenant = CONTOSO.tenant_of(GUID)
    assert (tenant.id, tenant.name, tenant.region) == (GUID, "Contoso Zürich", "eu")
    assert tenant.labels == (("tier", "gold"),)

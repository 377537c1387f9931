"""Every former release's records are read as they were written, and mean what they meant."""

import json

import pytest

from ingest import __version__
from ingest.model.contract import schema
from ingest.model.roster import OrderKind, Origin, Standing
from ingest.model.status import Blame, State
from tests.upgrade.freeze import freeze
from tests.upgrade.frozen import HERE, meaning, says_at_least, written


def members_of(shape: str) -> set[str]:
    """Return the members that the contract names."""
    described = json.loads(schema(shape))
    return set(described["$defs"][described["$ref"].rpartition("/")[2]]["properties"])


RELEASES = sorted(HERE.glob("*.json"))


@pytest.mark.parametrize("release", RELEASES, ids=[one.stem for one in RELEASES])
def test_what_a_release_wrote_means_what_it_meant(release):
    frozen = json.loads(release.read_text())
    now = meaning(frozen["records"])
    for topic, then in frozen["means"].items():
        assert says_at_least(now[topic], then), topic


def test_this_release_has_frozen_what_it_writes():
    assert HERE / f"{__version__}.json" in RELEASES


def test_every_word_that_a_record_may_hold_is_among_the_frozen():
    said = json.dumps(written()["tenants"]) + json.dumps(written()["tenant-status"])
    for words in (Standing, Origin, OrderKind, State, Blame):
        missing = [one.value for one in words if f'\\"{one.value}\\"' not in said]
        assert missing == [], words
    records = (*written()["tenants"].values(), *written()["tenant-status"].values())
    members = {name for one in records for name in json.loads(one)}
    described = {name for shape in ("tenant", "tenant-status") for name in members_of(shape)}
    assert members == described


def test_what_is_written_now_is_read_now():
    assert meaning(written())["checkpoints"]["probed"]["known"] == "duplicate"


def test_another_meaning_is_noticed():
    assert says_at_least({"a": {"b": 1, "new": 2}}, {"a": {"b": 1}})
    assert not says_at_least({"a": {"b": 2}}, {"a": {"b": 1}})
    assert not says_at_least({"a": {}}, {"a": {"b": 1}})
    assert not says_at_least({"a": None}, {"a": {}})


def test_a_frozen_file_is_never_written_over():
    with pytest.raises(FileExistsError):
        freeze(RELEASES[0].stem)

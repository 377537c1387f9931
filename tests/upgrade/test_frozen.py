"""Every former release's records are read as they were written, and mean what they meant."""

import json

import pytest

from ingest import __version__
from tests.upgrade.freeze import freeze
from tests.upgrade.frozen import HERE, meaning, says_at_least, written

RELEASES = sorted(HERE.glob("*.json"))


@pytest.mark.parametrize("release", RELEASES, ids=[one.stem for one in RELEASES])
def test_what_a_release_wrote_means_what_it_meant(release):
    frozen = json.loads(release.read_text())
    now = meaning(frozen["records"])
    for topic, then in frozen["means"].items():
        assert says_at_least(now[topic], then), topic


def test_this_release_has_frozen_what_it_writes():
    assert HERE / f"{__version__}.json" in RELEASES


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

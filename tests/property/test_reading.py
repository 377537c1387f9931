"""The laws, held against all quirks together, by the real state and the real sweep."""

from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.fakes.vendor import Quirks
from tests.property.reader import Reader
from tests.property.worlds import BEGIN, SECOND, SKEWS, World, worlds

CAPS = (None, 5, 6, 9)
MOST_CALLS = 2_000

CALM = st.builds(
    Quirks,
    order=st.sampled_from(["ascending", "ignored", "descending"]),
    cap=st.sampled_from(CAPS),
    links=st.sampled_from(["absent", "honest", "looping", "empty", "foreign"]),
    literals=st.sampled_from([1, SECOND]),
    skew=st.sampled_from(SKEWS),
)
"""An API that keeps one order and honours `$skip`, as documented; links and caps are its own."""


@settings(deadline=None, max_examples=80)
@given(world=worlds(caps=CAPS, alerts=(5, 60)))
def test_nothing_is_lost_doubled_or_disordered_whatever_the_api_does(world):
    reader = Reader(world)
    findings = reader.run()
    event(f"crashes: {min(reader.crashes, 3)}, doubts: {min(len(findings.doubts), 3)}")
    assert not findings.broken_laws
    assert reader.received == reader.decided
    assert max(findings.calls) <= MOST_CALLS


@settings(deadline=None, max_examples=40)
@given(world=worlds(caps=CAPS, alerts=(5, 60), quirks=CALM))
def test_an_api_that_honours_skip_leaves_no_doubt_and_costs_few_calls(world):
    reader = Reader(world)
    findings = reader.run()
    assert not findings.broken_laws
    assert not findings.doubts
    assert max(findings.calls) <= 3 * (10 + len(reader.vendor.visible()))


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1_000_000), order=st.sampled_from(["ascending", "descending", "random"]))
def test_lists_in_another_order_are_no_other_version(seed, order):
    world = World(seed, busy=True, crashes=0.02, quirks=Quirks(order=order, cap=6, shuffles=True))
    assert not Reader(world).run().broken_laws


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1_000_000))
def test_alerts_from_the_end_of_time_are_published_once_and_move_no_watermark(seed):
    world = World(seed, alerts=20, future=True, crashes=0.02)
    reader = Reader(world)
    findings = reader.run()
    assert not findings.broken_laws
    assert {id_ for id_, _ in findings.seen if id_.startswith("future")} == {
        f"future{n}" for n in range(6)
    }
    assert reader.state.fast <= reader.vendor.now


def test_the_same_seed_is_the_same_world():
    world = World(7, late=True, busy=True, crashes=0.1, quirks=Quirks(order="random", cap=5))
    assert Reader(world).run().seen == Reader(world).run().seen


def test_a_world_has_what_its_traits_say():
    world = World(1, alerts=100, late=True, bulk=30, twins=True, busy=True, broken=True)
    versions = world.versions()
    assert any(v.visible - v.updated > 10 * 60 * SECOND for v in versions)
    assert any(v.broken for v in versions)
    assert len({(v.updated, v.created) for v in versions if v.id.startswith("bulk")}) == 1
    assert sum(v.id == "busy0" for v in versions) == 60
    assert any(v.updated < BEGIN for v in versions)

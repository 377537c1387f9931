"""A plan is what its seed says, has every kind of fault, and breaks no promise that is Kafka's own."""

from collections import Counter

import pytest

from tests.chaos.faults import DO
from tests.chaos.plan import KINDS, MOST_EXTRA, On, Stage, plan

SEEDS = range(1, 41)
STAGE = Stage()


def dealt(seed, faults=60, stage=STAGE, without=()):
    return plan(seed=seed, faults=faults, stage=stage, without=without)


def faults_of(steps):
    return [fault for step in steps for fault in step.faults]


def test_the_same_seed_is_the_same_plan():
    assert dealt(7) == dealt(7)
    assert dealt(7) != dealt(8)


def test_a_shorter_plan_begins_as_a_longer_one_does():
    assert dealt(3, 200)[:8] == dealt(3, 60)[:8]


@pytest.mark.parametrize("faults", [1, 2, 20, 61])
def test_there_are_as_many_faults_as_were_asked_for(faults):
    assert all(len(faults_of(dealt(seed, faults))) == faults for seed in SEEDS)


def test_every_kind_is_in_sixty_faults():
    assert all({fault.kind for fault in faults_of(dealt(seed))} == set(KINDS) for seed in SEEDS)


def test_a_plan_without_some_kinds_has_none_of_them():
    without = {"disk_full", "clock_jump"}
    assert {fault.kind for fault in faults_of(dealt(5, without=without))} == set(KINDS) - without


def test_faults_come_alone_and_in_pairs_that_overlap():
    sizes = Counter(len(step.faults) for step in dealt(1, 200))
    assert set(sizes) == {1, 2}
    assert min(sizes.values()) > 20
    for step in dealt(1, 200):
        first, *others = step.faults
        assert first.after == 0
        assert all(other.after <= max(1.0, first.seconds) + 0.1 for other in others)


def test_never_are_two_brokers_out_of_order_at_once():
    for seed in SEEDS:
        for step in dealt(seed):
            assert sum(KINDS[fault.kind].on is On.BROKER for fault in step.faults) <= 1


def test_never_do_two_faults_of_a_step_hit_one_replica():
    for seed in SEEDS:
        for step in dealt(seed):
            on = [fault for fault in step.faults if KINDS[fault.kind].on in (On.REPLICA, On.FLEET)]
            assert len({fault.target for fault in on}) == len(on)
            assert len(on) == 1 or all(fault.kind != "rolling_restart" for fault in on)


def test_only_replicas_that_are_there_are_hit():
    for seed in SEEDS:
        up = {1, 2, 3}
        for fault in faults_of(dealt(seed)):
            if fault.kind == "replica_added":
                assert fault.target not in up
                up.add(fault.target)
            elif KINDS[fault.kind].on is On.REPLICA:
                assert fault.target in up
            if fault.kind == "replica_removed":
                up.remove(fault.target)
            assert 2 <= len(up) <= STAGE.replicas + MOST_EXTRA


def test_tenants_are_added_once_and_gone_for_good_once_removed():
    for seed in SEEDS:
        present, added = set(), 0
        for fault in faults_of(dealt(seed)):
            if KINDS[fault.kind].on is not On.TENANT:
                continue
            if fault.kind == "tenant_added":
                added += 1
                assert fault.target == added
                present.add(added)
            else:
                assert fault.target in present
            if fault.kind == "tenant_removed":
                present.remove(fault.target)


def test_a_lone_replica_stays_alone_and_has_all_that_it_can_have():
    found = {fault.kind for fault in faults_of(dealt(1, stage=Stage(replicas=1, brokers=1)))}
    assert found == set(KINDS) - {"replica_added", "replica_removed"}


def test_a_zombie_sleeps_longer_than_its_session():
    for fault in faults_of(dealt(1, 200)):
        if fault.kind.startswith("zombie"):
            assert fault.seconds > STAGE.session
        if fault.kind == "loop_blocked":
            assert fault.seconds < STAGE.session


def test_every_kind_can_be_done():
    assert set(DO) == set(KINDS)


def test_a_fault_is_told_in_words():
    said = " / ".join(fault.words() for fault in faults_of(dealt(2)))
    assert "rolling_restart all replicas" in said
    assert "zombie_in_transaction replica" in said
    assert "manner=" in said

"""Placement by measured speed: how many replicas each worker holds."""

import itertools

import pytest

from distflow.comm import Placement
from distflow.distribute.elastic_placement import STEPS, Speeds, sizes

COSTS = (0.5, 1.0, 1.5, 2.0, 4.0, 9.0)


def longest(found, costs):
    return max(size * cost for size, cost in zip(found, costs))


@pytest.mark.parametrize("num_workers", [1, 2, 3])
@pytest.mark.parametrize("num_replicas", [3, 5, 8])
def test_no_other_sizes_make_a_shorter_step(num_replicas, num_workers):
    every = range(1, num_replicas + 1)
    all_sizes = [
        found
        for found in itertools.product(every, repeat=num_workers)
        if sum(found) == num_replicas
    ]
    for costs in itertools.product(COSTS, repeat=num_workers):
        found = sizes(costs, num_replicas)
        assert sum(found) == num_replicas
        assert longest(found, costs) == min(longest(other, costs) for other in all_sizes)


def test_the_slowest_worker_keeps_one_replica():
    assert sizes([1.0, 1e6], 4) == [3, 1]


def heard(costs, steps):
    speeds = Speeds(len(costs))
    for _ in range(steps):
        speeds.hear(costs)
    return speeds


def test_a_slow_worker_gets_fewer_replicas():
    better = heard([1.0, 3.0], STEPS).better_than(Placement(4, 2))
    assert better.owners == (0, 0, 0, 1)


def test_the_placement_is_looked_at_now_and_then():
    assert heard([1.0, 3.0], STEPS - 1).better_than(Placement(4, 2)) is None
    assert heard([1.0, 3.0], STEPS + 1).better_than(Placement(4, 2)) is None


def test_a_small_gain_changes_nothing():
    assert heard([1.0, 1.2], STEPS).better_than(Placement(4, 2)) is None


def test_one_slow_step_changes_nothing():
    speeds = heard([1.0, 1.0], STEPS - 1)
    speeds.hear([1.0, 100.0])
    assert speeds.better_than(Placement(4, 2)) is None

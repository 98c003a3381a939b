import pytest
from hypothesis import given
from hypothesis import strategies as st

from distflow.base import errors
from distflow.comm import Placement


@given(st.integers(1, 200), st.integers(1, 50))
def test_default_placement_is_contiguous_and_even(num_replicas, world_size):
    placement = Placement(num_replicas, world_size)
    held = [placement.replicas_of(rank) for rank in range(world_size)]
    assert [r for replicas in held for r in replicas] == list(range(num_replicas))
    assert max(map(len, held)) - min(map(len, held)) <= 1


def test_surplus_workers_hold_nothing():
    assert [Placement(2, 4).replicas_of(rank) for rank in range(4)] == [(0,), (1,), (), ()]


@pytest.mark.parametrize(("replicas", "world", "owners"), [(0, 1, ()), (1, 0, ()), (2, 2, (0, 2))])
def test_impossible_placements_are_refused(replicas, world, owners):
    with pytest.raises(errors.InvalidArgumentError):
        Placement(replicas, world, owners)


def test_equal_placements_have_equal_digests():
    assert Placement(4, 2).digest == Placement(4, 2, (0, 0, 1, 1)).digest
    assert Placement(4, 2).digest != Placement(4, 2, (0, 1, 0, 1)).digest

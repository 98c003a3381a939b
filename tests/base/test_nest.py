"""Flattening, packing and mapping of structures; facts of TensorFlow 2.21."""

from __future__ import annotations

import collections

import pytest

from distflow.base import nest
from distflow.base.errors import InvalidArgumentError
from distflow.base.shapes import TensorShape

Point = collections.namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("structure", "leaves"),
    [(1, [1]), ([], []), (None, [None]), ([1, (2, [3])], [1, 2, 3]), ({"b": 1, "a": 2}, [2, 1]),
     (Point(1, {"z": 2}), [1, 2]), ("text", ["text"]),
     (collections.OrderedDict(b=1, a=2), [2, 1]), ({3: 1, 1: 2}, [2, 1]),
     (TensorShape([1, 2]), [TensorShape([1, 2])]), ({1, 2}, [{1, 2}])],
    ids=repr,
)  # fmt: skip
def test_flatten(structure, leaves):
    assert nest.flatten(structure) == leaves


@pytest.mark.parametrize(
    "structure",
    [1, [], [1, (2, [3])], {"b": 1, "a": 2}, Point(1, {"z": 2}),
     collections.OrderedDict(b=1, a=2), collections.defaultdict(list, b=1, a=2), ({}, [(), 1])],
    ids=repr,
)  # fmt: skip
def test_pack_undoes_flatten(structure):
    packed = nest.pack_sequence_as(structure, nest.flatten(structure))
    assert packed == structure
    assert type(packed) is type(structure)


def test_pack_keeps_the_order_of_keys():
    packed = nest.pack_sequence_as({"b": 0, "a": 0}, [1, 2])
    assert list(packed.items()) == [("b", 2), ("a", 1)]


@pytest.mark.parametrize("leaves", [[1], [1, 2, 3]])
def test_pack_of_a_wrong_number_of_leaves_is_refused(leaves):
    with pytest.raises(InvalidArgumentError, match=rf"needs 2 leaves; received {len(leaves)}"):
        nest.pack_sequence_as([0, 0], leaves)


def test_map_over_several_structures():
    assert nest.map_structure(lambda a, b: a + b, {"x": [1, 2]}, {"x": [10, 20]}) == {"x": [11, 22]}


@pytest.mark.parametrize(
    ("a", "b"),
    [([1], 1), ([1], [1, 2]), ({"a": 1}, {"b": 1}), ([1], (1,)), ([1, [2]], [1, 2])],
    ids=repr,
)
def test_different_structures_are_refused(a, b):
    with pytest.raises((ValueError, TypeError), match=r"nest: "):
        nest.assert_same_structure(a, b)


def test_types_of_sequences_may_differ_if_asked():
    nest.assert_same_structure([1], (1,), check_types=False)


def test_paths():
    assert nest.flatten_with_paths({"b": [1, 2], "a": 3}) == [
        (("a",), 3),
        (("b", 0), 1),
        (("b", 1), 2),
    ]


def test_keys_that_cannot_be_sorted_are_refused():
    with pytest.raises(InvalidArgumentError, match=r"keys must be sortable"):
        nest.flatten({1: 2, "a": 3})


def test_registered_class_is_a_structure():
    class Pair:
        def __init__(self, left, right):
            self.left, self.right = left, right

    nest.register(Pair, lambda p: [p.left, p.right], lambda p, new: Pair(*new))
    doubled = nest.map_structure(lambda v: v * 2, [Pair(1, [2])])
    assert (doubled[0].left, doubled[0].right) == (2, [4])

"""The battery must be able to fail: each wrong order of additions shows in the bytes."""

import numpy as np
import pytest

from distflow.comm import Accumulator, Placement, reduction
from distflow.comm.algorithms import naive
from tests.comm import battery
from tests.comm.groups import run_inprocess, values


def left_to_right(leaves, op):
    total = None
    for leaf in leaves:
        if leaf is not None:
            total = leaf if total is None else reduction.combine(op, total, leaf, None)
    return total


def zero_padded(leaves, op):
    some = next(leaf for leaf in leaves if leaf is not None)
    zeros = [np.zeros_like(x) for x in some]
    return naive.tree_reduce([zeros if leaf is None else leaf for leaf in leaves], op)


def worker_by_worker(leaves, op, world_size):
    placement = Placement(len(leaves), world_size)
    sums = [
        left_to_right([leaves[r] for r in placement.replicas_of(rank)], op)
        for rank in range(world_size)
        if placement.replicas_of(rank)
    ]
    return naive.tree_reduce(sums, op)


def wrong_results(monkeypatch, world_size, define):
    def copied(leaves, op):
        root = define(leaves, op)
        return None if root is None else [np.array(x) for x in root]

    monkeypatch.setattr(naive, "define", copied)
    outcomes = values(run_inprocess(world_size, lambda t: battery.failures(t, "naive")))
    return [text for wrong in outcomes for text in wrong]


def test_unmutated_definition_passes(monkeypatch):
    assert wrong_results(monkeypatch, 2, naive.tree_reduce) == []


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_ring_order_is_detected(monkeypatch, dtype):
    assert any(text.startswith(dtype) for text in wrong_results(monkeypatch, 2, left_to_right))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_zero_padding_of_absent_leaves_is_detected(monkeypatch, dtype):
    assert any(text.startswith(dtype) for text in wrong_results(monkeypatch, 2, zero_padded))


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_order_that_depends_on_the_number_of_workers_is_detected(monkeypatch, world_size):
    def define(leaves, op):
        return worker_by_worker(leaves, op, world_size)

    assert any(t.startswith("float32") for t in wrong_results(monkeypatch, world_size, define))


@pytest.mark.parametrize("algorithm", ["gather", "direct"])
def test_zero_padding_in_the_accumulator_is_detected(monkeypatch, algorithm):
    def join(self, left, left_owned, right, right_owned):
        if left is None and right is None:
            return None, False
        zeros = [np.zeros_like(x) for x in (left if left is not None else right)]
        left, right = (zeros if x is None else x for x in (left, right))
        return reduction.combine(self._op, left, right, None), True

    monkeypatch.setattr(Accumulator, "_join", join)
    outcomes = values(run_inprocess(3, lambda t: battery.failures(t, algorithm)))
    assert any(text.startswith("float32") for wrong in outcomes for text in wrong)


@pytest.mark.parametrize("algorithm", ["gather", "direct"])
def test_adding_in_order_of_arrival_is_detected(monkeypatch, algorithm):
    def insert(self, key, value, *, owned=False):
        self._covered |= sum(1 << leaf for leaf in self._tree.leaves(key))
        before, _ = self._nodes.get(self._tree.root, (None, False))
        self._nodes[self._tree.root] = self._join(before, False, value, False)

    def nodes(self):
        return {key: value for key, (value, _) in getattr(self, "_leaves", {}).items()}

    def insert_local(self, key, value, *, owned=False):
        self._leaves = {**getattr(self, "_leaves", {}), key: (value, owned)}
        insert(self, key, value, owned=owned)

    monkeypatch.setattr(Accumulator, "insert", insert_local)
    monkeypatch.setattr(Accumulator, "nodes", nodes)
    outcomes = values(run_inprocess(3, lambda t: battery.failures(t, algorithm)))
    assert any(text.startswith("float32") for wrong in outcomes for text in wrong)

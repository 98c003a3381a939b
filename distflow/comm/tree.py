"""The summation tree over V logical replicas: who is added to whom, whoever holds what, and when.

Leaves are replicas 0..V-1. Node (level, index) covers leaves [index * 2^level, (index+1) * 2^level)
cut at V; a parent is op(left, right), and a node whose right child lies outside V *is* its left
child. The depth is L = ceil(log2 V). Because the keys decide who meets whom, the root's bytes
depend neither on the order of arrival nor on which worker held which leaf.

An absent leaf (a replica with no data in this step) is the value None: it passes through,
op(None, x) = x. It is never a buffer of zeros, because -0.0 + 0.0 = +0.0.

Bounds: a worker that holds a contiguous range of leaves keeps at most 2L-2 partial results (L for a
prefix or suffix, 1 for an aligned power-of-two block), also while it is still inserting in
ascending order. Pure: no network, no threads.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from distflow.base import errors
from distflow.comm import reduction

Key = tuple[int, int]  # (level, index)
Arrays = list[np.ndarray]


class Tree:
    """The fixed binary tree over `num_leaves` replicas."""

    def __init__(self, num_leaves: int):
        if num_leaves < 1:
            raise errors.invalid("Tree", "num_leaves must be at least 1", str(num_leaves))
        self.num_leaves = num_leaves
        self.depth = (num_leaves - 1).bit_length()

    @property
    def root(self) -> Key:
        """The key of the node that covers all leaves."""
        return (self.depth, 0)

    def exists(self, key: Key) -> bool:
        """Whether the node covers at least one leaf."""
        level, index = key
        return 0 <= level <= self.depth and 0 <= index and index << level < self.num_leaves

    def leaves(self, key: Key) -> range:
        """The leaves that the node covers."""
        level, index = key
        return range(index << level, min((index + 1) << level, self.num_leaves))

    def settle(self, key: Key) -> Key:
        """The highest node with the same leaves: climbs while the sibling lies outside V."""
        while key != self.root:
            level, index = key
            if self.exists((level, index ^ 1)):
                return key
            key = (level + 1, index >> 1)
        return key

    def maximal_nodes(self, leaves: Iterable[int]) -> list[Key]:
        """The fewest complete nodes that cover exactly these leaves, in order of their leaves."""
        nodes: set[Key] = set()
        for leaf in sorted(set(leaves)):
            if not self.exists((0, leaf)):
                raise errors.invalid("Tree", f"leaves are 0..{self.num_leaves - 1}", str(leaf))
            key = self.settle((0, leaf))
            while (key[0], key[1] ^ 1) in nodes:
                nodes.remove((key[0], key[1] ^ 1))
                key = self.settle((key[0] + 1, key[1] >> 1))
            nodes.add(key)
        return sorted(nodes, key=lambda node: self.leaves(node).start)


class Accumulator:
    """Combines leaves and nodes, in any order of arrival, as far up the tree as they reach.

    A value is a list of arrays (same shapes and dtypes for all nodes) or None for "no data".
    """

    def __init__(self, tree: Tree, op: str = "sum"):
        self._tree = tree
        self._op = op
        self._nodes: dict[Key, tuple[Arrays | None, bool]] = {}
        self._covered = 0  # a bit per leaf seen

    def insert(self, key: Key, value: Arrays | None, *, owned: bool = False) -> None:
        """Adds a leaf or node and combines upward while siblings are there.

        Args:
          key: (level, index) of the node.
          value: its arrays, or None if none of its leaves has data.
          owned: whether the arrays may be overwritten. Others are only read, and read no later than
            the end of the insertion that completes their parent.

        Raises:
          InvalidArgumentError: if the node does not exist or overlaps one inserted before.
        """
        if not self._tree.exists(key):
            raise errors.invalid(
                "Accumulator", f"a node of the tree over {self._tree.num_leaves} leaves", str(key)
            )
        leaves = self._tree.leaves(key)
        mask = ((1 << len(leaves)) - 1) << leaves.start
        if self._covered & mask:
            raise errors.invalid("Accumulator", "each leaf at most once", f"node {key} again")
        self._covered |= mask
        key = self._tree.settle(key)
        while (key[0], key[1] ^ 1) in self._nodes:
            other, other_owned = self._nodes.pop((key[0], key[1] ^ 1))
            if key[1] & 1:
                value, owned = self._join(other, other_owned, value, owned)
            else:
                value, owned = self._join(value, owned, other, other_owned)
            key = self._tree.settle((key[0] + 1, key[1] >> 1))
        self._nodes[key] = (value, owned)

    def _join(
        self, left: Arrays | None, left_owned: bool, right: Arrays | None, right_owned: bool
    ) -> tuple[Arrays | None, bool]:
        if left is None:
            return right, right_owned
        if right is None:
            return left, left_owned
        out = left if left_owned else right if right_owned else None
        return reduction.combine(self._op, left, right, out), True

    def nodes(self) -> dict[Key, Arrays | None]:
        """The maximal complete nodes so far, in order of their leaves."""
        order = sorted(self._nodes, key=lambda node: self._tree.leaves(node).start)
        return {key: self._nodes[key][0] for key in order}

    @property
    def complete(self) -> bool:
        """Whether every leaf has been inserted."""
        return self._covered == (1 << self._tree.num_leaves) - 1

    def root(self) -> Arrays | None:
        """The finished result in arrays of its own, or None if no leaf has data."""
        if not self.complete:
            missing = [i for i in range(self._tree.num_leaves) if not self._covered >> i & 1]
            raise errors.invalid("Accumulator", "all leaves inserted", f"none for {missing}")
        value, owned = self._nodes[self._tree.root]
        if value is None:
            return None
        if not owned:
            value = [np.array(array, order="C") for array in value]
        reduction.settle_nans(value)
        self._nodes[self._tree.root] = (value, True)
        return value

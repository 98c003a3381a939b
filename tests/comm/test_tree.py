import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distflow.base import errors
from distflow.comm import Accumulator, Tree
from distflow.comm.algorithms import naive

SPECIALS = [np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, 1e-40, 1e-8, 1.0, -1.0, 1e16]


def leaf(seed, replica, dtype, size):
    rng = np.random.default_rng([seed, replica])
    x = rng.standard_normal(size) * 10.0 ** rng.integers(-8, 8, size)
    special = rng.random(size) < 0.3
    x[special] = rng.choice(SPECIALS, special.sum())
    with np.errstate(all="ignore"):
        return x.astype(dtype)


@st.composite
def jobs(draw):
    num_replicas = draw(st.integers(1, 70))
    world_size = draw(st.integers(1, 9))
    owners = draw(
        st.lists(st.integers(0, world_size - 1), min_size=num_replicas, max_size=num_replicas)
    )
    absent = draw(st.sets(st.integers(0, num_replicas - 1), max_size=num_replicas))
    return num_replicas, owners, absent, draw(st.randoms(use_true_random=False))


@settings(deadline=None, max_examples=150)
@given(
    jobs(),
    st.integers(0, 2**32),
    st.sampled_from(["float32", "float64", "float16"]),
    st.integers(1, 40),
    st.sampled_from(["sum", "max", "prod"]),
)
def test_root_is_the_definition_for_any_placement_and_arrival(job, seed, dtype, size, op):
    num_replicas, owners, absent, random = job
    leaves = [None if r in absent else [leaf(seed, r, dtype, size)] for r in range(num_replicas)]
    want = naive.define(leaves, op)
    tree = Tree(num_replicas)
    nodes = []
    for rank in sorted(set(owners)):
        part = Accumulator(tree, op)
        mine = [r for r in range(num_replicas) if owners[r] == rank]
        random.shuffle(mine)
        for r in mine:
            part.insert((0, r), leaves[r])
        nodes += part.nodes().items()
    random.shuffle(nodes)
    total = Accumulator(tree, op)
    for key, value in nodes:
        copy = value and [x.copy() for x in value]
        total.insert(key, copy, owned=random.random() < 0.5)
    got = total.root()
    assert (got is None) == (want is None)
    assert got is None or got[0].tobytes() == want[0].tobytes()


@settings(deadline=None)
@given(st.integers(1, 130), st.data())
def test_contiguous_ranges_have_few_maximal_nodes(num_leaves, data):
    start = data.draw(st.integers(0, num_leaves - 1))
    stop = data.draw(st.integers(start + 1, num_leaves))
    tree = Tree(num_leaves)
    nodes = tree.maximal_nodes(range(start, stop))
    assert [leaf for node in nodes for leaf in tree.leaves(node)] == list(range(start, stop))
    assert len(nodes) <= max(1, 2 * tree.depth - 2)
    if start == 0 or stop == num_leaves:
        assert len(nodes) <= max(1, tree.depth)


@settings(deadline=None)
@given(st.integers(1, 70), st.data())
def test_accumulator_keeps_exactly_the_maximal_nodes(num_leaves, data):
    leaves = data.draw(st.sets(st.integers(0, num_leaves - 1)))
    tree = Tree(num_leaves)
    part = Accumulator(tree)
    for i in data.draw(st.permutations(sorted(leaves))):
        part.insert((0, i), [np.ones(1)])
    assert list(part.nodes()) == tree.maximal_nodes(leaves)
    assert sum(value[0][0] for value in part.nodes().values()) == len(leaves)


def test_live_partial_sums_stay_within_the_bound_while_inserting_in_order():
    for num_leaves in range(1, 66):
        tree = Tree(num_leaves)
        part = Accumulator(tree)
        for i in range(num_leaves):
            part.insert((0, i), None)
            assert len(part.nodes()) <= max(1, tree.depth)


def test_inputs_are_not_written_to():
    leaves = [np.full(3, float(i)) for i in range(5)]
    total = Accumulator(Tree(5))
    for i, x in enumerate(leaves):
        total.insert((0, i), [x])
    assert total.root()[0].tolist() == [10.0] * 3
    assert [x.tolist() for x in leaves] == [[float(i)] * 3 for i in range(5)]


@pytest.mark.parametrize("absent", [(0,), (1,), (0, 2), (2, 3)])
def test_inputs_beside_absent_leaves_are_not_written_to(absent):
    leaves = [None if i in absent else [np.full(3, float(i))] for i in range(4)]
    total = Accumulator(Tree(4))
    for i, leaf in enumerate(leaves):
        total.insert((0, i), leaf)
    assert total.root()[0].tolist() == [float(sum({0, 1, 2, 3} - set(absent)))] * 3
    assert [x and x[0][0] for x in leaves] == [None if i in absent else i for i in range(4)]


def test_a_single_leaf_comes_back_as_a_copy():
    x = np.ones(3)
    total = Accumulator(Tree(1))
    total.insert((0, 0), [x])
    assert not np.shares_memory(total.root()[0], x)


def test_absent_leaves_keep_the_sign_of_negative_zero():
    total = Accumulator(Tree(4))
    for i in (0, 1, 3):
        total.insert((0, i), None)
    total.insert((0, 2), [np.array([-0.0])])
    assert np.signbit(total.root()[0][0])


def test_all_nans_of_a_result_are_the_same_bytes():
    odd = np.array([0x7FC00123, 0xFFC00456], np.uint32).view(np.float32)
    total = Accumulator(Tree(2))
    total.insert((0, 0), [odd])
    total.insert((0, 1), [odd[::-1].copy()])
    assert total.root()[0].view(np.uint32).tolist() == [0x7FC00000] * 2


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_nans_of_both_parts_of_complex_numbers_are_the_same_bytes(dtype):
    part = "u4" if dtype == "complex64" else "u8"
    odd = np.array([0x7FC00123, 0xFFC00456] if part == "u4" else [0x7FF8 << 48 | 5, 0xFFF8 << 48])
    total = Accumulator(Tree(1))
    total.insert((0, 0), [odd.astype(part).view(dtype)])
    want = np.array([np.nan, np.nan], f"f{part[1]}").tobytes()
    assert total.root()[0].tobytes() == want


@pytest.mark.parametrize("key", [(0, 5), (3, 1), (4, 0), (-1, 0), (0, -1)])
def test_a_node_outside_the_tree_is_refused(key):
    with pytest.raises(errors.InvalidArgumentError, match="tree over 5 leaves"):
        Accumulator(Tree(5)).insert(key, None)


def test_a_leaf_that_comes_twice_is_refused():
    total = Accumulator(Tree(4))
    total.insert((0, 0), None)
    total.insert((0, 1), None)
    with pytest.raises(errors.InvalidArgumentError, match="at most once"):
        total.insert((0, 1), None)
    with pytest.raises(errors.InvalidArgumentError, match="at most once"):
        total.insert((2, 0), None)


def test_root_of_an_incomplete_tree_names_the_missing_leaves():
    total = Accumulator(Tree(3))
    total.insert((0, 1), None)
    with pytest.raises(errors.InvalidArgumentError, match=r"\[0, 2\]"):
        total.root()

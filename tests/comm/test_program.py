import numpy as np
import pytest

from distflow.comm.algorithms import naive, pieces, program
from distflow.comm.buckets import Spec
from distflow.comm.tree import Tree

F32 = np.dtype(np.float32)


@pytest.mark.parametrize("num_leaves", range(1, 14))
def test_a_program_gives_the_tree_s_sum_for_any_absent_leaves(num_leaves):
    tree = Tree(num_leaves)
    rng = np.random.default_rng(num_leaves)
    keys = [tree.settle((0, leaf)) for leaf in range(num_leaves)]
    for _ in range(20):
        present = {leaf for leaf in range(num_leaves) if rng.random() < 0.8}
        leaves = [rng.standard_normal(7) * 10.0 ** rng.integers(-9, 9, 7) for _ in keys]
        made = program.program_for(tree, keys, present, tree.root)
        temporaries = [np.empty(9) for _ in range(made.num_temporaries)]
        target = np.full(7, np.nan)
        program.run(made, np.add, leaves, target, temporaries)
        asked = [[x] if leaf in present else None for leaf, x in enumerate(leaves)]
        wanted = naive.tree_reduce(asked, "sum")
        assert (wanted is None) == (not made.additions and made.source is None)
        if wanted is not None:
            assert target.tobytes() == wanted[0].tobytes()


@pytest.mark.parametrize("replaced", range(6))
def test_the_target_may_be_any_of_the_inputs(replaced):
    tree = Tree(6)
    leaves = [np.array([10.0**n, 1.0]) for n in range(6)]
    wanted = naive.tree_reduce([[x.copy()] for x in leaves], "sum")
    made = program.program_for(tree, [tree.settle((0, i)) for i in range(6)], range(6), tree.root)
    program.run(made, np.add, leaves, leaves[replaced], [np.empty(2) for _ in range(3)])
    assert leaves[replaced].tobytes() == wanted[0].tobytes()


def test_few_temporaries_serve_many_leaves():
    tree = Tree(64)
    made = program.program_for(tree, [(0, i) for i in range(64)], range(64), tree.root)
    assert len(made.additions) == 63
    assert made.num_temporaries <= tree.depth


@pytest.mark.parametrize("slot_bytes", [64, 128, 1000, 1 << 20])
def test_steps_cover_every_element_once_and_fit_the_slot(slot_bytes):
    specs = (
        Spec((37,), F32), Spec((), F32), Spec((0, 3), F32), Spec((5, 9), np.dtype(np.float64)),
        Spec((700,), np.dtype(np.uint8)), Spec((11,), F32),
    )  # fmt: skip
    seen = [np.zeros(spec.num_elements, int) for spec in specs]
    for step in pieces.steps_for(specs, slot_bytes):
        end = 0
        for stretch in step:
            assert stretch.at_byte >= end
            assert stretch.at_byte % 64 == 0
            end = stretch.at_byte + (stretch.stop - stretch.start) * stretch.dtype.itemsize
            at = 0
            for piece in stretch.pieces:
                assert specs[piece.array].dtype == stretch.dtype
                assert piece.at == at
                seen[piece.array][piece.start : piece.stop] += 1
                at += piece.stop - piece.start
            assert at == stretch.stop - stretch.start
        assert end <= slot_bytes
    assert all((count == 1).all() for count in seen)


def test_no_arrays_are_one_empty_step():
    assert pieces.steps_for((), 64) == ((),)


@pytest.mark.parametrize(("size", "count"), [(0, 3), (1, 4), (1000, 3), (16, 1), (4099, 5)])
def test_shares_are_whole_lines_that_cover_all(size, count):
    shares = [pieces.share(size, 4, count, i) for i in range(count)]
    assert [start for start, _ in shares] == [0, *[stop for _, stop in shares[:-1]]]
    assert shares[-1][1] == size
    assert all(start % 16 == 0 or start == size for start, _ in shares)

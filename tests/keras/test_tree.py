import numpy as np
import pytest

from distflow import keras

tree = keras.tree
NEST = {"b": [1, (2, None)], "a": 3}


def test_structures_are_flattened_by_sorted_keys():
    assert tree.flatten(NEST) == [3, 1, 2, None]
    assert tree.flatten_with_path(NEST)[1] == (("b", 0), 1)
    assert tree.pack_sequence_as(NEST, [0, 1, 2, 3]) == {"b": [1, (2, 3)], "a": 0}


def test_functions_are_mapped():
    assert tree.map_structure(lambda x, y: x + y, [1, (2,)], [3, (4,)]) == [4, (6,)]
    assert tree.map_structure(lambda x: x + 1, [1, None], none_is_leaf=False) == [2, None]
    assert tree.map_structure_up_to([0, 0], len, [[1, 2], [3]]) == [2, 1]
    assert tree.map_shape_structure(len, {"x": (2, 3), "y": [(None, 1)]}) == {"x": 2, "y": [2]}


def test_a_walk_may_replace_parts():
    double = lambda x: x * 2 if isinstance(x, int) else None
    assert tree.traverse(double, [1, (2, "a")]) == [2, (4, "a")]
    drop = lambda x: tree.MAP_TO_NONE if isinstance(x, tuple) else None
    assert tree.traverse(drop, [1, (2,)]) == [1, None]


def test_structures_are_compared():
    tree.assert_same_structure({"a": [1]}, {"a": [2]})
    tree.assert_same_paths([1, (2,)], (1, [2]))
    with pytest.raises((ValueError, TypeError)):
        tree.assert_same_structure([1], (1,))
    with pytest.raises(ValueError, match="don't have the same paths"):
        tree.assert_same_paths([1], [1, 2])
    with pytest.raises(TypeError, match="`func` must be callable"):
        tree.map_structure(3, [1])
    assert tree.lists_to_tuples([1, {"a": [2]}]) == (1, {"a": (2,)})


def test_variables_are_those_of_layers():
    v = keras.Variable("ones", shape=(2,), name="v")
    np.testing.assert_array_equal(v.numpy(), [1, 1])
    assert (v.path.split(":")[0], v.trainable) == ("v", True)
    layer = keras.layers.Dense(1)
    layer.build((None, 2))
    assert isinstance(layer.kernel, keras.Variable)
    with pytest.raises(ValueError, match="`shape` argument should be specified"):
        keras.Variable("ones")


@pytest.mark.parametrize(
    ("draw", "mean", "spread"),
    [
        (lambda: keras.random.gamma((4000,), 3.0, seed=1), 3.0, 3**0.5),
        (lambda: keras.random.beta((4000,), 2.0, 2.0, seed=1), 0.5, 0.05**0.5),
        (lambda: keras.random.binomial((4000,), 10.0, 0.3, seed=1), 3.0, 2.1**0.5),
    ],
)
def test_draws_have_their_moments_and_repeat(draw, mean, spread):
    x = draw().numpy()
    assert abs(x.mean() - mean) < 4 * spread / 4000**0.5
    assert x.std() == pytest.approx(spread, rel=0.1)
    np.testing.assert_array_equal(x, draw().numpy())

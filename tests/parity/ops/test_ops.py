"""`keras.ops` here and in Keras 3: values, dtypes, symbolic shapes, and files of models."""

import numpy as np
import pytest

from distflow import keras as ours
from tests.keras.ops.cases import CASES, IDS

# Warnings here are those of the other side.
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
# Where Keras 3.15 on TensorFlow gives another result than NumPy, or none.
KERAS_DIFFERS = {
    "histogram-0": "takes vectors only", "histogram-1": "takes vectors only",
    "vstack-1": "joins vectors end to end", "rot90-2": "turns the wrong axes for k = 2",
    "pad-0": "takes no int", "correlate-3": "fails if the first vector is shorter",
    "sparsemax-0": "gives rows that do not sum to 1",
    "lu_factor-0": "returns a permutation where SciPy and its docstring have pivots",
}  # fmt: skip
CASES = [case for case, name in zip(CASES, IDS) if name not in KERAS_DIFFERS]
IDS = [name for name in IDS if name not in KERAS_DIFFERS]


def parts(value):
    if isinstance(value, list | tuple):
        return [p for v in value for p in parts(v)]
    return [value]


def dtype(x):
    return getattr(x.dtype, "name", str(x.dtype)) if hasattr(x, "dtype") else type(x).__name__


@pytest.mark.parametrize(("name", "i", "args", "kwargs"), CASES, ids=IDS)
def test_values_and_dtypes_are_equal(theirs, name, i, args, kwargs):
    found = parts(getattr(ours.ops, name)(*args, **kwargs))
    wanted = parts(getattr(theirs.ops, name)(*args, **kwargs))
    for a, b in zip(found, wanted, strict=True):
        assert dtype(a) == dtype(b)
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=3e-5, atol=3e-6)


# Their shapes depend on values, or they take no tensors.
EAGER_ONLY = {"nonzero", "unique", "bincount", "arange", "linspace", "logspace", "geomspace",
              "full", "eye", "identity", "tri", "zeros", "ones", "meshgrid", "bartlett",
              "blackman", "hamming", "hanning", "kaiser", "histogram", "size"}  # fmt: skip
# Functions of other functions, so that files hold no operation of their name.
COMPOSED = {"batch_normalization", "layer_normalization", "rms_normalization"}
# Keras 3.15 infers another dtype or shape than its own result has, or fails on a number.
SPECS_DIFFER = {"hypot-2", "heaviside-2", "real-1", "imag-1", "angle-1", "hstack-1", "rot90-0",
                "kron-1", "corrcoef-0", "multi_hot-0", "polar-0"}  # fmt: skip
SYMBOLIC = [
    case for case, name in zip(CASES, IDS) if case[0] not in EAGER_ONLY and name not in SPECS_DIFFER
]


def model(k, name, args, kwargs):
    """A model that makes the call on its first tensor, or list of tensors."""
    at = next(i for i, a in enumerate(args) if _tensors(a))
    first = args[at]
    if isinstance(first, list):
        x = [k.Input(batch_shape=a.shape, dtype=a.dtype.name) for a in first]
    else:
        x = k.Input(batch_shape=first.shape, dtype=first.dtype.name)
    call = [*args[:at], x, *args[at + 1 :]]
    return k.Model(x, getattr(k.ops, name)(*call, **kwargs)), first


def _tensors(a):
    return isinstance(a, np.ndarray) or (isinstance(a, list) and isinstance(a[0], np.ndarray))


@pytest.mark.parametrize(("name", "i", "args", "kwargs"), SYMBOLIC,
                         ids=[f"{c[0]}-{c[1]}" for c in SYMBOLIC])  # fmt: skip
def test_symbolic_shapes_and_dtypes_are_equal(theirs, name, i, args, kwargs):
    a, _ = model(ours, name, args, kwargs)
    b, _ = model(theirs, name, args, kwargs)
    for x, y in zip(a.outputs, b.outputs, strict=True):
        assert tuple(x.shape) == tuple(y.shape)
        assert dtype(x) == dtype(y)


# What Keras 3.15 itself does not write, read or run as a node: lists of axes that were tuples, a
# kernel without a shape, arrays as settings, and `method` of quantiles, which its node forgets.
NODES_FAIL = {
    "softmax-2", "softmax-3", "log_softmax-2", "log_softmax-3", "conv_transpose-0",
    "conv_transpose-1", "trapezoid-2", "quantile-2", "quantile-3", "quantile-4",
}  # fmt: skip
SAVED = [c for c in SYMBOLIC if c[0] not in COMPOSED and f"{c[0]}-{c[1]}" not in NODES_FAIL]
# One file for many operations: writing and reading takes far longer than running them.
GROUPS = [SAVED[i : i + 40] for i in range(0, len(SAVED), 40)]


def joint_model(k, group):
    """A model with one input and one output for each call."""
    made = [model(k, name, args, kwargs) for name, _, args, kwargs in group]
    inputs = {f"x{i}": m.input for i, (m, _) in enumerate(made)}
    outputs = {f"y{i}": m.output for i, (m, _) in enumerate(made)}
    return k.Model(inputs, outputs), {f"x{i}": x for i, (_, x) in enumerate(made)}


@pytest.mark.parametrize("group", range(len(GROUPS)))
@pytest.mark.parametrize("ours_writes", [True, False], ids=["written_here", "written_by_keras"])
def test_models_of_operations_go_both_ways(theirs, tmp_path, group, ours_writes):
    here, there = (ours, theirs) if ours_writes else (theirs, ours)
    made, x = joint_model(here, GROUPS[group])
    made.save(tmp_path / "m.keras")
    loaded = there.saving.load_model(tmp_path / "m.keras")
    mine, others = made(x), loaded(x)
    for i, (name, number, _, _) in enumerate(GROUPS[group]):
        for a, b in zip(parts(mine[f"y{i}"]), parts(others[f"y{i}"]), strict=True):
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=3e-5, atol=3e-6,
                                       err_msg=f"{name}-{number}")  # fmt: skip

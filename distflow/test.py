"""tf.test: a TestCase that compares tensors, and numeric gradients."""

from __future__ import annotations

import unittest
from collections.abc import Callable
from typing import Any

import numpy as np

from distflow._missing import lookup
from distflow.autodiff import GradientTape
from distflow.base import nest
from distflow.core.convert import convert_to_tensor

__all__ = [
    "TestCase", "compute_gradient", "gpu_device_name", "is_built_with_cuda",
    "is_built_with_gpu_support", "is_built_with_rocm", "is_built_with_xla", "is_gpu_available",
    "main",
]  # fmt: skip


class TestCase(unittest.TestCase):
    """unittest's TestCase with assertions on arrays and tensors."""

    # Not to be collected when a test module imports the name.
    __test__ = False

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        cls.__test__ = True

    def evaluate(self, tensors: Any) -> Any:
        """Returns the values of a structure of tensors."""
        return nest.map_structure(lambda t: np.asarray(t)[()], tensors)

    def assertAllEqual(self, a: Any, b: Any, msg: Any = None) -> None:
        """Fails unless shapes and all elements are equal."""
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=msg or "", strict=False)

    def assertAllClose(
        self, a: Any, b: Any, rtol: float = 1e-6, atol: float = 1e-6, msg: Any = None
    ) -> None:
        """Fails unless |a - b| <= atol + rtol * |b|, for all leaves of both structures."""
        nest.assert_same_structure(a, b, check_types=False)
        for x, y in zip(nest.flatten(a), nest.flatten(b)):
            np.testing.assert_allclose(
                np.asarray(x), np.asarray(y), rtol=rtol, atol=atol, err_msg=msg or ""
            )

    def assertShapeEqual(self, input_a: Any, input_b: Any, msg: Any = None) -> None:
        """Fails unless both shapes are equal."""
        a, b = np.shape(input_a), np.shape(input_b)
        if a != b:
            self.fail(msg or f"shapes must be equal; received {a} and {b}.")


def main(argv: Any = None) -> None:
    """Runs the tests of the main module."""
    unittest.main(argv=argv)


def compute_gradient(
    f: Callable[..., Any], x: Any, delta: float | None = None
) -> tuple[list[Any], list[Any]]:
    """Returns (theoretical, numerical) Jacobians of f at the list of arguments x.

    Args:
      f: takes the tensors of x, returns one tensor.
      delta: step of the symmetric difference; default 2^-10 for float32, 2^-20 for float64.

    Returns:
      Two lists of arrays, one for each argument: [elements of f(*x), elements of the argument].
    """
    inputs = [convert_to_tensor(v) for v in x]
    with GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        y = f(*inputs)
    theory, numeric = [], []
    for position, value in enumerate(inputs):
        jacobian = tape.jacobian(y, value, unconnected_gradients="zero")
        theory.append(np.asarray(jacobian).reshape(int(np.prod(y.shape)), -1))
        numeric.append(_numeric(f, [np.asarray(v) for v in inputs], position, delta))
    return theory, numeric


def _numeric(f: Any, arrays: Any, position: int, delta: float | None) -> Any:
    x = arrays[position]
    step = delta if delta is not None else 2.0**-20 if x.dtype == np.float64 else 2.0**-10
    columns = []
    for i in range(x.size):
        values = []
        for sign in (1, -1):
            moved = x.copy().reshape(-1)
            moved[i] += sign * step
            given = [*arrays[:position], moved.reshape(x.shape), *arrays[position + 1 :]]
            values.append(np.asarray(f(*map(convert_to_tensor, given)), np.float64).reshape(-1))
        columns.append((values[0] - values[1]) / (2 * step))
    return np.stack(columns, -1).astype(x.dtype)


def _never() -> bool:
    return False


def is_gpu_available(cuda_only: bool = False, min_cuda_compute_capability: Any = None) -> bool:
    """Returns False: distflow computes on the CPU."""
    return False


def gpu_device_name() -> str:
    """Returns "": there is no GPU device."""
    return ""


is_built_with_cuda = is_built_with_rocm = is_built_with_gpu_support = is_built_with_xla = _never

__getattr__ = lookup("test")

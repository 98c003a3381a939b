"""The checks themselves: each kind of mistake, put into a scratch primitive, turns one red."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from distflow.base import dtypes
from distflow.base.errors import InvalidArgumentError
from distflow.core.primitive import REGISTRY, Primitive
from distflow.core.tensor import EagerTensor
from distflow.ops.prims.factories import check_dtype
from tests.support import checks
from tests.support.executors import assert_like_eager
from tests.support.records import BadInput, Extreme, Sample, each, normal


def _right(**changes: Any) -> dict[str, Any]:
    rules = {
        "dtype_rule": lambda x: check_dtype("scratch", dtypes.FLOATING, x),
        "shape_rule": lambda x: tuple(x),
        "reference": lambda x: x * x * x,
        "gradient": lambda g, y, x: (3 * g * x * x,),
    }
    return {**rules, **changes}


@pytest.fixture
def scratch():
    """Registers a cube under the name `scratch`, with changed rules; removes it afterwards."""

    def register(**changes: Any) -> Sample:
        Primitive(name="scratch", family="unary", **_right(**changes))
        return Sample("scratch", (normal(2, 3),), each(lambda v: v**3))

    yield register
    REGISTRY.pop("scratch", None)


def test_right_primitive_passes_every_check(scratch):
    sample = scratch()
    checks.check_forward(sample, "float32")
    checks.check_unknown_shapes(sample)
    checks.check_gradient(sample)
    checks.check_second_order(sample)


@pytest.mark.parametrize(
    "change",
    [
        {"reference": lambda x: x * x},
        {"reference": lambda x: (x * x * x).astype(np.float64)},
        {"reference": lambda x: x[:1] ** 3},
        {"dtype_rule": lambda x: dtypes.float64},
        {"shape_rule": lambda x: (*x, 1)},
    ],
    ids=["value", "dtype", "shape", "dtype rule", "shape rule"],
)
def test_wrong_forward_is_refused(scratch, change):
    sample = scratch(**change)
    with pytest.raises(AssertionError):
        checks.check_forward(sample, "float32")


def test_shape_rule_wrong_only_for_unknown_dims_is_refused(scratch):
    sample = scratch(shape_rule=lambda x: (7,) * len(x) if None in x else tuple(x))
    checks.check_forward(sample, "float32")
    with pytest.raises(AssertionError):
        checks.check_unknown_shapes(sample)


@pytest.mark.parametrize(
    "gradient",
    [
        lambda g, y, x: (g * x * x,),
        lambda g, y, x: (-3 * g * x * x,),
        lambda g, y, x: (3 * x * x,),
        lambda g, y, x: (3.001 * g * x * x,),
        None,
    ],
    ids=["factor", "sign", "ignores g", "a thousandth", "missing"],
)
def test_wrong_gradient_is_refused(scratch, gradient):
    sample = scratch(gradient=gradient)
    with pytest.raises(AssertionError):
        checks.check_gradient(sample)


def test_gradient_wrong_only_in_second_order_is_refused(scratch):
    def constant_gradient(g: Any, y: Any, x: Any) -> Any:
        return (g * checks.convert_to_tensor(3 * x.array**2),)

    sample = scratch(gradient=constant_gradient)
    checks.check_gradient(sample)
    with pytest.raises(AssertionError):
        checks.check_second_order(sample)


def test_gradient_rule_that_needs_a_dimension_is_refused(scratch):
    def rigid(g: Any, y: Any, x: Any) -> Any:
        ones = checks.convert_to_tensor(np.ones([3 if d is None else d for d in x.shape]))
        return (3 * g * x * x * ones,)

    sample = scratch(gradient=rigid)
    checks.check_gradient(scratch_of(sample, (3, 3)))
    with pytest.raises((AssertionError, InvalidArgumentError)):
        checks.check_hidden_gradient(sample)


def scratch_of(sample: Sample, shape: tuple[int, ...]) -> Sample:
    return dataclasses.replace(sample, inputs=(normal(*shape),))


def test_trace_that_gives_other_bits_is_refused(scratch):
    runs: list[int] = []

    def drifting(x: Any) -> Any:
        runs.append(1)
        return x + len(runs)

    sample = scratch(reference=drifting)
    with pytest.raises(AssertionError):
        checks.check_traced(sample, "float32", False, "numpy")


@pytest.mark.parametrize(("executor", "ulps"), [("numpy", 1), ("cpu", 8)])
def test_a_function_beyond_its_bound_is_refused(executor, ulps):
    eager = np.full(3, 1.25, np.float32)
    found = eager + np.spacing(eager) * np.float32(ulps)
    with pytest.raises(AssertionError):
        assert_like_eager(found, eager, executor, "tanh")
    if executor == "cpu":
        assert_like_eager(eager + np.spacing(eager), eager, executor, "tanh")
        with pytest.raises(AssertionError):
            assert_like_eager(eager + np.spacing(eager), eager, executor, "add")


def test_trace_with_a_wrong_gradient_is_refused(scratch):
    def eager_only(g: Any, y: Any, x: Any) -> Any:
        return (g * (1.0 if isinstance(x, EagerTensor) else 2.0),)

    sample = scratch(gradient=eager_only)
    with pytest.raises(AssertionError):
        checks.check_traced_gradient(sample, unknown=True)


def test_extreme_check_tells_zero_from_minus_zero():
    with pytest.raises(AssertionError):
        checks.check_extreme(Extreme("neg", (np.float32(0),), np.float32(0)))


def test_bad_input_check_needs_an_error():
    with pytest.raises(pytest.fail.Exception):
        checks.check_bad_input(
            BadInput("neg", (np.float32(0),), InvalidArgumentError, "neg: expected")
        )


def test_bad_input_check_reads_the_message():
    with pytest.raises(AssertionError):
        checks.check_bad_input(
            BadInput("neg", (np.ones(1, bool),), InvalidArgumentError, "add: expected")
        )

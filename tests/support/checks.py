"""The checks that every op sample goes through."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import distflow.ops.operators
from distflow.autodiff import GradientTape
from distflow.base import dtypes, shapes, specs
from distflow.core.convert import convert_to_tensor
from distflow.core.primitive import REGISTRY
from distflow.ops.prims import creation, indexing, sorting, window
from distflow.ops.prims.reduction import reduce_sum
from tests.support.executors import assert_like_eager
from tests.support.hidden import HiddenTensor
from tests.support.records import TOLERANCE, BadInput, Extreme, Sample, wide

# Imported so that the operators are attached and the registry is whole.
_REGISTERING = (distflow.ops.operators, creation, indexing, sorting, window)


def outputs(result: Any) -> tuple[Any, ...]:
    """Returns the outputs of a primitive as a tuple."""
    return result if isinstance(result, tuple) else (result,)


def call(op: str, tensors: Any, attributes: dict[str, Any]) -> tuple[Any, ...]:
    """Binds a primitive by name."""
    return outputs(REGISTRY[op](*tensors, **attributes))


# -- forward -------------------------------------------------------------------------------


def check_forward(sample: Sample, dtype: str) -> None:
    """The result equals the formula; its dtype and shape are those that the rules announce."""
    arrays = sample.arrays(dtype)
    results = call(sample.op, [convert_to_tensor(a) for a in arrays], sample.attributes)
    expected = outputs(sample.expected(*map(wide, arrays), **sample.attributes))
    _check_rules(sample, arrays, [a.shape for a in arrays], results, exact=True)
    assert len(results) == len(expected)
    for result, want in zip(results, expected):
        # Reductions round at the width of their input, whatever the width of the output.
        limit = max(TOLERANCE.get(result.dtype.name, 0), TOLERANCE.get(dtype, 0))
        want = np.asarray(want)
        if result.dtype.is_integer and want.dtype.kind in "iu":
            want = want.astype(result.dtype.numpy)
        assert result.shape == want.shape
        np.testing.assert_allclose(
            wide(result.array), wide(want), rtol=limit, atol=limit, err_msg=sample.name
        )


def _check_rules(sample: Sample, arrays: Any, dims: Any, results: Any, exact: bool) -> None:
    primitive = REGISTRY[sample.op]
    kinds = [dtypes.of_array(a) for a in arrays]
    announced = outputs(primitive.dtype_rule(*kinds, **sample.attributes))
    rule = primitive.shape_rule(*dims, **sample.attributes)
    rows = rule if isinstance(rule, list) else [rule]
    assert len(announced) == len(rows) == len(results)
    for result, kind, row in zip(results, announced, rows):
        assert result.dtype is kind
        assert dtypes.of_array(result.array) is kind
        assert shapes.TensorShape(row).is_compatible_with(result.shape), f"{row}: {result.shape}"
        # Attributes that say None stand for what an int tensor says when it runs.
        if exact and not any(None in v for v in sample.attributes.values() if type(v) is tuple):
            assert None not in row or sample.op == "iota"


def check_unknown_shapes(sample: Sample) -> None:
    """The shape rule on unknown dimensions agrees with the result, one axis at a time and all."""
    arrays = sample.arrays("float64" if "float64" in sample.dtypes else sample.dtypes[-1])
    results = call(sample.op, [convert_to_tensor(a) for a in arrays], sample.attributes)
    full = [a.shape for a in arrays]
    _check_rules(sample, arrays, sample.unknown_shapes(), results, exact=False)
    for i, row in enumerate(sample.unknown_shapes()):
        for axis in (axis for axis, d in enumerate(row) if d is None):
            one = [list(s) for s in full]
            one[i][axis] = None  # type: ignore[call-overload]
            _check_rules(sample, arrays, [tuple(s) for s in one], results, exact=False)


def check_extreme(extreme: Extreme) -> None:
    """Special values give exactly the expected bits (all NaNs are equal; -0.0 is not 0.0)."""
    results = call(extreme.op, [convert_to_tensor(a) for a in extreme.inputs], extreme.attributes)
    for result, want in zip(results, outputs(extreme.expected)):
        want = np.asarray(want)
        assert result.array.dtype == want.dtype
        assert result.array.shape == want.shape
        if result.dtype.is_floating:
            got, want = wide(result.array), wide(want)
            np.testing.assert_allclose(got, want, rtol=3e-7, atol=0)
            assert np.array_equal(np.signbit(got) & (got == 0), np.signbit(want) & (want == 0))
        else:
            np.testing.assert_array_equal(result.array, want)


def check_bad_input(bad: BadInput) -> None:
    """Bad input is refused with the right class of error, in words that name the operation."""
    with pytest.raises(bad.error) as caught:
        call(bad.op, [convert_to_tensor(a) for a in bad.inputs], bad.attributes)
    assert bad.words in str(caught.value)


# -- gradients -----------------------------------------------------------------------------


def check_gradient(sample: Sample, dtype: str = "float64") -> None:
    """Gradients along random directions equal central differences, in 64 bits."""
    arrays = sample.arrays(dtype)
    check_derivative(_scalar(sample), arrays, sample.sources(), sample.step)


def check_second_order(sample: Sample, dtype: str = "float64") -> None:
    """The gradient of the gradient along a random direction equals central differences."""
    arrays = sample.arrays(dtype)
    sources = sample.sources()
    scalar = _scalar(sample)
    # Linear functions have a constant gradient: the tape then says None, and so it should.
    check_derivative(
        lambda *t: _along(gradients(scalar, t, sources), seed=7), arrays, sources, sample.step
    )


def _scalar(sample: Sample) -> Callable[..., Any]:
    """The sum of all floating outputs, each element with a weight of its own."""
    return lambda *tensors: _along(
        [y for y in call(sample.op, tensors, sample.attributes) if not y.dtype.is_integer], seed=5
    )


def _along(tensors: Any, seed: int) -> Any:
    total = None
    rng = np.random.default_rng(seed)
    for tensor in tensors:
        if tensor is None:
            continue
        weights = rng.normal(size=tuple(tensor.shape))
        if tensor.dtype.is_complex:
            part = REGISTRY["real"](tensor) * weights + REGISTRY["imag"](tensor) * weights
        else:
            part = tensor * np.asarray(weights, tensor.dtype.numpy)
        part = reduce_sum(part, axes=tuple(range(len(part.shape))))
        part = (
            part if part.dtype is dtypes.float64 else REGISTRY["cast"](part, dtype=dtypes.float64)
        )
        total = part if total is None else total + part
    return convert_to_tensor(np.zeros(())) if total is None else total


def gradients(function: Callable[..., Any], tensors: Any, sources: Any) -> list[Any]:
    """Returns the gradients of a scalar function for the inputs at some positions."""
    chosen = [tensors[i] for i in sources]
    with GradientTape() as tape:
        tape.watch(chosen)
        y = function(*tensors)
    return tape.gradient(y, chosen)


def check_derivative(
    function: Callable[..., Any], arrays: Any, sources: Any, step: float = 1e-5
) -> None:
    """Compares the tape's gradient with central differences along one direction an input."""
    tensors = [convert_to_tensor(a) for a in arrays]
    found = gradients(function, tensors, sources)
    rng = np.random.default_rng(11)
    for gradient, i in zip(found, sources):
        direction = rng.normal(size=arrays[i].shape)
        if arrays[i].dtype.kind == "c":
            direction = direction + 1j * rng.normal(size=arrays[i].shape)
        values = []
        for sign in (1, -1):
            moved = list(tensors)
            moved[i] = convert_to_tensor(np.asarray(arrays[i] + sign * step * direction))
            values.append(float(function(*moved)))
        numeric = (values[0] - values[1]) / (2 * step)
        analytic = 0.0
        if gradient is not None:
            assert gradient.shape == arrays[i].shape
            assert gradient.dtype is tensors[i].dtype
            # TF's convention for complex: the gradient is conj(df/dz), so that
            # df = real(sum(conj(g) * dz)).
            analytic = float(np.sum(np.conj(gradient.numpy()) * direction).real)
        scale = max(1.0, abs(numeric))
        assert abs(analytic - numeric) <= 1e-5 * scale, (
            f"input {i}: the tape says {analytic}, differences say {numeric}"
        )


# -- traces --------------------------------------------------------------------------------


def tracer() -> Callable[..., Any]:
    """Returns `tf.function`, or skips while that room is not there."""
    if importlib.util.find_spec("distflow.function") is None:
        pytest.skip("distflow.function is not there yet")
    room = importlib.import_module("distflow.function")
    if not hasattr(room, "function"):
        pytest.skip("distflow.function has no `function` yet")
    return room.function


def check_traced(sample: Sample, dtype: str, unknown: bool, executor: str) -> None:
    """A traced call gives what the eager one does, with known and with unknown dimensions.

    The bits are the same but for functions that an executor has its own of.
    """
    tensors = [convert_to_tensor(a) for a in sample.arrays(dtype)]
    eager = call(sample.op, tensors, sample.attributes)
    traced = _trace(sample, tensors, unknown, lambda *t: call(sample.op, t, sample.attributes))
    for one, other in zip(eager, traced(*tensors)):
        assert one.dtype is other.dtype
        assert_like_eager(other.array, one.array, executor, sample.op)


def check_traced_gradient(sample: Sample, unknown: bool) -> None:
    """A gradient inside a trace equals the eager one, with known and with unknown dimensions."""
    tensors = _gradient_inputs(sample)
    differentiate = _differentiate(sample)
    _compare(differentiate(*tensors), _trace(sample, tensors, unknown, differentiate)(*tensors))


def check_hidden_gradient(sample: Sample) -> None:
    """Gradient rules do without the dimensions that a trace need not know (no graph involved)."""
    tensors = _gradient_inputs(sample)
    hidden = [HiddenTensor(t, d) for t, d in zip(tensors, sample.unknown_shapes())]  # type: ignore[arg-type]
    orders = _differentiate(sample)
    for differentiate in (orders, _differentiate(sample, orders))[: sample.traced_orders]:
        _compare(differentiate(*tensors), [g.value for g in differentiate(*hidden)])


def _gradient_inputs(sample: Sample) -> list[Any]:
    dtype = "float64" if "float64" in sample.dtypes else "complex128"
    return [convert_to_tensor(a) for a in sample.arrays(dtype)]


def _differentiate(sample: Sample, function: Any = None) -> Callable[..., Any]:
    """The gradient of the sum of squares, which needs no weight an element and so no shape."""
    function = function or (lambda *tensors: call(sample.op, tensors, sample.attributes))

    def total(*tensors: Any) -> Any:
        result = convert_to_tensor(np.zeros(()))
        for y in function(*tensors):
            if not y.dtype.is_integer:
                square = REGISTRY["real"](y * y) if y.dtype.is_complex else y * y
                part = reduce_sum(square, axes=tuple(range(len(square.shape))))
                result = result + REGISTRY["cast"](part, dtype=dtypes.float64)
        return result

    def differentiate(*tensors: Any) -> list[Any]:
        found = gradients(total, tensors, sample.sources())
        return [tensors[i] * 0 if g is None else g for g, i in zip(found, sample.sources())]

    return differentiate


def _compare(eager: Any, traced: Any) -> None:
    for one, other in zip(eager, traced):
        assert one.shape == other.shape
        np.testing.assert_allclose(one.array, other.array, rtol=1e-12, atol=1e-12)


def _trace(sample: Sample, tensors: Any, unknown: bool, body: Callable[..., Any]) -> Any:
    function = tracer()
    dims = sample.unknown_shapes() if unknown else [t.shape for t in tensors]
    signature = [specs.TensorSpec(d, t.dtype) for d, t in zip(dims, tensors)]
    return function(body, input_signature=signature)

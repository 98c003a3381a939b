"""host_call: Python on arrays as an operation, with its checks and an optional gradient."""

from __future__ import annotations

import numpy as np
import pytest

import distflow.ops.operators  # noqa: F401  (attaches the operators)
from distflow.autodiff import GradientTape
from distflow.base import dtypes
from distflow.base.errors import InvalidArgumentError
from distflow.core.convert import constant
from distflow.ops.prims.host import host_call

_F, _I, _S = dtypes.float32, dtypes.int32, dtypes.string


def test_results_have_the_announced_dtypes():
    a, b = host_call(
        constant([1.0, 2.0]), fn=lambda x: (x * 2, x.size), dtypes=(_F, _I), shapes=((2,), ())
    )
    assert a.dtype is _F
    assert a.numpy().tolist() == [2.0, 4.0]
    assert (b.dtype, b.numpy()) == (_I, 2)


def test_strings_go_in_and_out():
    (upper,) = host_call(
        constant(["a", "b"]),
        fn=lambda x: np.array([s.upper() for s in x], object),
        dtypes=(_S,),
        shapes=((None,),),
    )
    assert upper.numpy().tolist() == [b"A", b"B"]


def test_wrong_number_of_results_is_refused():
    with pytest.raises(InvalidArgumentError, match=r"must return 2 arrays; received 1"):
        host_call(constant(1.0), fn=lambda x: x, dtypes=(_F, _F), shapes=((), ()))


def test_wrong_shape_of_a_result_is_refused():
    with pytest.raises(
        InvalidArgumentError, match=r"host_call: shape must be \[3\]; received \[2\]"
    ):
        host_call(constant([1.0, 2.0]), fn=lambda x: x, dtypes=(_F,), shapes=((3,),))


def test_no_gradient_without_a_rule():
    x = constant(3.0)
    with GradientTape() as tape:
        tape.watch(x)
        (y,) = host_call(x, fn=lambda v: v * v, dtypes=(_F,), shapes=((),))
    assert tape.gradient(y, x) is None


def test_gradient_by_a_rule():
    x = constant(3.0)
    with GradientTape() as tape:
        tape.watch(x)
        (y,) = host_call(
            x, fn=lambda v: v * v, dtypes=(_F,), shapes=((),),
            gradient=lambda g, out, x: (g[0] * 2.0 * x,),
        )  # fmt: skip
    assert tape.gradient(y, x).numpy() == 6.0


def test_function_cannot_change_its_input():
    x = constant([1.0, 2.0])

    def change(v):
        v[0] = 9
        return v

    with pytest.raises(ValueError, match=r"read-only"):
        host_call(x, fn=change, dtypes=(_F,), shapes=((2,),))
    assert x.numpy().tolist() == [1.0, 2.0]

"""Variables: creation, assignment, names, and who may make them."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import distflow.ops.operators  # noqa: F401  (attaches the operators)
from distflow.base import dtypes, names
from distflow.base.errors import DtypeMismatchError, InvalidArgumentError
from distflow.core import context
from distflow.core.convert import constant
from distflow.core.tensor import Tensor
from distflow.core.variable import (
    Variable,
    VariableAggregation,
    VariableSynchronization,
)


@pytest.fixture
def v():
    return Variable([1.0, 2.0])


@pytest.mark.parametrize(
    ("initial", "dtype", "expected"),
    [(1, None, "int32"), (1.0, None, "float32"), (np.zeros(2), None, "float64"),
     (1, "float32", "float32"), (np.zeros(2), "float32", "float32"), ("a", None, "string")],
    ids=repr,
)  # fmt: skip
def test_dtype_of_a_variable(initial, dtype, expected):
    assert Variable(initial, dtype=dtype).dtype.name == expected


def test_initial_value_may_be_a_function_or_a_variable():
    assert Variable(lambda: 1.5).numpy() == 1.5
    assert Variable(Variable(2.0)).numpy() == 2.0


def test_initial_value_is_copied():
    array = np.zeros(2, np.float32)
    v = Variable(array)
    array[0] = 9
    assert v.numpy().tolist() == [0.0, 0.0]


def test_variable_needs_an_initial_value():
    with pytest.raises(ValueError, match=r"Variable: an initial_value is needed"):
        Variable()


def test_unknown_argument_is_refused():
    with pytest.raises(TypeError, match=r"unexpected arguments \['trainble'\]"):
        Variable(1.0, trainble=False)


def test_initial_value_must_fit_the_shape():
    with pytest.raises(ValueError, match=r"initial value must have shape \(2,\); received \(1,\)"):
        Variable([1.0], shape=[2])


def test_unknown_dimension_of_the_shape_may_change():
    v = Variable([1.0], shape=[None])
    v.assign([1.0, 2.0])
    assert v.numpy().tolist() == [1.0, 2.0]
    assert v.shape.as_list() == [None]


# -- names ---------------------------------------------------------------------------------


def test_name_is_variable_by_default_and_is_not_made_unique():
    assert Variable(1.0).name == Variable(1.0).name == "Variable:0"
    assert Variable(1.0, name="w").name == Variable(1.0, name="w").name == "w:0"


def test_name_scope_goes_in_front_of_the_name():
    with names.name_scope("a"), names.name_scope("b"):
        assert Variable(1.0, name="w").name == "a/b/w:0"


def test_repr_is_tensorflows(v):
    assert repr(Variable(1.0, name="w")) == (
        "<tf.Variable 'w:0' shape=() dtype=float32, numpy=1.0>"
    )
    assert repr(v).endswith("numpy=array([1., 2.], dtype=float32)>")


# -- assignment ----------------------------------------------------------------------------


def test_assign_family(v):
    assert v.assign([3.0, 4.0]).numpy().tolist() == [3.0, 4.0]
    assert v.assign_add([1.0, 1.0]).numpy().tolist() == [4.0, 5.0]
    assert v.assign_sub([0.5, 1.0]).numpy().tolist() == [3.5, 4.0]


@pytest.mark.parametrize(
    "value", [[3, 4], np.array([3.0, 4.0]), (3.0, 4.0), np.array([3, 4])], ids=repr
)
def test_assigned_value_takes_the_variables_dtype(v, value):
    assert v.assign(value).dtype is dtypes.float32
    assert v.numpy().tolist() == [3.0, 4.0]


def test_assign_of_a_variable_takes_its_value(v):
    other = Variable([5.0, 6.0])
    v.assign(other)
    other.assign([0.0, 0.0])
    assert v.numpy().tolist() == [5.0, 6.0]


def test_assigned_array_is_copied(v):
    array = np.array([3.0, 4.0], np.float32)
    v.assign(array)
    array[0] = 9
    assert v.numpy().tolist() == [3.0, 4.0]


def test_adding_to_infinity_does_not_warn():
    v = Variable([3e38])
    assert v.assign_add([3e38]).numpy().tolist() == [np.inf]
    assert np.isnan(v.assign_sub([np.inf]).numpy()[0])


def test_value_read_before_an_assignment_stays(v):
    before = v.value()
    v.assign_add([1.0, 1.0])
    assert before.numpy().tolist() == [1.0, 2.0]


@pytest.mark.parametrize("method", ["assign", "assign_add", "assign_sub"])
@pytest.mark.parametrize("value", [[1.0, 2.0, 3.0], 1.0, [[1.0, 2.0]]], ids=repr)
def test_assignment_of_a_wrong_shape_is_refused_and_changes_nothing(v, method, value):
    with pytest.raises(ValueError, match=r"assign: shape must be \[2\]"):
        getattr(v, method)(value)
    assert v.numpy().tolist() == [1.0, 2.0]


@pytest.mark.parametrize("method", ["assign", "assign_add", "assign_sub"])
def test_assignment_of_a_tensor_of_another_dtype_is_refused(v, method):
    with pytest.raises(DtypeMismatchError, match=r"expected dtype float32; received int32"):
        getattr(v, method)(constant([1, 2]))


def test_assignment_of_none_is_refused(v):
    with pytest.raises(ValueError, match=r"None"):
        v.assign(None)


@pytest.mark.parametrize("statement", ["v += 1.0", "v -= 1.0", "v *= 2.0", "v /= 2.0"])
def test_in_place_operators_are_refused(v, statement):
    with pytest.raises(RuntimeError, match=r"is not supported. Use variable\.assign"):
        exec(statement, {"v": v})


# -- as a value ----------------------------------------------------------------------------


def test_operators_give_tensors(v):
    for result in (v + v, v + 1, 1 + v, v * np.array([1.0, 2.0]), np.array([1.0, 2.0]) * v, -v,
                   v / 2, v**2, v[0], v == v, v < 2):  # fmt: skip
        assert isinstance(result, Tensor)
    assert (v @ np.ones((2, 1), np.float32) if v.ndim > 1 else v).shape == (2,)


def test_variable_behaves_as_its_value(v):
    assert np.asarray(v).tolist() == [1.0, 2.0]
    assert np.sum(v) == 3.0
    assert [float(e) for e in v] == [1.0, 2.0]
    assert int(Variable(3)) == 3
    assert float(Variable(3)) == 3.0
    assert bool(Variable(1.0))
    assert v.read_value().numpy().tolist() == [1.0, 2.0]


def test_variable_is_unhashable_and_its_reference_is_a_key(v):
    with pytest.raises(TypeError, match=r"ref\(\)"):
        hash(v)
    assert v.ref() in {v.ref()}
    assert v.ref() not in {Variable([1.0, 2.0]).ref()}


def test_deepcopy_is_a_variable_of_its_own(v):
    v.constraint = abs
    twin = copy.deepcopy(v)
    v.assign([9.0, 9.0])
    assert twin.numpy().tolist() == [1.0, 2.0]
    assert (twin.name, twin.trainable, twin.constraint) == (v.name, v.trainable, abs)


def test_deepcopy_of_a_structure_keeps_shared_variables_shared(v):
    first, second = copy.deepcopy([v, v])
    assert first is second


def test_trainable_default_depends_on_synchronization():
    assert Variable(1.0).trainable
    assert not Variable(1.0, trainable=False).trainable
    on_read = Variable(1.0, synchronization=VariableSynchronization.ON_READ)
    assert not on_read.trainable
    assert Variable(1.0).aggregation is VariableAggregation.NONE


# -- creators ------------------------------------------------------------------------------


def test_creators_wrap_creation_the_innermost_last_in_first_out():
    seen = []

    def creator(tag):
        def create(next_creator, **kwargs):
            seen.append(tag)
            return next_creator(**kwargs)

        return create

    with (
        context.variable_creator_scope(creator("outer")),
        context.variable_creator_scope(creator("inner")),
    ):
        assert Variable(1.0).numpy() == 1.0
    assert seen == ["inner", "outer"]
    Variable(1.0)
    assert len(seen) == 2


def test_creator_may_change_arguments_and_sees_positional_ones_by_name():
    def creator(next_creator, **kwargs):
        assert kwargs["initial_value"] == 1.0
        kwargs["name"] = "made"
        return next_creator(**kwargs)

    with context.variable_creator_scope(creator):
        assert Variable(1.0).name == "made:0"


def test_creator_may_return_something_else():
    with context.variable_creator_scope(lambda next_creator, **kwargs: "mine"):
        assert Variable(1.0) == "mine"


def test_storage_is_where_reads_and_writes_go(v):
    class Doubling:
        def __init__(self, array):
            self.array = array

        def read(self):
            return self.array * 2

        def write(self, value, mode):
            self.array = value

    w = Variable([1.0], storage=Doubling)
    assert (w + 0.0).numpy().tolist() == [2.0]
    w.assign([5.0])
    assert w.numpy().tolist() == [10.0]


def test_constant_int_variable_assign_refuses_floats():
    with pytest.raises(InvalidArgumentError):
        Variable(1).assign(1.5)

"""GradientTape: what it watches, when it records, and what it gives; facts of TensorFlow 2.21."""

from __future__ import annotations

import numpy as np
import pytest

import distflow.ops.operators  # noqa: F401  (attaches the operators)
from distflow.autodiff import GradientTape, UnconnectedGradients
from distflow.base import log
from distflow.base.errors import InvalidArgumentError
from distflow.core import context
from distflow.core.convert import constant
from distflow.core.variable import Variable
from distflow.ops import math
from distflow.ops.prims.reduction import reduce_sum


@pytest.fixture
def x():
    return constant(3.0)


@pytest.fixture
def y():
    return constant(2.0)


def _gradient(function, *values, **arguments):
    tensors = [constant(v) for v in values]
    with GradientTape() as tape:
        tape.watch(tensors)
        result = function(*tensors)
    return [None if g is None else g.numpy() for g in tape.gradient(result, tensors, **arguments)]


# -- watching ------------------------------------------------------------------------------


def test_gradient_of_a_watched_tensor(x):
    with GradientTape() as tape:
        tape.watch(x)
        z = x * x
    assert tape.gradient(z, x).numpy() == 6.0


def test_unwatched_tensor_has_no_gradient(x):
    with GradientTape() as tape:
        z = x * x
    assert tape.gradient(z, x) is None


def test_watch_begins_when_it_is_called(x):
    with GradientTape() as tape:
        early = x * x
        tape.watch(x)
        late = x * 5.0
    assert tape.gradient([early, late], x).numpy() == 5.0


def test_watch_takes_structures(x, y):
    with GradientTape() as tape:
        tape.watch([x, {"a": y}])
        z = x * y
    g = tape.gradient(z, [x, {"a": y}])
    assert g[0].numpy() == 2.0
    assert g[1]["a"].numpy() == 3.0


def test_watching_an_integer_warns_and_does_nothing(caplog):
    i = constant(1)
    log.get_logger().addHandler(caplog.handler)
    with GradientTape() as tape:
        tape.watch(i)
        z = math.cast(i, "float32") * 2.0
    log.get_logger().removeHandler(caplog.handler)
    assert "should be floating; received int32" in caplog.text
    assert tape.gradient(z, i) is None


def test_watching_something_else_is_refused():
    with GradientTape() as tape, pytest.raises(ValueError, match=r"tensors or Variables"):
        tape.watch(1.0)


def test_trainable_variables_are_watched_when_read():
    v, frozen = Variable(2.0), Variable(5.0, trainable=False)
    with GradientTape() as tape:
        z = v * frozen
    assert tape.gradient(z, [v, frozen])[0].numpy() == 5.0
    assert [w.ref() for w in tape.watched_variables()] == [v.ref()]


def test_gradient_for_a_frozen_variable_is_none():
    v = Variable(2.0, trainable=False)
    with GradientTape() as tape:
        z = v * 2.0
    assert tape.gradient(z, v) is None


def test_without_watching_accessed_variables_only_chosen_ones_count():
    v, w = Variable(2.0), Variable(5.0)
    with GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(w)
        z = v * w
    g = tape.gradient(z, [v, w])
    assert g[0] is None
    assert g[1].numpy() == 2.0


# -- recording -----------------------------------------------------------------------------


def test_stop_recording_leaves_operations_out(x):
    with GradientTape() as tape:
        tape.watch(x)
        with tape.stop_recording():
            hidden = x * x
        seen = x * 3.0
    assert tape.gradient([hidden, seen], x).numpy() == 3.0


def test_stop_recording_needs_a_recording_tape():
    with pytest.raises(ValueError, match=r"not recording"), GradientTape().stop_recording():
        pass


def test_tape_may_be_entered_again_later(x):
    tape = GradientTape()
    with tape:
        tape.watch(x)
        a = x * x
    with tape:
        b = a * x
    assert tape.gradient(b, x).numpy() == 27.0


def test_tape_cannot_be_entered_twice_at_once():
    tape = GradientTape()
    with tape, pytest.raises(ValueError, match=r"still recording"), tape:
        pass


def test_reset_forgets(x):
    with GradientTape(persistent=True) as tape:
        tape.watch(x)
        z = x * x
        tape.reset()
    assert tape.gradient(z, x) is None


def test_tape_stops_at_the_end_of_its_block_also_after_an_error(x):
    tape = GradientTape()
    with pytest.raises(InvalidArgumentError), tape:
        tape.watch("not a tensor")
    tape.watch(x)
    z = x * x
    assert tape.gradient(z, x) is None
    assert not context.state.observers


def test_init_scope_is_not_recorded(x):
    with GradientTape() as tape:
        tape.watch(x)
        with context.init_scope():
            z = x * x
    assert tape.gradient(z, x) is None


# -- use and reuse -------------------------------------------------------------------------


def test_second_gradient_of_a_used_tape_is_refused(x):
    with GradientTape() as tape:
        tape.watch(x)
        z = x * x
    tape.gradient(z, x)
    with pytest.raises(RuntimeError, match=r"persistent=True"):
        tape.gradient(z, x)


@pytest.mark.parametrize("method", ["gradient", "jacobian", "batch_jacobian"])
def test_every_method_uses_the_tape_up(method):
    x = constant([[1.0]])
    with GradientTape() as tape:
        tape.watch(x)
        z = x * x
    tape.jacobian(z, x)
    with pytest.raises(RuntimeError, match=r"persistent=True"):
        getattr(tape, method)(z, x)


def test_persistent_tape_gives_gradients_again(x):
    with GradientTape(persistent=True) as tape:
        tape.watch(x)
        a = x * x
        b = a * a
    assert tape.gradient(b, x).numpy() == 108.0
    assert tape.gradient(a, x).numpy() == 6.0
    assert tape.gradient(b, a).numpy() == 18.0
    assert tape.gradient(b, x).numpy() == 108.0


def test_gradient_inside_the_block_of_a_simple_tape(x):
    with GradientTape() as tape:
        tape.watch(x)
        z = x * x
        g = tape.gradient(z, x)
    assert g.numpy() == 6.0


def test_gradient_inside_the_block_of_a_persistent_tape_is_recorded(x):
    with GradientTape(persistent=True) as tape:
        tape.watch(x)
        z = x * x * x
        g = tape.gradient(z, x)
    assert g.numpy() == 27.0
    assert tape.gradient(g, x).numpy() == 18.0


# -- targets and sources -------------------------------------------------------------------


def test_gradients_of_several_targets_are_added(x):
    with GradientTape() as tape:
        tape.watch(x)
        z, w = x * x, x * 3.0
    assert tape.gradient({"a": z, "b": [w]}, x).numpy() == 9.0


def test_target_that_is_not_a_scalar_is_summed():
    assert _gradient(lambda v: v * v, [1.0, 2.0])[0].tolist() == [2.0, 4.0]


def test_target_that_is_its_source(x):
    with GradientTape() as tape:
        tape.watch(x)
    assert tape.gradient(x, x).numpy() == 1.0


def test_target_may_be_a_variable():
    v = Variable(3.0)
    with GradientTape() as tape:
        tape.watch(v)
    assert tape.gradient(v, v).numpy() == 1.0


def test_intermediate_value_may_be_a_source(x):
    with GradientTape() as tape:
        tape.watch(x)
        a = x * x
        b = a * 5.0
    of_a, of_x = tape.gradient(b, [a, x])
    assert of_a.numpy() == 5.0
    assert of_x.numpy() == 30.0


def test_source_used_several_times_gets_the_sum(x):
    with GradientTape() as tape:
        tape.watch(x)
        z = x * x + x * 2.0 - x
    assert tape.gradient(z, x).numpy() == 7.0


def test_same_source_twice_in_a_structure(x):
    with GradientTape() as tape:
        tape.watch(x)
        z = x * x
    assert [g.numpy() for g in tape.gradient(z, [x, x])] == [6.0, 6.0]


def test_sources_keep_their_structure(x, y):
    with GradientTape() as tape:
        tape.watch((x, y))
        z = x * y
    g = tape.gradient(z, {"b": (x,), "a": [y]})
    assert g["a"][0].numpy() == 3.0
    assert g["b"][0].numpy() == 2.0


def test_source_that_is_no_tensor_is_refused(x):
    with GradientTape() as tape:
        tape.watch(x)
        z = x * x
    with pytest.raises(InvalidArgumentError, match=r"sources must be tensors or Variables"):
        tape.gradient(z, [1.0])


def test_output_gradients_are_factors(x):
    with GradientTape(persistent=True) as tape:
        tape.watch(x)
        z, w = x * x, x * 3.0
    assert tape.gradient(z, x, output_gradients=constant(10.0)).numpy() == 60.0
    assert tape.gradient([z, w], x, output_gradients=[10.0, 1.0]).numpy() == 63.0


def test_output_gradient_of_a_wrong_shape_is_refused(x):
    with GradientTape() as tape:
        tape.watch(x)
        z = x * x
    with pytest.raises(InvalidArgumentError, match=r"output gradient"):
        tape.gradient(z, x, output_gradients=constant([1.0, 2.0]))


def test_number_of_output_gradients_must_agree(x):
    with GradientTape() as tape:
        tape.watch(x)
        z = x * x
    with pytest.raises(InvalidArgumentError, match=r"output_gradients"):
        tape.gradient([z, z], x, output_gradients=[constant(1.0)])


@pytest.mark.parametrize("policy", ["zero", UnconnectedGradients.ZERO])
def test_unconnected_gradients_may_be_zero(policy):
    x, y = constant([1.0, 2.0]), constant(2.0)
    with GradientTape() as tape:
        tape.watch(x)
        z = y * y
    assert tape.gradient(z, x, unconnected_gradients=policy).numpy().tolist() == [0.0, 0.0]


def test_unknown_policy_for_unconnected_gradients_is_refused(x):
    with GradientTape() as tape:
        tape.watch(x)
    with pytest.raises(ValueError, match=r"'none' or 'zero'"):
        tape.gradient(x, x, unconnected_gradients="nought")


def test_no_gradient_flows_through_integers(x):
    with GradientTape() as tape:
        tape.watch(x)
        z = math.cast(math.cast(x, "int32"), "float32")
    assert tape.gradient(z, x) is None


def test_integer_target_has_no_gradient(x):
    with GradientTape() as tape:
        tape.watch(x)
        z = math.cast(x, "int32")
    assert tape.gradient(z, x) is None


def test_stop_gradient_stops(x):
    with GradientTape() as tape:
        tape.watch(x)
        z = x * math.stop_gradient(x)
    assert tape.gradient(z, x).numpy() == 3.0


# -- conventions at kinks and poles --------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "values", "expected"),
    [
        (math.maximum, (1.0, 1.0), [1.0, 0.0]),
        (math.minimum, (1.0, 1.0), [1.0, 0.0]),
        (math.abs, (0.0,), [0.0]),
        (math.sign, (2.0,), [0.0]),
        (math.pow, (0.0, 2.0), [0.0, 0.0]),
        (math.pow, (0.0, 1.0), [1.0, 0.0]),
        (math.pow, (-2.0, 2.0), [-4.0, 0.0]),
        (math.sqrt, (0.0,), [np.inf]),
        (math.log, (0.0,), [np.inf]),
        (math.asin, (1.0,), [np.inf]),
        (math.divide, (1.0, 0.0), [np.inf, -np.inf]),
        (math.floormod, (5.0, 2.0), [1.0, -2.0]),
        (math.tanh, (1e4,), [0.0]),
        (lambda v: math.clip_by_value(v, 0.0, 1.0), (1.0,), [1.0]),
        (math.floor, (2.5,), [None]),
        (math.round, (2.5,), [None]),
        (math.floordiv, (5.0, 2.0), [None, None]),
        (lambda v: math.cumprod(v), ([2.0, 0.0, 3.0],), [[1.0, 0.0, 0.0]]),
    ],
)
def test_gradient_at_a_special_point_is_tensorflows(function, values, expected):
    for got, want in zip(_gradient(function, *values), expected):
        assert (got is None) == (want is None)
        if got is not None:
            np.testing.assert_array_equal(got, np.asarray(want, np.float32))


def test_unchosen_side_of_a_select_stays_finite():
    # 0 * inf would be NaN: the side that was not chosen must get an exact 0.
    (g,) = _gradient(lambda v: math.multiply(math.maximum(v, 1.0), np.float32(np.inf)), 0.5)
    assert g == 0.0


# -- Variables -----------------------------------------------------------------------------


def test_assignment_within_the_tape_changes_later_reads_only():
    v = Variable(2.0)
    with GradientTape() as tape:
        z = v * v
        v.assign(5.0)
        w = v * z
    # d(v1 * v0^2): 2 v0 v1 + v0^2, all counted for the one variable.
    assert tape.gradient(w, v).numpy() == 24.0


def test_no_gradient_flows_through_an_assignment(x):
    v = Variable(1.0)
    with GradientTape() as tape:
        tape.watch(x)
        v.assign(x * 2.0)
        z = v * 3.0
    of_x, of_v = tape.gradient(z, [x, v])
    assert of_x is None
    assert of_v.numpy() == 3.0


def test_gradients_of_variables_in_a_structure():
    model = {"w": Variable([1.0, 2.0]), "b": [Variable(0.5)]}
    with GradientTape() as tape:
        z = reduce_sum(model["w"] * 3.0, axes=(0,)) + model["b"][0]
    g = tape.gradient(z, model)
    assert g["w"].numpy().tolist() == [3.0, 3.0]
    assert g["b"][0].numpy() == 1.0


@pytest.mark.parametrize("extremum", [math.maximum, math.minimum], ids=["max", "min"])
def test_a_tie_gives_its_gradient_to_the_first_operand(extremum):
    a, b = constant([1.0, 2.0]), constant([1.0, 2.0])
    with GradientTape() as tape:
        tape.watch([a, b])
        z = extremum(a, b)
    found = [g.numpy().tolist() for g in tape.gradient(z, [a, b])]
    assert found == [[1.0, 1.0], [0.0, 0.0]]

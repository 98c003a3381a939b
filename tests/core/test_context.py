"""The context of a thread, and how `bind` chooses who runs an operation."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import distflow.ops.operators  # noqa: F401  (attaches the operators)
from distflow.autodiff import GradientTape
from distflow.base.errors import AlreadyExistsError
from distflow.core import context
from distflow.core.convert import constant
from distflow.core.primitive import REGISTRY, Primitive, named
from distflow.core.variable import Variable
from distflow.ops.prims.elementwise import add


class _Recorder:
    """An interpreter that notes what it is asked to run and runs it eagerly."""

    is_eager = False

    def __init__(self):
        self.seen: list[str] = []

    def run(self, primitive, inputs, attributes):
        self.seen.append(primitive.name)
        return constant(primitive.reference(*[x.array for x in inputs], **attributes))


class _Watcher:
    def __init__(self):
        self.seen: list[tuple[str, int, int]] = []

    def record(self, primitive, inputs, outputs, attributes):
        self.seen.append((primitive.name, len(inputs), len(outputs)))


def test_interpreter_of_the_block_runs_operations():
    recorder = _Recorder()
    with context.use_interpreter(recorder):
        assert not context.executing_eagerly()
        assert add(1.0, 2.0).numpy() == 3.0
    assert context.executing_eagerly()
    assert recorder.seen == ["add"]


def test_innermost_interpreter_wins_and_an_error_leaves_it():
    outer, inner = _Recorder(), _Recorder()
    with context.use_interpreter(outer):
        with pytest.raises(AttributeError), context.use_interpreter(inner):
            inner.undefined()
        with context.use_interpreter(inner):
            add(1.0, 2.0)
        add(1.0, 2.0)
    assert (len(outer.seen), len(inner.seen)) == (1, 1)


def test_init_scope_leaves_interpreters_and_tapes():
    recorder, watcher = _Recorder(), _Watcher()
    with context.use_interpreter(recorder), context.observing(watcher):
        with context.init_scope():
            assert context.executing_eagerly()
            add(1.0, 2.0)
        add(1.0, 2.0)
    assert len(recorder.seen) == len(watcher.seen) == 1


def test_variable_is_made_outside_of_traces():
    with context.use_interpreter(_Recorder()):
        v = Variable(lambda: constant(1.0) + 1.0)
    assert v.numpy() == 2.0


def test_observers_see_operations_with_outputs_as_a_tuple():
    watcher = _Watcher()
    with context.observing(watcher):
        add(1.0, 2.0)
        named("sort")(constant([2.0, 1.0]), descending=False)
        with context.without_observers():
            add(1.0, 2.0)
    assert watcher.seen == [("add", 2, 1), ("sort", 1, 2)]


def test_every_thread_has_a_context_of_its_own():
    results = []
    x = constant(3.0)

    def work():
        results.append(context.executing_eagerly())
        results.append((x * x).numpy())

    with context.use_interpreter(_Recorder()), GradientTape() as tape:
        tape.watch(x)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(10)
        assert not tape._records
    assert results == [True, 9.0]


def test_tapes_of_threads_do_not_mix():
    gradients: dict[float, float] = {}

    def work(value):
        x = constant(value)
        for _ in range(50):
            with GradientTape() as tape:
                tape.watch(x)
                z = x * x
            gradients[value] = float(tape.gradient(z, x))

    threads = [threading.Thread(target=work, args=(float(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert gradients == {0.0: 0.0, 1.0: 2.0, 2.0: 4.0, 3.0: 6.0}


def test_device_is_named_for_the_block():
    with context.device("/CPU:0"):
        assert context.state.device == "/CPU:0"
        with context.device(None):
            assert context.state.device == ""
    assert context.state.device == ""


def test_primitive_names_are_unique():
    with pytest.raises(AlreadyExistsError, match=r"'add' is registered already"):
        Primitive("add", add.dtype_rule, add.shape_rule, np.add, None, "binary")
    assert REGISTRY["add"] is named("add") is add

"""One compiled program for an eager update of all variables, instead of an operation at a time.

Only optimizers, schedules and constraints of this package are traced: what users write may do
more in Python than a trace repeats, and runs as it stands each time.
"""

from __future__ import annotations

import weakref
from typing import Any

from distflow.base import flags
from distflow.core import context
from distflow.core.tensor import EagerTensor
from distflow.core.variable import Variable
from distflow.function import eagerly
from distflow.graph import evaluate
from distflow.graph.build import trace_body
from distflow.keras.optimizers.schedules import LearningRateSchedule

# The steps before that run plainly: a few steps are not worth a compilation. It is the count that
# decides, which checkpoints hold: a run that goes on from one does what the first run did.
_FIRST_STEP = 4
_MOST_PROGRAMS = 8
# Compiling more takes seconds; a step of such a model takes longer than its Python.
_MOST_VARIABLES = 64
_PLAIN = frozenset({bool, int, float, str, type(None)})

_programs: weakref.WeakKeyDictionary[Any, dict[Any, _Program]] = weakref.WeakKeyDictionary()


def update(optimizer: Any, gradients: list[Any], variables: list[Any]) -> bool:
    """Runs `optimizer._apply_local(gradients, variables)` compiled; False: that is left to do."""
    if (
        context.state.interpreters
        or context.state.replica is not None
        or eagerly.functions_run_eagerly()
        or flags.executor() != "cpu"
        or optimizer._iterations.storage.read() < _FIRST_STEP
        or len(variables) > _MOST_VARIABLES
        or any(type(g) is not EagerTensor for g in gradients)
        or not _is_ours(optimizer, variables)
    ):
        return False
    key = (*map(id, variables), *_settings(optimizer))
    programs = _programs.setdefault(optimizer, {})
    if key not in programs:
        if len(programs) >= _MOST_PROGRAMS:
            programs.clear()
        programs[key] = _Program(optimizer, gradients, variables)
    programs[key](gradients)
    return True


def _is_ours(optimizer: Any, variables: list[Any]) -> bool:
    rate = optimizer._learning_rate
    if not optimizer.compiles_eager_updates:
        return False
    if not _of_package(optimizer) or not isinstance(rate, Variable | LearningRateSchedule):
        return False
    if not _of_package(rate):
        return False
    for variable in variables:
        constraint = getattr(variable, "constraint", None)
        if not _of_package(variable) or None in variable.shape:
            return False
        if constraint is not None and not _of_package(constraint):
            return False
    return True


def _of_package(x: Any) -> bool:
    return type(x).__module__.startswith("distflow.")


def _settings(optimizer: Any) -> list[Any]:
    """Returns what the arithmetic depends on and users may change between steps."""
    found = [v for v in vars(optimizer).values() if type(v) in _PLAIN]
    rate = optimizer._learning_rate
    found.append(id(rate))
    if not isinstance(rate, Variable):
        found += [v for v in vars(rate).values() if type(v) in _PLAIN]
    return found


class _Program:
    """The update of some variables with the optimizer's settings as they were."""

    def __init__(self, optimizer: Any, gradients: list[Any], variables: list[Any]):
        def body(given: list[Any]) -> list[Any]:
            optimizer._apply_local(given, variables)
            return []

        try:
            trace, _ = trace_body(f"{optimizer.name}_update", body, [gradients])
        finally:
            optimizer._is_update = None
        self._graph = trace.graph
        # Their ids are in the key, so they must live as long as this.
        self._kept = (variables, optimizer._learning_rate)
        self._captured = [
            x._array if isinstance(x, EagerTensor) else x for x in trace.externals
        ]  # fmt: skip

    def __call__(self, gradients: list[Any]) -> None:
        """Runs it; tapes do not see it."""
        evaluate.run(self._graph, [*[g._array for g in gradients], *self._captured])

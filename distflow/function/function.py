"""`function`: a Python function that is traced once for each signature, then runs as a Graph."""

from __future__ import annotations

import collections
import functools
import inspect
import threading
import weakref
from collections.abc import Callable
from typing import Any

from distflow.base import log, nest
from distflow.base.specs import TensorSpec
from distflow.compiler import collector
from distflow.core import context
from distflow.core.tensor import Tensor
from distflow.function import autograph as autograph_room
from distflow.function import creation, eagerly
from distflow.function.concrete import ConcreteFunction
from distflow.function.signature import Call, Signature, replaced, tensor_names, value_of
from distflow.graph.build import trace_body
from distflow.graph.ir import Graph

_RECENT_CALLS = 10
_MANY_TRACES = 5
_MOST_WARNINGS = 2


# Called with each trace that is about to run (`tf.summary.trace_on`).
watchers: list[Callable[[ConcreteFunction], None]] = []


class Function:
    """A function with a trace for each signature it was called with (made by `function`).

    Several threads may call it at once: one traces, the others wait, then all run.
    """

    def __init__(
        self,
        python_function: Callable[..., Any],
        input_signature: Any = None,
        autograph: bool = True,
        reduce_retracing: bool = False,
        name: str | None = None,
    ):
        functools.update_wrapper(self, python_function)
        self._python_function = python_function
        self._name = str(name or getattr(python_function, "__name__", "function"))
        self._autograph = autograph
        self._reduce_retracing = reduce_retracing
        self._input_signature = input_signature
        self._signature = Signature(self._name, python_function, input_signature)
        self._lock = threading.RLock()
        # (key, shapes) -> traces; the same by key alone, for traces of unknown dimensions.
        self._exact: dict[Any, list[ConcreteFunction]] = {}
        self._by_key: dict[Any, list[tuple[tuple[Any, ...], ConcreteFunction]]] = {}
        self._traced_once = False
        self._trace_count = 0
        self._recent: collections.deque[bool] = collections.deque(maxlen=_RECENT_CALLS)
        self._warnings = 0
        self._bound: dict[int, tuple[Any, Function]] = {}

    @property
    def name(self) -> str:
        """The name of the Python function."""
        return self._name

    @property
    def python_function(self) -> Callable[..., Any]:
        """The Python function itself."""
        return self._python_function

    @property
    def input_signature(self) -> Any:
        """The TensorSpecs given to `function`, or None."""
        return self._signature.specs

    @property
    def graphs(self) -> list[Graph]:
        """The graphs of all traces so far."""
        return [c.graph for traces in list(self._exact.values()) for c in traces]

    def experimental_get_tracing_count(self) -> int:
        """Returns how many times the Python function was traced."""
        return self._trace_count

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the trace for these arguments, tracing first where there is none."""
        if eagerly._run_eagerly:
            return self._python_function(*args, **kwargs)
        call = self._signature.call(args, kwargs)
        concrete = self._find(call)
        for watcher in watchers:
            watcher(concrete)
        return concrete.run([value_of(t) for t in call.tensors])

    def get_concrete_function(self, *args: Any, **kwargs: Any) -> ConcreteFunction:
        """Returns the trace for arguments, with TensorSpecs in place of tensors where one likes."""
        return self._find(self._signature.call(args, kwargs))

    def explain(self, *args: Any, **kwargs: Any) -> str:
        """Returns what would run for these arguments, without running it; made to be printed.

        A line for each operation: a loop or kernel of machine code, or NumPy and why.

        Args:
          *args, **kwargs: as in a call; TensorSpecs with known dimensions may stand for tensors.
        """
        call = self._signature.call(args, kwargs)
        return self._find(call).explain([value_of(t).shape for t in call.tensors])

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        entry = self._bound.get(id(instance))
        if entry is None or entry[0]() is not instance:
            with self._lock:
                entry = (
                    weakref.ref(instance, functools.partial(_forget, self._bound, id(instance))),
                    Function(
                        _bound_weakly(self._python_function, instance), self._input_signature,
                        self._autograph, self._reduce_retracing, self._name,
                    ),
                )  # fmt: skip
                self._bound[id(instance)] = entry
        return entry[1]

    def __deepcopy__(self, memo: Any) -> Function:
        return Function(
            self._python_function, self._input_signature, self._autograph, self._reduce_retracing,
            self._name,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<tf.function {self._name}, {self._trace_count} traces>"

    # -- finding and making traces ---------------------------------------------------------

    def _find(self, call: Call) -> ConcreteFunction:
        replica = context.state.replica
        # What the trace may depend on besides the arguments: being inside of a replica, or not.
        where = None if replica is None else getattr(replica, "trace_key", True)
        key = (call.key, where)
        found = self._lookup(key, call)
        if found is None:
            with self._lock:
                found = self._lookup(key, call)
                if found is None:
                    with collector.paused():
                        found = self._make(key, call)
                    self._note_call(traced=True)
                    return found
        self._note_call(traced=False)
        return found

    def _lookup(self, key: Any, call: Call) -> ConcreteFunction | None:
        for concrete in self._exact.get((key, call.shapes), ()):
            if concrete.usable():
                return concrete
        for shapes, concrete in self._by_key.get(key, ()):
            if _covers(shapes, call.shapes) and concrete.usable():
                return concrete
        return None

    def _make(self, key: Any, call: Call) -> ConcreteFunction:
        shapes = call.shapes
        if self._reduce_retracing:
            for earlier, _ in self._by_key.get(key, ()):
                shapes = _relaxed(shapes, earlier)
        concrete = self._trace_all(call, shapes)
        entries = self._exact.setdefault((key, shapes), [])
        entries[:] = [c for c in entries if c.usable()] + [concrete]
        general = self._by_key.setdefault(key, [])
        if any(None in s for s in shapes) or self._reduce_retracing:
            general[:] = [e for e in general if e[1].usable()] + [(shapes, concrete)]
        return concrete

    def _trace_all(self, call: Call, shapes: tuple[Any, ...]) -> ConcreteFunction:
        """Traces; on the very first time twice, if that created variables (TF's rule)."""
        if self._traced_once:
            with creation.forbidden():
                return self._trace(call, shapes)
        with creation.allowed([value_of(t) for t in call.tensors]) as created:
            concrete = self._trace(call, shapes)
        self._traced_once = True
        if created:
            with creation.forbidden():
                return self._trace(call, shapes)
        return concrete

    def _trace(self, call: Call, shapes: tuple[Any, ...]) -> ConcreteFunction:
        self._trace_count += 1
        specs = [
            TensorSpec(shape, t.dtype, (None if isinstance(t, Tensor) else t.name) or name)
            for t, shape, name in zip(call.tensors, shapes, tensor_names(self._signature, call))
        ]
        wrap = autograph_room.converted if self._autograph else autograph_room.do_not_convert
        body = wrap(self._python_function)

        def traced(*symbols: Any) -> Any:
            args, kwargs = replaced(call, symbols)
            return body(*args, **kwargs)

        inner, outputs = trace_body(self._name, traced, specs)
        structure = nest.map_structure(
            lambda t: TensorSpec(t.shape, t.dtype) if isinstance(t, Tensor) else t, outputs
        )
        return ConcreteFunction(
            self._name, inner.graph, inner.externals, self._signature, replaced(call, specs),
            structure,
        )  # fmt: skip

    def _note_call(self, traced: bool) -> None:
        self._recent.append(traced)
        if traced and self._warnings < _MOST_WARNINGS and sum(self._recent) >= _MANY_TRACES:
            self._warnings += 1
            log.get_logger().warning(
                "%d out of the last %d calls to %s triggered tf.function retracing. Tracing is "
                "expensive. Create the tf.function outside of loops, pass tensors instead of "
                "Python objects, and use input_signature or reduce_retracing=True for tensors of "
                "several shapes.",
                sum(self._recent), len(self._recent), self._name,
            )  # fmt: skip
            self._recent.clear()


def function(
    func: Callable[..., Any] | None = None,
    input_signature: Any = None,
    autograph: bool = True,
    jit_compile: bool | None = None,
    reduce_retracing: bool = False,
    experimental_implements: str | None = None,
    experimental_autograph_options: Any = None,
    experimental_attributes: Any = None,
    experimental_relax_shapes: bool | None = None,
    experimental_compile: bool | None = None,
    experimental_follow_type_hints: bool | None = None,
) -> Any:
    """Makes a Python function run as a compiled Graph, traced once for each signature.

    Args:
      func: the function; without it, a decorator is returned.
      input_signature: TensorSpecs of the arguments; then there is one trace for all calls.
      autograph: turn Python if/while/for on tensors into graph control flow.
      jit_compile: accepted for TF's sake; every function is compiled.
      reduce_retracing: trace a second shape of an argument with unknown dimensions, so that
        further shapes need no trace.
      experimental_relax_shapes: older name of reduce_retracing.
      experimental_implements, experimental_autograph_options, experimental_attributes,
      experimental_compile, experimental_follow_type_hints: hints to TF's own compilers, accepted.

    Returns:
      A `Function`, called like `func`.

    Python side effects happen while tracing only; variables may be created on the first call only.
    """

    def decorate(f: Callable[..., Any]) -> Function:
        relax = reduce_retracing or bool(experimental_relax_shapes)
        return Function(f, input_signature, autograph, relax)

    return decorate if func is None else decorate(func)


def _covers(general: tuple[Any, ...], shapes: tuple[Any, ...]) -> bool:
    return all(
        len(g) == len(s) and all(a is None or a == b for a, b in zip(g, s))
        for g, s in zip(general, shapes)
    )


def _relaxed(shapes: tuple[Any, ...], earlier: tuple[Any, ...]) -> tuple[Any, ...]:
    """Dimensions that differ become unknown, where the ranks agree."""
    if any(len(a) != len(b) for a, b in zip(shapes, earlier)):
        return shapes
    return tuple(
        tuple(x if x == y else None for x, y in zip(a, b)) for a, b in zip(shapes, earlier)
    )


def _forget(table: dict[int, Any], key: int, reference: Any) -> None:
    if key in table and table[key][0] is reference:
        del table[key]


def _bound_weakly(python_function: Callable[..., Any], instance: Any) -> Callable[..., Any]:
    """Returns the method of an instance without keeping the instance alive."""
    reference = weakref.ref(instance)
    kept = inspect.signature(python_function)
    parameters = list(kept.parameters.values())[1:]

    @functools.wraps(python_function)
    def method(*args: Any, **kwargs: Any) -> Any:
        owner = reference()
        if owner is None:
            raise ReferenceError(
                f"{python_function.__qualname__}: the object it belongs to does not exist any more"
            )
        return python_function(owner, *args, **kwargs)

    method.__signature__ = kept.replace(parameters=parameters)  # type: ignore[attr-defined]
    method.bound_to = (python_function, reference)  # type: ignore[attr-defined]
    return method

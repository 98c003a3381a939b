"""The tracing interpreter: operations become Nodes, and their results SymbolicTensors.

What the traced function closes over is captured: tensors of outer traces, eager tensors that
were there before the trace began, and Variables become further inputs of the Graph. Eager tensors
made during the trace are constants of the program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from distflow.base import errors, nest, shapes
from distflow.base.specs import TensorSpec
from distflow.core import context, convert
from distflow.core.tensor import EagerTensor, Tensor, next_serial
from distflow.core.variable import Variable, read_variable
from distflow.graph.custom import any_stand_ins, custom_call, stand_in
from distflow.graph.ir import Graph, Node, Value
from distflow.ops.prims.creation import constant


class SymbolicTensor(Tensor):
    """The result of an operation in a trace: a dtype and a shape, no value yet."""

    def __init__(self, ir: Value, interpreter: Trace, name: str = ""):
        self.ir = ir
        self.dtype = ir.dtype
        self.interpreter = interpreter
        self._name = name

    @property
    def shape(self) -> shapes.TensorShape:
        """The shape; unknown dimensions are None."""
        return self.ir.shape

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.ir.shape)

    @property
    def name(self) -> str:
        """The operation it comes from, with TF's `:0`."""
        return self._name

    @property
    def graph(self) -> Graph:
        """The graph under construction that it belongs to."""
        return self.interpreter.graph

    def set_shape(self, shape: Any) -> None:
        """Adds what `shape` knows to the shape.

        Raises:
          InvalidArgumentError: if they disagree.
        """
        merged = self.ir.shape.merge_with(shapes.TensorShape(shape))
        self.ir.shape = shapes.TensorShape.of(tuple(merged))

    def __repr__(self) -> str:
        return f"<tf.Tensor '{self.name}' shape={self.shape} dtype={self.dtype.name}>"


class SymbolicVariable:
    """Stands for a Variable that a Graph takes as an input."""

    is_variable = True
    trainable = True

    def __init__(self, ir: Value, interpreter: Trace):
        self.ir = ir
        self.dtype = ir.dtype
        self.shape = ir.shape
        self.interpreter = interpreter
        self.name = f"{ir.name}:0"


convert.register_tensor_conversion_function(
    SymbolicVariable, lambda value, dtype, name, as_ref: read_variable(value)
)


class Trace:
    """Interpreter that writes a Graph.

    Args:
      name: of the function that is traced, for messages.
      closed: all eager tensors are constants of the program, none is captured.
    """

    is_eager = False

    def __init__(self, name: str, closed: bool = False):
        self.graph = Graph(name)
        self.externals: list[Any] = []  # what the captured inputs stand for, in their order
        self._captured: dict[int, Value] = {}
        self._kept: list[Any] = []  # keeps alive what is known by its id
        self._born = -1 if closed else next_serial()

    def input(self, spec: Any, name: str = "") -> Any:
        """Adds an input of a spec's (or tensor's, variable's) type; returns the symbol for it."""
        resource = bool(getattr(spec, "is_variable", False))
        value = Value(
            spec.dtype,
            _ranked(spec.shape, name or _spec_name(spec)),
            resource,
            name or _spec_name(spec),
        )
        self.graph.inputs.append(value)
        if resource:
            return SymbolicVariable(value, self)
        return SymbolicTensor(value, self, f"{value.name or 'input'}:0")

    def resolve(self, current: Any) -> Any:
        """Returns the interpreter for an operation on a symbol of this trace.

        An inner trace in force takes outer symbols in as captures.

        Raises:
          InvalidArgumentError: if this trace is not in force any more: the symbol leaked.
        """
        if current is self or self.in_force() or (not current.is_eager and any_stand_ins()):
            return current
        raise self._leaked()

    def in_force(self) -> bool:
        """Whether this thread is inside of this trace."""
        return any(i is self for i in context.state.interpreters)

    def _leaked(self) -> Exception:
        return errors.invalid(
            f"function {self.graph.name!r}",
            "a tensor of its trace must be used inside of it only",
            "one that was kept and used elsewhere",
            "Return the tensor from the function, or keep it in a tf.Variable or tf.TensorArray.",
        )

    def run(self, primitive: Any, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
        """Appends a node; returns its result (or a tuple of them) as symbols."""
        values = [self.value_of(x) for x in inputs]
        found_dtypes = primitive.dtype_rule(*[v.dtype for v in values], **attributes)
        found_shapes = primitive.shape_rule(*[v.shape for v in values], **attributes)
        if isinstance(found_dtypes, tuple):
            outputs = [Value(d, s) for d, s in zip(found_dtypes, found_shapes)]
        else:
            outputs = [Value(found_dtypes, found_shapes)]
        name = f"{primitive.name}_{len(self.graph.nodes)}"
        self.graph.nodes.append(Node(primitive, values, outputs, attributes))
        symbols = tuple(SymbolicTensor(v, self, f"{name}:{i}") for i, v in enumerate(outputs))
        return symbols if isinstance(found_dtypes, tuple) else symbols[0]

    def value_of(self, x: Any) -> Value:
        """Returns the Value in this graph for an operand, capturing it if it comes from outside."""
        if isinstance(x, SymbolicTensor | SymbolicVariable) and x.interpreter is self:
            return x.ir
        known = self._captured.get(id(x))
        if known is not None:
            return known
        other = stand_in(x)
        if other is not None:
            return self.value_of(other)
        self._kept.append(x)
        if isinstance(x, EagerTensor) and x.serial > self._born:
            value = Value(x.dtype, x.shape)
            self.graph.nodes.append(Node(constant, (), (value,), {"value": x.array}))
        else:
            if x.interpreter is not None and not x.interpreter.in_force():
                raise x.interpreter._leaked()
            value = self._capture(x)
        self._captured[id(x)] = value
        return value

    def _capture(self, x: Any) -> Value:
        resource = bool(getattr(x, "is_variable", False))
        value = Value(_stored(x), x.shape, resource, x.name.split(":")[0] if resource else "")
        self.graph.inputs.append(value)
        self.externals.append(x)
        return value

    def custom_call(self, f: Callable[..., Any], inputs: list[Any]) -> Any:
        """Appends one node for a function with a gradient of its own; returns f's result."""
        is_variable = [bool(getattr(x, "is_variable", False)) for x in inputs]
        tensors = [x for x, variable in zip(inputs, is_variable) if not variable]

        def body(*symbols: Any) -> Any:
            symbol = iter(symbols)
            result, _ = f(*[x if v else next(symbol) for x, v in zip(inputs, is_variable)])
            return result

        inner, structure = trace_body(_name_of(f), body, tensors)
        outputs = custom_call(
            *tensors, *inner.externals, body=inner.graph, f=f,
            given=tuple(x if v else None for x, v in zip(inputs, is_variable)),
            captured=tuple(inner.externals),
        )  # fmt: skip
        return nest.pack_sequence_as(structure, outputs)


def trace(fn: Callable[..., Any], *specs: Any, name: str = "") -> tuple[Graph, Any]:
    """Returns the Graph of `fn` and its outputs' structure, with a TensorSpec at each tensor.

    Args:
      fn: takes one argument a spec; returns a structure of tensors.
      specs: structures of TensorSpec.
      name: of the graph; default that of the function.

    The graph's inputs are the leaves of `specs`, then what was captured (`trace_body` says what).
    """
    inner, outputs = trace_body(name or _name_of(fn), fn, specs)
    return inner.graph, nest.map_structure(
        lambda t: TensorSpec(t.shape, t.dtype) if isinstance(t, Tensor) else t, outputs
    )


def trace_body(
    name: str, fn: Callable[..., Any], args: Sequence[Any], closed: bool = False
) -> tuple[Trace, Any]:
    """Traces `fn` on symbols like the leaves of `args`; returns the trace and fn's outputs.

    Args:
      args: structures whose leaves have dtype and shape (tensors, specs, Variables' stand-ins);
        a leaf of another kind (a Python value) is handed to `fn` as it is.
      closed: as of Trace; nothing else may be captured either.
    """
    inner = Trace(name, closed)
    symbols = nest.map_structure(
        lambda leaf: (
            inner.input(leaf) if hasattr(leaf, "dtype") and hasattr(leaf, "shape") else leaf
        ),
        list(args),
    )
    with context.without_observers(), context.use_interpreter(inner):
        outputs = nest.map_structure(_as_output, fn(*symbols))
        inner.graph.outputs = [inner.value_of(t) for t in nest.flatten(outputs) if t is not None]
    assert not (closed and inner.externals), f"{name} captures {inner.externals}"
    return inner, outputs


def merge_captures(traces: Sequence[Trace]) -> list[Any]:
    """Gives several finished traces the same captured inputs, in one order; returns what they are.

    The inputs that were given to each trace stay in front.
    """
    externals: list[Any] = []
    for one in traces:
        externals += [x for x in one.externals if not any(x is y for y in externals)]
    for one in traces:
        own = len(one.graph.inputs) - len(one.externals)
        known = {id(x): v for x, v in zip(one.externals, one.graph.inputs[own:])}
        one.graph.inputs[own:] = [
            known[id(x)] if id(x) in known
            else Value(_stored(x), x.shape, bool(getattr(x, "is_variable", False)))
            for x in externals
        ]  # fmt: skip
        one.externals = list(externals)
    return externals


def _stored(x: Any) -> Any:
    """Returns the dtype of an operand; a variable may be read in another than it is kept in."""
    return getattr(x, "own_dtype", x.dtype)


def _as_output(value: Any) -> Any:
    return value if value is None or isinstance(value, Tensor) else convert.convert_to_tensor(value)


# Primitives that are bound in another way when a graph is replayed: name -> (inputs, attributes).
_replays: dict[str, Callable[[list[Any], dict[str, Any]], Any]] = {}


def set_replay(name: str, replay: Callable[[list[Any], dict[str, Any]], Any]) -> None:
    """Lets `replay(inputs, attributes)` bind a primitive in replays (control flow under tapes)."""
    _replays[name] = replay


def inline(graph: Graph, inputs: Sequence[Any]) -> list[Any]:
    """Binds a graph's nodes one after another in the interpreter in force; returns its outputs.

    `inputs` holds one tensor (for resources: a Variable) for each input of the graph.
    """
    assert len(inputs) == len(graph.inputs), f"{graph.name}: {len(inputs)} of {len(graph.inputs)}"
    table: dict[Value, Any] = dict(zip(graph.inputs, inputs))
    for node in graph.nodes:
        operands = [table[v] for v in node.inputs]
        replay = _replays.get(node.primitive.name)
        if replay is None:
            result = node.primitive(*operands, **node.attributes)
        else:
            result = replay(operands, node.attributes)
        results = result if isinstance(result, tuple) else (result,)
        for value, tensor in zip(node.outputs, results):
            if isinstance(tensor, SymbolicTensor) and tensor.shape.is_compatible_with(value.shape):
                tensor.set_shape(value.shape)  # the user may have told more than the rule knows
            table[value] = tensor
    return [table[v] for v in graph.outputs]


def output_specs(fn: Callable[..., Any], *structures: Any) -> Any:
    """Returns the TensorSpecs of what `fn` returns for arguments of the given TensorSpecs.

    Nothing runs: `fn` is traced and the graph thrown away. Leaves that are not specs (Python
    values, eager tensors) are handed to `fn` as they are. Variables may be read and assigned in
    it, without effect.
    """
    inner = Trace(_name_of(fn))
    symbols = nest.map_structure(
        lambda leaf: inner.input(leaf) if isinstance(leaf, TensorSpec) else leaf, list(structures)
    )
    with context.without_observers(), context.use_interpreter(inner):
        outputs = fn(*symbols)
        return nest.map_structure(_spec_of, outputs)


def _spec_of(value: Any) -> Any:
    if isinstance(value, Tensor | Variable):
        return TensorSpec(value.shape, value.dtype)
    return value


def _spec_name(spec: Any) -> str:
    """Returns the name of a spec, or "" (tensors and nameless specs)."""
    return (spec.name or "") if isinstance(spec, TensorSpec) else ""


def _ranked(shape: Any, name: str) -> Any:
    if getattr(shape, "rank", 0) is None:
        raise errors.invalid(
            "function", f"the rank of input {name or 'tensor'} must be known", "shape None",
            "Give a shape with unknown dimensions, such as [None, None].",
        )  # fmt: skip
    return shape


def _name_of(fn: Any) -> str:
    while hasattr(fn, "func"):
        fn = fn.func
    return getattr(fn, "__name__", type(fn).__name__)

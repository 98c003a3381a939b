"""Variables made inside a function: on the first call only, once, as in TF2."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from distflow.core import context
from distflow.core.tensor import EagerTensor
from distflow.graph import evaluate
from distflow.graph.build import SymbolicTensor
from distflow.graph.ir import Graph, Node, Value

_ONLY_ONCE = (
    "tf.function only supports singleton tf.Variables created on the first call. Make sure the "
    "tf.Variable is only created once or created outside tf.function."
)


@contextmanager
def allowed(tensors: Sequence[Any]) -> Iterator[list[Any]]:
    """Lets the block, a first trace, create variables; yields the list of them.

    An initial value that the trace computes is evaluated at once, on the tensors of this call.
    """
    created: list[Any] = []

    def create(next_creator: Callable[..., Any], **kwargs: Any) -> Any:
        initial = kwargs.get("initial_value")
        if isinstance(initial, SymbolicTensor):
            kwargs["initial_value"] = _evaluate(initial, tensors)
        variable = next_creator(**kwargs)
        created.append(variable)
        return variable

    with context.variable_creator_scope(create):
        yield created


@contextmanager
def forbidden() -> Iterator[None]:
    """Makes the creation of variables an error in the block."""

    def refuse(next_creator: Callable[..., Any], **kwargs: Any) -> Any:
        raise ValueError(_ONLY_ONCE)

    with context.variable_creator_scope(refuse):
        yield


def _evaluate(symbol: SymbolicTensor, tensors: Sequence[Any]) -> Any:
    """Returns the value of a symbol of a trace under way, or the symbol if it has none yet."""
    trace = symbol.interpreter
    given = [t for t in tensors if isinstance(t, EagerTensor)]
    count = len(trace.graph.inputs) - len(trace.externals)
    known = [*given, *trace.externals]
    if len(given) != count or any(getattr(x, "interpreter", None) for x in known):
        return symbol
    operands = [x.array if isinstance(x, EagerTensor) else x for x in known]
    graph = Graph(trace.graph.name, trace.graph.inputs, _slice(trace.graph, symbol.ir), [symbol.ir])
    return EagerTensor(evaluate.Program(graph)(operands)[0])


def _slice(graph: Graph, value: Value) -> list[Node]:
    """The nodes that a value needs, with all that write the Variables that they read."""
    wanted: set[Value] = {value}
    kept: set[int] = set()
    growing = True
    while growing:
        growing = False
        for i in reversed(range(len(graph.nodes))):
            node = graph.nodes[i]
            writes = node.effect == "write" and any(v.resource and v in wanted for v in node.inputs)
            if i not in kept and (writes or any(v in wanted for v in node.outputs)):
                kept.add(i)
                wanted.update(node.inputs)
                growing = True
    return [graph.nodes[i] for i in sorted(kept)]

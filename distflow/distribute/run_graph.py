"""strategy.run inside tf.function: one node that runs a traced body on each local replica."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from distflow.base import nest
from distflow.core import context
from distflow.core.primitive import Primitive
from distflow.core.tensor import Tensor
from distflow.distribute import context as strategies
from distflow.distribute import values
from distflow.distribute.replica import ReplicaContext
from distflow.function.autograph import convert_user_code
from distflow.graph import evaluate
from distflow.graph.build import trace_body


def _outputs(graphs: Sequence[Any]) -> list[Any]:
    return [value for graph in graphs for value in graph.outputs]


def _run(*inputs: Any, graphs: Any, batch_inputs: int, strategy: Any) -> Any:
    bodies, absent, start = [], [], 0
    for graph in graphs:
        mine = inputs[start : start + len(graph.inputs)]
        start += len(graph.inputs)
        bodies.append(_body(graph, mine))
        batches = [array for array in mine[:batch_inputs] if array.ndim > 0]
        absent.append(bool(batches) and all(len(array) == 0 for array in batches))
    results = strategy.run_replicas(bodies, absent)
    return tuple(array for result in results for array in result)


def _body(graph: Any, inputs: Any) -> Callable[[], Any]:
    def body() -> Any:
        with context.outside_python():
            return evaluate.run(graph, inputs)

    return body


# The inputs of all replicas' graphs one after another; of each, `batch_inputs` are arguments.
replica_run = Primitive(
    "replica_run",
    lambda *inputs, graphs, **attributes: tuple(v.dtype for v in _outputs(graphs)),
    lambda *inputs, graphs, **attributes: [tuple(v.shape) for v in _outputs(graphs)],
    _run,
    None,
    family="collective",
    effect="order",
    keeps_variables=True,
)


def run_traced(strategy: Any, fn: Callable[..., Any], calls: Sequence[Any]) -> Any:
    """Returns the results of `fn` for each replica's (args, kwargs), as symbols of the trace."""
    graphs, inputs, structures = [], [], []
    signature, made = None, None
    for position, call in enumerate(calls):
        leaves = [leaf for leaf in nest.flatten(call) if isinstance(leaf, Tensor)]
        mine = [(t.dtype, tuple(t.shape)) for t in leaves]
        if made is None or mine != signature:
            made = _trace(strategy, fn, call, leaves, position)
            signature = mine
        inner, structure = made
        graphs.append(inner.graph)
        structures.append(structure)
        inputs.extend([*leaves, *inner.externals])
    results = replica_run(
        *inputs, graphs=tuple(graphs), batch_inputs=len(leaves), strategy=strategy
    )
    packed, start = [], 0
    for graph, structure in zip(graphs, structures):
        flat = iter(results[start : start + len(graph.outputs)])
        start += len(graph.outputs)
        packed.append(
            nest.map_structure(lambda leaf, f=flat: None if leaf is None else next(f), structure)
        )
    return values.regroup(packed)


def _trace(strategy: Any, fn: Any, call: Any, leaves: Sequence[Any], position: int) -> Any:
    def body(*symbols: Any) -> Any:
        iterator = iter(symbols)
        args, kwargs = nest.map_structure(
            lambda leaf: next(iterator) if isinstance(leaf, Tensor) else leaf, call
        )
        return convert_user_code(fn)(*args, **kwargs)

    replica = ReplicaContext(
        strategy, strategy.local_replicas[position], position, strategy.make_lockstep()
    )
    with strategies.in_replica(replica):
        return trace_body(getattr(fn, "__name__", "replica"), body, list(leaves))

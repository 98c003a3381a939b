"""once: a part of a replica's graph that runs one time a worker, between its replicas.

Optimizers use it: gradients are summed over all replicas, then one update changes the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from distflow.core import context
from distflow.core.primitive import Primitive
from distflow.distribute import context as strategies
from distflow.graph import evaluate
from distflow.graph.build import trace_body


def _run(*inputs: Any, graph: Any) -> Any:
    def act(rows: list[Any]) -> Any:
        with strategies.in_replica(None):
            return tuple(evaluate.run(graph, rows[0]))

    replica = context.state.replica
    if replica is None:
        return act([inputs])
    return replica.meet("update once a worker", inputs, act)


once = Primitive(
    "once",
    lambda *inputs, graph: tuple(value.dtype for value in graph.outputs),
    lambda *inputs, graph: [tuple(value.shape) for value in graph.outputs],
    _run,
    None,
    family="collective",
    effect="order",
    keeps_variables=True,
)


def run_once(fn: Callable[..., Any], tensors: Sequence[Any]) -> None:
    """Adds `fn(*tensors)` to the trace in force, to run once a worker; its result is dropped.

    The tensors must have equal values on all replicas of the worker.
    """

    def body(*symbols: Any) -> None:
        fn(*symbols)

    with strategies.in_replica(None):
        inner, _ = trace_body("once", body, list(tensors))
    once(*tensors, *inner.externals, graph=inner.graph)

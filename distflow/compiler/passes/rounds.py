"""The passes over a graph, in order, verified between."""

from __future__ import annotations

from collections.abc import Callable, Collection

from distflow.compiler.passes.dead import narrow, remove_dead
from distflow.compiler.passes.dedup import share_equal
from distflow.compiler.passes.fold import fold
from distflow.compiler.passes.inline import inline
from distflow.compiler.passes.rebuild import Rebuild
from distflow.compiler.passes.simplify import simplify
from distflow.compiler.passes.state import forward_reads, lower_updates
from distflow.compiler.passes.trail import Trail
from distflow.graph.ir import Graph, Node, Value
from distflow.graph.verify import verify
from distflow.ops.prims.movement import after

# In order; each takes a Graph and returns one that means the same, or the same one.
PASSES: tuple[tuple[str, Callable[..., Graph]], ...] = (
    ("remove_dead", remove_dead),
    ("inline", inline),
    ("lower_updates", lower_updates),
    ("forward_reads", forward_reads),
    ("share_equal", share_equal),
    ("fold", fold),
    ("simplify", simplify),
    ("narrow", narrow),
    ("remove_dead", remove_dead),
)
# Hold only for variables that are the program's own (`optimize`).
FOR_OWNED = frozenset({"lower_updates", "forward_reads"})
# One pass makes work for another; what is left after so many rounds is not worth more.
_MOST_ROUNDS = 4


def optimize(graph: Graph, owned: bool | Collection[Value] = True) -> Graph:
    """Returns an equal, leaner graph; verifies it before the first pass and after each.

    With DISTFLOW_PRINT_PASSES it logs what each pass (or each of the named ones) changes.

    Args:
      graph: a finished graph; it stays as it is.
      owned: the variables among its inputs will be different ones, and each gives back what was
        written to it (`Storage.sharing`): neither aliases nor aggregates of replicas. Or those of
        them that are so.
    """
    checked: set[Node] = set()
    verify(graph, checked)
    trail = Trail(graph, [name for name, _ in PASSES])
    for _ in range(_MOST_ROUNDS):
        start = graph
        for name, run in PASSES:
            if name in FOR_OWNED and not owned:
                continue
            before = graph
            graph = run(graph, owned) if name in FOR_OWNED and owned is not True else run(graph)
            if graph is not before:
                verify(graph, checked)
                trail.note(name, before, graph)
        if graph is start:
            break
    return _settled(graph)


def _settled(graph: Graph) -> Graph:
    """Takes `after` away: nodes stay in their order, and no pass will find equal ones any more."""
    new = Rebuild(graph)
    for node in graph.nodes:
        node = new.adopt(node)
        if node.primitive is after:
            new.replace(node.outputs[0], node.inputs[0])
        else:
            new.keep(node)
    return remove_dead(new.finish())

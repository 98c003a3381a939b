"""What a replica's program does together with others: few large reductions, updates in its midst.

All workers of a job must make the same reductions in the same order with the same shapes, however
many replicas each holds. So `gather_writes` and `into_buckets` run in every form of a program, and
look at nothing but the program, the kinds of its variables and the size of a bucket. `inline_once`
and `drop_reductions` are for forms in which they change no communication.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from distflow.compiler.passes.rebuild import Rebuild, is_static
from distflow.core.primitive import REGISTRY
from distflow.core.variable import assign_variable, read_variable
from distflow.graph.ir import Graph, Node, Value, hides_variables, subgraphs

REDUCE, BUCKET, ONCE = "all_reduce", "reduce_bucket", "once"

# How replicas share a variable, as its storage says (`sharing`): what an assignment does with the
# replicas' values. Any other word: the storage sees to it, or refuses.
MIRRORED = {"sum": "SUM", "mean": "MEAN", "first": None}
# Gradients leave in buckets of so many bytes, unless an option says otherwise; the first is small,
# so that the transport has something to do early.
BUCKET_BYTES = 4 << 20
FIRST_BUCKET_BYTES = 1 << 20
# Arrays of whole vectors come first in a bucket: behind them nothing would be aligned any more.
_VECTOR = 16


def gather_writes(graph: Graph, sharing: Mapping[Value, str]) -> Graph:
    """Writes assignments of mirrored variables as one reduction and one update at the end.

    Each would otherwise be a meeting of all replicas of its own (batch normalisation has two a
    layer). An assignment stays where it is if something after it looks at its variable.
    """
    late = _last_writes(graph, sharing)
    if not late:
        return graph
    new = Rebuild(graph)
    gathered: list[tuple[Value, Value, str, str]] = []
    for node in graph.nodes:
        node = new.adopt(node)
        if node.primitive is assign_variable and node.inputs[0] in late:
            variable, value = node.inputs
            gathered.append((variable, value, node.attributes["mode"], sharing[variable]))
            new.drop()
        else:
            new.keep(node)
    totals: dict[Value, Value] = {}
    for operation in ("SUM", "MEAN"):
        chosen = [item for item in gathered if MIRRORED[item[3]] == operation]
        if chosen:
            values = tuple(value for _, value, _, _ in chosen)
            results = tuple(value.like() for value in values)
            new.keep(Node(REGISTRY[REDUCE], values, results, {"op": operation}))
            totals.update(zip((variable for variable, *_ in chosen), results))
    writes = [
        (variable, totals.get(variable, value), mode) for variable, value, mode, _ in gathered
    ]
    new.keep(_once(writes))
    return new.finish()


def _last_writes(graph: Graph, sharing: Mapping[Value, str]) -> set[Value]:
    """Returns the mirrored variables whose only assignment is the last that is seen of them."""
    last: dict[Value, Node] = {}
    hidden = -1
    position = {node: i for i, node in enumerate(graph.nodes)}
    for i, node in enumerate(graph.nodes):
        last.update((v, node) for v in node.inputs if v.resource)
        if hides_variables(node):
            hidden = i
    count: dict[Value, int] = {}
    for node in graph.nodes:
        if node.primitive is assign_variable:
            count[node.inputs[0]] = count.get(node.inputs[0], 0) + 1
    return {
        v for v, node in last.items()
        if node.primitive is assign_variable
        and not node.attributes.get("direct")
        and count[v] == 1
        and position[node] > hidden
        and sharing.get(v) in MIRRORED
        and is_static(node.inputs[1])
    }  # fmt: skip


def _once(writes: Sequence[tuple[Value, Value, str]]) -> Node:
    """Returns a node that makes assignments one time a worker, between its replicas."""
    operands = [operand for variable, value, _ in writes for operand in (value, variable)]
    distinct = list(dict.fromkeys(operands))
    inner = {operand: operand.like() for operand in distinct}
    nodes = [
        Node(assign_variable, (inner[variable], inner[value]), (), {"mode": mode})
        for variable, value, mode in writes
    ]
    body = Graph("write", [inner[operand] for operand in distinct], nodes, [])
    return Node(REGISTRY[ONCE], distinct, (), {"graph": body})


def inline_once(graph: Graph, sharing: Mapping[Value, str]) -> Graph:
    """Puts what runs one time a worker in the midst of the program of its only replica.

    Its assignments are direct: the values are those of the worker already.
    """
    if not any(_can_stand_here(node, sharing) for node in graph.nodes):
        return graph
    new = Rebuild(graph)
    for node in graph.nodes:
        node = new.adopt(node)
        if not _can_stand_here(node, sharing):
            new.keep(node)
            continue
        body = node.attributes["graph"]
        table = dict(zip(body.inputs, node.inputs))
        for inner in body.nodes:
            outputs = [value.like() for value in inner.outputs]
            table.update(zip(inner.outputs, outputs))
            attributes = inner.attributes
            if inner.primitive is assign_variable:
                attributes = {**attributes, "direct": True}
            operands = [table[v] for v in inner.inputs]
            new.keep(Node(inner.primitive, operands, outputs, attributes, inner.origin))
        for old, value in zip(node.outputs, body.outputs):
            new.replace(old, table[value])
        new.drop()
    return new.finish()


def _can_stand_here(node: Node, sharing: Mapping[Value, str]) -> bool:
    if node.primitive.name != ONCE:
        return False
    body = node.attributes["graph"]
    plain = all(
        inner.primitive in (assign_variable, read_variable)
        or not (inner.effect or subgraphs(inner.attributes))
        for inner in body.nodes
    )
    kinds = {sharing.get(v, "") for v in node.inputs if v.resource}
    return plain and kinds <= {*MIRRORED, "none", "own"}


def drop_reductions(graph: Graph) -> Graph:
    """Leaves out reductions over a single replica."""
    new = Rebuild(graph)
    for node in graph.nodes:
        node = new.adopt(node)
        if node.primitive.name != REDUCE:
            new.keep(node)
            continue
        for old, value in zip(node.outputs, node.inputs):
            new.replace(old, value)
        new.drop()
    return new.finish()


def into_buckets(graph: Graph, bucket_bytes: int = 0, early: bool = False) -> Graph:
    """Cuts reductions into buckets of one dtype; what was made last leaves first.

    Args:
      graph: a program.
      bucket_bytes: size of a bucket; 0: BUCKET_BYTES, after a first one of FIRST_BUCKET_BYTES.
      early: whether a bucket leaves as soon as its arrays are final, while work goes on.
    """
    if not any(_fits_buckets(node) for node in graph.nodes):
        return graph
    new = Rebuild(graph)
    for node in graph.nodes:
        node = new.adopt(node)
        if not _fits_buckets(node):
            new.keep(node)
            continue
        limits = (bucket_bytes,) if bucket_bytes else (FIRST_BUCKET_BYTES, BUCKET_BYTES)
        groups = cut([_num_bytes(v) for v in node.inputs], [v.dtype for v in node.inputs], limits)
        for number, group in enumerate(groups):
            results = tuple(node.inputs[i].like() for i in group)
            attributes = {**node.attributes, "number": number, "count": len(groups)}
            attributes["early"] = early
            operands = tuple(node.inputs[i] for i in group)
            new.keep(Node(REGISTRY[BUCKET], operands, results, attributes, node.origin))
            for i, result in zip(group, results):
                new.replace(node.outputs[i], result)
        new.drop()
    return new.finish()


def cut(sizes: Sequence[int], dtypes: Sequence[object], limits: Sequence[int]) -> list[list[int]]:
    """Returns the members of each bucket, by position.

    Args:
      sizes: bytes of each array, in order of creation.
      dtypes: of each array; a bucket has one.
      limits: bytes of the first bucket, the second, ...; the last limit holds for all others.
        An array that is larger has a bucket of its own.
    """
    groups: list[list[int]] = []
    open_: dict[object, list[int]] = {}
    filled: dict[object, int] = {}
    for i in reversed(range(len(sizes))):
        dtype = dtypes[i]
        limit = limits[min(max(len(groups) - 1, 0), len(limits) - 1)]
        if dtype not in open_ or filled[dtype] + sizes[i] > limit:
            groups.append([])
            open_[dtype], filled[dtype] = groups[-1], 0
        open_[dtype].append(i)
        filled[dtype] += sizes[i]
    return [_aligned_first(group, sizes) for group in groups]


def _aligned_first(group: Iterable[int], sizes: Sequence[int]) -> list[int]:
    return sorted(group, key=lambda i: sizes[i] % (4 * _VECTOR) != 0)


def _fits_buckets(node: Node) -> bool:
    return node.primitive.name == REDUCE and bool(node.inputs) and is_static(*node.inputs)


def _num_bytes(value: Value) -> int:
    return math.prod(d or 0 for d in value.shape) * value.dtype.size

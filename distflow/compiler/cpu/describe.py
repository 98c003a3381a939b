"""What an operation of a plan is, in words and in numbers: for people who ask what takes time."""

from __future__ import annotations

import collections
import math
from collections.abc import Iterator

from distflow.compiler.cpu.operations import Host, Native, Operation
from distflow.compiler.cpu.plan import Plan
from distflow.compiler.cpu.scan_plan import Loop
from distflow.graph.ir import Node


def operations(plan: Plan, times: int = 1) -> Iterator[tuple[Operation, Plan, int]]:
    """Yields each operation with its plan and how often it runs in a step, bodies of loops too."""
    for operation in plan.operations:
        yield operation, plan, times
        if isinstance(operation, Loop):
            body = operation.body
            for one, where, turns in operations(body):
                once = isinstance(one, Native) and all(
                    (one, id(call)) in body.steady for call in one.calls
                )
                yield one, where, times * turns * (1 if once else operation.times)


def title(operation: Operation, plan: Plan) -> str:
    """Returns what runs an operation, and the shapes of its operands and results."""
    node = operation.nodes[0]
    if isinstance(operation, Host) and operation.checks is not None:
        return f"check of indices: {node.primitive.name}"
    if isinstance(operation, Loop):
        return operation.label
    if operation.label.startswith("loop "):
        counts = collections.Counter(n.primitive.name for n in operation.nodes)
        names = [name if n == 1 else f"{name} x{n}" for name, n in counts.items()]
        return f"{operation.label.split(':')[0]}: {', '.join(names)}"
    return f"{operation.label}{_shapes(node, plan)}"


def explanation(plan: Plan) -> list[str]:
    """Returns a line that counts what there is, and one for each operation."""
    found = [o for o in plan.operations if not (isinstance(o, Host) and o.checks is not None)]
    hosts = sum(isinstance(o, Host) for o in found)
    loops = sum(o.label.startswith("loop ") for o in found)
    views = sum(plan.views.is_view(v) for node in plan.graph.nodes for v in node.outputs)
    counts = (
        f"{plan.graph.name}: {loops} loops, {len(found) - hosts - loops} kernels, {hosts} on the "
        f"host, {views} views, {plan.arena_bytes:,} bytes of memory for values"
    )
    return [counts, *_lines(plan, "  ")]


def _lines(plan: Plan, indent: str) -> list[str]:
    found = []
    for operation in plan.operations:
        if not (isinstance(operation, Host) and operation.checks is not None):
            found.append(indent + title(operation, plan))
        if isinstance(operation, Loop):
            found += _lines(operation.body, indent + "  ")
    return found


def num_flops(operation: Operation, plan: Plan) -> int:
    """Returns the additions and multiplications of an operation's contractions."""
    return 0 if isinstance(operation, Loop) else sum(_flops(n, plan) for n in operation.nodes)


def num_bytes(operation: Operation, plan: Plan) -> int:
    """Returns the bytes of the arrays that an operation reads and writes."""
    if isinstance(operation, Loop):
        return 0  # its body's operations move them
    found = {*operation.reads, *operation.writes}
    return sum(
        plan.shapes.size(v) * v.dtype.numpy.itemsize
        for v in found if plan.shapes.of(v) is not None
    )  # fmt: skip


def _flops(node: Node, plan: Plan) -> int:
    name = node.primitive.name
    if name not in ("dot_general", "conv"):
        return 0
    a, b = (plan.shapes.of(v) for v in node.inputs[:2])
    out = plan.shapes.of(node.outputs[0])
    if a is None or b is None or out is None:
        return 0
    if name == "dot_general":
        return 2 * math.prod(out) * math.prod(a[i] for i in node.attributes["contract"][0])
    # Zeros between rows (of an input gradient) are no work: each element of x meets all filters.
    each_output, each_input = math.prod(b[:-1]), math.prod(b[:-2]) * b[-1]
    return 2 * min(math.prod(out) * each_output, math.prod(a) * each_input)


def _shapes(node: Node, plan: Plan) -> str:
    operands = ", ".join(_text(plan.shapes.shapes.get(v)) for v in node.inputs)
    results = ", ".join(_text(plan.shapes.shapes.get(v)) for v in node.outputs)
    return f" {operands} -> {results}" if results else f" {operands}"


def _text(shape: tuple[int, ...] | None) -> str:
    return "[...]" if shape is None else str(list(shape))

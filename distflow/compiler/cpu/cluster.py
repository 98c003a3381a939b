"""Which nodes run together in one loop: clusters of elementwise nodes and reductions.

A node joins the loop of one of its operands if both go over the same shape and nothing outside
of the loop stands between them. Everything else is a unit of its own. Units are then put in an
order in which each comes after those it needs; effects keep the program's order.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence

from distflow.compiler.cpu.forms import Form, Unit, form_of
from distflow.compiler.cpu.region import Region, numbers_of, region_of
from distflow.compiler.cpu.shapes import ShapeTable
from distflow.graph.ir import Node, Value

__all__ = ["Form", "Region", "Unit", "form_of", "gather", "numbers_of", "region_of"]

# Bounds on one loop: registers, and the pointers that a call passes.
_MOST_STEPS = 48
_MOST_ARRAYS = 24


def gather(nodes: Sequence[Node], shapes: ShapeTable) -> tuple[list[Unit], dict[Node, str]]:
    """Returns the units in an order in which they can run, and why nodes are in no loop."""
    units: list[Unit] = []
    made_by: dict[Value, int] = {}
    reasons: dict[Node, str] = {}
    last_effect = -1
    for node in nodes:
        form = form_of(node, shapes)
        operands = node.inputs if isinstance(form, str) else form.operands
        before = list(dict.fromkeys(made_by[v] for v in operands if v in made_by))
        if isinstance(form, str):
            reasons[node] = form
            if node.effect:
                before += [last_effect] if last_effect >= 0 else []
                last_effect = len(units)
            here = _new_unit(units, before)
        else:
            here = _home(units, before, form)
            units[here].forms.append(form)
        units[here].nodes.append(node)
        made_by.update((v, here) for v in node.outputs)
    return _in_order(units), reasons


def _new_unit(units: list[Unit], before: Sequence[int]) -> int:
    needs = 0
    for i in before:
        needs |= units[i].needs | 1 << i
    units.append(Unit(needs=needs))
    return len(units) - 1


def _home(units: list[Unit], before: Sequence[int], form: Form) -> int:
    """Returns the unit that a node joins: the latest that fits, else a new one."""
    for here in sorted(before, reverse=True):
        unit = units[here]
        others = [i for i in before if i != here]
        if not _fits(unit, form) or any(units[i].needs >> here & 1 for i in others):
            continue
        added = 0
        for i in others:
            added |= units[i].needs | 1 << i
        if added & ~unit.needs:
            unit.needs |= added
            for later in units:
                if later.needs >> here & 1:
                    later.needs |= added
        return here
    return _new_unit(units, before)


def _fits(unit: Unit, form: Form) -> bool:
    if not unit.is_loop or unit.forms[0].shape != form.shape or len(unit.forms) >= _MOST_STEPS:
        return False
    # The result of a reduction is there only when the loop is over, and keys are read from memory.
    whole = form.primitive == "random_bits"
    late = {
        v for n, f in zip(unit.nodes, unit.forms) if whole or f.axes is not None for v in n.outputs
    }
    if any(v in late for v in form.operands):
        return False
    arrays = {v for f in (*unit.forms, form) for v in f.operands}
    if len(arrays) > _MOST_ARRAYS:
        return False
    axes = unit.axes()
    return form.axes is None or axes is None or axes == form.axes


def _in_order(units: list[Unit]) -> list[Unit]:
    made_by = {v: i for i, unit in enumerate(units) for n in unit.nodes for v in n.outputs}
    waits: list[set[int]] = []
    for i, unit in enumerate(units):
        reads = [v for f in unit.forms for v in f.operands] or [
            v for n in unit.nodes for v in n.inputs
        ]
        waits.append({made_by[v] for v in reads if v in made_by} - {i})
    effects = [i for i, unit in enumerate(units) if unit.nodes[0].effect]
    for earlier, later in itertools.pairwise(effects):
        waits[later].add(earlier)
    followers: list[list[int]] = [[] for _ in units]
    for i, needed in enumerate(waits):
        for j in needed:
            followers[j].append(i)
    missing = [len(w) for w in waits]
    ready = [i for i, count in enumerate(missing) if count == 0]
    heapq.heapify(ready)
    order = []
    while ready:
        i = heapq.heappop(ready)
        order.append(units[i])
        for j in followers[i]:
            missing[j] -= 1
            if missing[j] == 0:
                heapq.heappush(ready, j)
    assert len(order) == len(units), "the clusters form a cycle"
    return order

"""Algebraic simplification: a table of rules, each of which keeps every bit.

The one allowance: a product whose operands change places or strides is the same sum in the same
order, which the cpu executor's kernels keep to the bit; NumPy's BLAS may choose another kernel for
it and round differently.
"""

from __future__ import annotations

from collections.abc import Callable

from distflow.compiler.passes import arithmetic as a
from distflow.compiler.passes import movements as m
from distflow.compiler.passes import parts as p
from distflow.compiler.passes.rebuild import Rebuild, fits
from distflow.graph.ir import Graph, Node, Value

# What a rule gives: the value that takes the place of the node's result, or None.
Rule = Callable[[Rebuild, Node], Value | None]

RULES: dict[str, tuple[Rule, ...]] = {
    "add": (a.neutral, a.add_of_neg, p.sum_of_pads),
    "sub": (a.neutral, a.add_of_neg),
    "mul": (a.neutral,),
    "div": (a.neutral, a.by_power_of_two),
    "max": (a.same_operands,),
    "min": (a.same_operands,),
    "and": (a.same_operands,),
    "or": (a.same_operands,),
    "neg": (a.twice,),
    "not": (a.twice,),
    "conj": (a.twice,),
    "abs": (a.abs_of_neg,),
    "select": (a.chosen, a.negated_choice),
    "cast": (a.cast,),
    "stop_gradient": (a.identity,),
    "reshape": (m.reshape,),
    "broadcast_to": (m.broadcast,),
    "transpose": (m.transpose, m.transposed_product),
    "reverse": (m.reverse,),
    "slice": (m.slice_, p.slice_of_elementwise),
    "pad": (m.pad,),
    "concat": (m.concat,),
    "reduce_sum": (m.reduction,),
    "reduce_prod": (m.reduction,),
    "reduce_max": (m.reduction,),
    "reduce_min": (m.reduction,),
    "gather": (m.rows,),
    "dot_general": (m.product_of_transposed,),
}
# For every operation that is done element by element, which whole families are.
ON_ELEMENTS: tuple[Rule, ...] = (a.spread_operand, a.unit_axes)
_FAMILIES = ("unary", "binary", "select")
_MOST_STEPS = 8


def simplify(graph: Graph) -> Graph:
    """Applies the first rule of each node that has something to say, in one walk."""
    new = Rebuild(graph)
    for node in graph.nodes:
        node = new.adopt(node)
        result = _simplified(new, node)
        if result is None:
            new.keep(node)
            continue
        # What a rule made may be simpler still; most of it is seen here, not in another round.
        for _ in range(_MOST_STEPS):
            made = new.nodes[-1] if new.nodes else node
            better = _simplified(new, made) if result in made.outputs else None
            if better is None:
                break
            result = better
        new.replace(node.outputs[0], result)
    return new.finish()


def _simplified(new: Rebuild, node: Node) -> Value | None:
    name = node.primitive.name
    rules = RULES.get(name, ())
    if node.primitive.family in _FAMILIES:
        rules = (*rules, *ON_ELEMENTS)
    for rule in rules:
        result = rule(new, node)
        if result is not None and fits(result, node.outputs[0]):
            return result
    return None

"""Walks a program with the NumPy references: the definition of its meaning.

A Graph becomes a flat list of instructions once (function, slots read, slots written, slots no
longer needed), so that running it costs little beside the references themselves.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.graph.ir import Graph, Value

# Instruction: function, operand getter, first result slot, number of results (-1: one array,
# not a tuple), slots to clear afterwards.
_Instruction = tuple[Callable[..., Any], Callable[[Any], Any], int, int, tuple[int, ...]]


class Program:
    """A Graph made ready to run."""

    def __init__(self, graph: Graph):
        self.name = graph.name
        slots: dict[Value, int] = {v: i for i, v in enumerate(graph.inputs)}
        self._num_inputs = len(slots)
        for node in graph.nodes:
            for value in node.outputs:
                slots.setdefault(value, len(slots))
        self._template: list[Any] = [None] * len(slots)
        last_use = _last_uses(graph)
        kept = set(graph.outputs)
        self._instructions: list[_Instruction] = []
        for position, node in enumerate(graph.nodes):
            if node.primitive.name == "constant":
                self._template[slots[node.outputs[0]]] = node.attributes["value"]
                continue
            dead = {
                slots[v]
                for v in (*node.inputs, *node.outputs)
                if last_use.get(v, position) <= position and v not in kept
            }
            several = not _returns_one(node)
            self._instructions.append((
                _function(node),
                _getter([slots[v] for v in node.inputs]),
                slots[node.outputs[0]] if node.outputs else 0,
                len(node.outputs) if several else -1,
                tuple(sorted(dead)),
            ))  # fmt: skip
        self._outputs = [slots[v] for v in graph.outputs]

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """Returns the outputs as arrays, for arrays (and Variables for resources)."""
        if len(inputs) != self._num_inputs:
            raise errors.invalid(
                self.name, f"{self._num_inputs} inputs are needed", str(len(inputs))
            )
        slots = self._template.copy()
        slots[: self._num_inputs] = inputs
        array_type = np.ndarray
        # IEEE results without warnings, as TF: once here instead of once in each reference.
        with np.errstate(all="ignore"):
            for function, get, first, count, dead in self._instructions:
                result = function(*get(slots))
                if count < 0:
                    slots[first] = result if type(result) is array_type else np.asarray(result)
                else:
                    for i in range(count):
                        slots[first + i] = np.asarray(result[i])
                for slot in dead:
                    slots[slot] = None
        return [slots[i] for i in self._outputs]


_make_runner: Callable[[Graph], Callable[[Sequence[Any]], Sequence[Any]]] = Program


def set_runner(make: Callable[[Graph], Callable[[Sequence[Any]], Sequence[Any]]]) -> None:
    """Sets how graphs are made ready to run (called once, by `compiler`); default: Program."""
    global _make_runner
    _make_runner = make


def run(graph: Graph, inputs: Sequence[Any]) -> Sequence[Any]:
    """Runs a finished graph on arrays; it is made ready the first time."""
    if graph.runner is None:
        graph.runner = _make_runner(graph)
    return graph.runner(inputs)


def _function(node: Any) -> Callable[..., Any]:
    """The reference of a node with its attributes; the bare one of those that are `quiet`."""
    function = getattr(node.primitive.reference, "__wrapped__", node.primitive.reference)
    if node.primitive.family == "host":
        function = np.errstate(**np.geterr())(function)  # the user's code is not kept quiet
    return functools.partial(function, **node.attributes) if node.attributes else function


def _returns_one(node: Any) -> bool:
    """Whether the reference returns an array rather than a tuple (as its dtype rule does)."""
    return len(node.outputs) == 1 and not isinstance(
        node.primitive.dtype_rule(*[v.dtype for v in node.inputs], **node.attributes), tuple
    )


def _getter(indices: list[int]) -> Callable[[Any], Any]:
    if not indices:
        return lambda slots: ()
    if len(indices) == 1:
        only = indices[0]
        return lambda slots: (slots[only],)
    return operator.itemgetter(*indices)


def _last_uses(graph: Graph) -> dict[Value, int]:
    last: dict[Value, int] = {}
    for position, node in enumerate(graph.nodes):
        for value in (*node.inputs, *node.outputs):
            last[value] = position
    return last

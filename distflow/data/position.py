"""Where a pipeline's random steps stand, so that another process can start the same pass again.

All else about a pass follows from the data set's description: its position is a number of elements.
"""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.data.node import Node


def state(node: Node) -> list[list[int]]:
    """Returns [seed in use, passes so far] of each random step, in a form that JSON can hold.

    Steps below a cache in memory that is complete stand where they stood when it was filled: there
    they would have to start to fill it again.
    """
    known: dict[int, list[int]] = {}
    _collect(node, known)
    return [known[id(step)] for step in _random_steps(node)]


def set_state(node: Node, saved: list[list[int]]) -> None:
    """Lets the random steps of a pipeline stand where `state` saw those of an equal one.

    Raises:
      InvalidArgumentError: if the pipelines differ in their number of random steps.
    """
    steps = _random_steps(node)
    if len(steps) != len(saved):
        raise errors.invalid(
            "data position",
            f"a pipeline with {len(saved)} random steps, as when it was saved",
            f"one with {len(steps)}",
            "Resume with the data set that the run was started with.",
        )
    for step, (seed, passes) in zip(steps, saved):
        step.epochs.fallback_seed, step.epochs.next = seed, passes


def _random_steps(node: Node) -> list[Any]:
    """Returns the steps that count passes, each once; sources before what reads them."""
    found: dict[int, Node] = {}

    def visit(step: Node) -> None:
        if id(step) not in found:
            for source in step.sources():
                visit(source)
            found[id(step)] = step

    visit(node)
    return [step for step in found.values() if hasattr(step, "epochs")]


def _collect(node: Node, known: dict[int, list[int]]) -> None:
    memory = getattr(node, "memory", None)
    if memory is not None and memory.elements is not None:
        (source,) = node.sources()
        for step, saved in zip(_random_steps(source), memory.before or ()):
            known.setdefault(id(step), saved)
    if hasattr(node, "epochs"):
        known.setdefault(id(node), [node.epochs.fallback_seed, node.epochs.next])
    for source in node.sources():
        _collect(source, known)

"""The additions of a part of the tree as a list: who is added to whom, and where the sum goes.

The same for every piece of a buffer, so it is made once for each pattern of absent replicas.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from distflow.comm.tree import Key, Tree

# Operands are numbered: 0, 1, ... are inputs, -1 is the target, -2, -3, ... are temporaries.
TARGET = -1


class Program(NamedTuple):
    """Additions (left, right, into), in order; without any the result is input `source`.

    `source` is None if there is no input at all.
    """

    additions: tuple[tuple[int, int, int], ...]
    source: int | None
    num_temporaries: int


def program_for(tree: Tree, inputs: Sequence[Key], present: Collection[int], root: Key) -> Program:
    """Returns the program that combines nodes of the tree to one node.

    Args:
      tree: over all replicas.
      inputs: the nodes that are there, settled (`Tree.settle`), covering `root` together.
      present: which of them have data; the others pass through.
      root: the node that is wanted.
    """
    numbers = {key: i for i, key in enumerate(inputs)}
    additions: list[tuple[int, int, int]] = []
    free: list[int] = []
    made = 0

    def build(key: Key) -> int | None:
        nonlocal made
        if key in numbers:
            return numbers[key] if numbers[key] in present else None
        assert key[0] > 0, f"no input covers leaf {key[1]}"
        left = build((key[0] - 1, 2 * key[1]))
        right_key = (key[0] - 1, 2 * key[1] + 1)
        right = build(right_key) if tree.exists(right_key) else None
        if left is None or right is None:
            return right if left is None else left
        temporaries = [operand for operand in (left, right) if operand < 0]
        if temporaries:
            into = temporaries[0]
            free.extend(temporaries[1:])
        elif free:
            into = free.pop()
        else:
            made += 1
            into = TARGET - made
        additions.append((left, right, into))
        return into

    result = build(root)
    if result is None or result >= 0:
        return Program((), result, 0)
    # Only the last sum goes to the target, so that it may be one of the inputs.
    additions[-1] = (*additions[-1][:2], TARGET)
    used = [-into - 1 for *_, into in additions[:-1]]
    return Program(tuple(additions), None, max(used, default=0))


def run(
    program: Program,
    ufunc: np.ufunc,
    inputs: Sequence[np.ndarray],
    target: np.ndarray,
    temporaries: Sequence[np.ndarray],
) -> None:
    """Computes the program into `target`; temporaries may be longer than needed.

    The target may be one of the inputs.
    """
    if program.additions:
        for left, right, into in program.additions:
            a = inputs[left] if left >= 0 else _own(left, target, temporaries)
            b = inputs[right] if right >= 0 else _own(right, target, temporaries)
            ufunc(a, b, out=_own(into, target, temporaries))
    elif program.source is not None:
        np.copyto(target, inputs[program.source])


def _own(number: int, target: np.ndarray, temporaries: Sequence[np.ndarray]) -> np.ndarray:
    return target if number == TARGET else temporaries[-number - 2][: target.size]

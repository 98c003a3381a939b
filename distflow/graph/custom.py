"""custom_call: a traced function with a gradient of its own, as one node.

The node holds the traced body, which is its meaning, and the Python function, which its gradient
rule runs again on the operands to get the gradient function. Symbols that the function closes
over belong to the trace it was written in; elsewhere the node's operands stand in for them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from distflow.autodiff.custom_gradient import run
from distflow.core.primitive import Primitive
from distflow.graph import evaluate


class _StandIns(threading.local):
    def __init__(self) -> None:
        self.table: dict[int, Any] = {}


_stand_ins = _StandIns()


def stand_in(x: Any) -> Any:
    """Returns the operand that stands for a symbol of a finished trace, or None."""
    return _stand_ins.table.get(id(x))


def any_stand_ins() -> bool:
    """Whether a gradient rule of a custom_call is running."""
    return bool(_stand_ins.table)


@contextlib.contextmanager
def standing_in(old: Sequence[Any], new: Sequence[Any]) -> Iterator[None]:
    """In the block, tensors and variables `old` stand for `new`."""
    before = _stand_ins.table
    _stand_ins.table = {**before, **{id(o): n for o, n in zip(old, new) if o is not n}}
    try:
        yield
    finally:
        _stand_ins.table = before


def _gradient(
    g: Any, out: Any, *inputs: Any, body: Any, f: Any, given: Any, captured: Any
) -> tuple[Any, ...]:
    """`given`: f's arguments, None where an input supplies it; `captured`: what f closes over."""
    count = sum(x is None for x in given)
    tensors = iter(inputs[:count])
    arguments = [next(tensors) if x is None else x for x in given]
    with standing_in(captured, inputs[count:]):
        _, seen, rule = run(f, arguments)
        gradients = rule(g, out)
    of_variables = {id(x): dx for x, dx in zip(seen, gradients) if getattr(x, "is_variable", False)}
    of_tensors = [dx for x, dx in zip(given, gradients) if x is None]
    return (*of_tensors, *(of_variables.get(id(x)) for x in captured))


custom_call = Primitive(
    "custom_call",
    lambda *inputs, body, **attributes: tuple(v.dtype for v in body.outputs),
    lambda *inputs, body, **attributes: [v.shape for v in body.outputs],
    lambda *arrays, body, **attributes: tuple(evaluate.run(body, arrays)),
    _gradient,
    family="custom",
    keeps_variables=True,
)

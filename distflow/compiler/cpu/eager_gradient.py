"""The gradients of an eager tape as one compiled program, kept for tapes that saw the same.

What a tape has seen (operations, types, who feeds whom) decides the program; the values are its
inputs. The rules are those of the plain sweep, run once under a trace. Tapes of little work are
left to the plain sweep, so are those with user code in them.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Sequence
from typing import Any

from distflow.autodiff import backward
from distflow.autodiff.backward import Record
from distflow.base import flags
from distflow.core import context
from distflow.core.tensor import EagerTensor, Tensor
from distflow.core.variable import read_variable
from distflow.graph import evaluate
from distflow.graph.build import Trace
from distflow.graph.ir import Graph, Node, Value, has_side_effect

# Elements of all results on the tape below which a program is not worth compiling.
_LEAST_ELEMENTS = 1 << 14
# Operations on a tape above which compiling takes seconds: their own time is worth more by then.
_MOST_RECORDS = 256
_MOST_PROGRAMS = 128
# Sets of shapes that the same operations are compiled for; where shapes vary without end, the
# plain sweep costs less than compiling again and again.
_MOST_SHAPES = 8
# Sequences of operations that are compiled: a program whose every step is another one soon runs
# plainly.
_MOST_SEQUENCES = 64
# Primitives whose gradient rules are known to have no effects, and no meaning beside their graph.
_FAMILIES = frozenset({
    "binary", "contraction", "creation", "indexing", "movement", "reduction", "select", "sorting",
    "unary", "window",
})  # fmt: skip

_programs: collections.OrderedDict[Any, _Program | None] = collections.OrderedDict()
_num_shapes: collections.Counter[Any] = collections.Counter()
_lock = threading.Lock()


def sweep(
    records: Sequence[Record],
    targets: Sequence[Any],
    output_gradients: Sequence[Any],
    sources: Sequence[Any],
    tracked: Any,
) -> list[Any] | None:
    """Returns what `backward.sweep` does, or None where that should do it."""
    state = context.state
    if state.interpreters or state.observers or flags.executor() != "cpu":
        return None
    tape = _Tape(tracked)
    if not tape.read(records, targets, output_gradients, sources):
        return None
    key = tuple(tape.key)
    try:
        known = key in _programs
    except TypeError:
        return None  # an attribute that cannot be hashed
    with _lock:
        if not known and key not in _programs:
            same = tuple([r.primitive for r in records])
            if same not in _num_shapes and len(_num_shapes) >= _MOST_SEQUENCES:
                return None
            _num_shapes[same] += 1
            if _num_shapes[same] > _MOST_SHAPES:
                return None
            _programs[key] = _made(tape, records)
            if len(_programs) > _MOST_PROGRAMS:
                _programs.popitem(last=False)
        program = _programs[key]
        _programs.move_to_end(key)
    return None if program is None else program(tape.tensors)


class _Tape:
    """What a tape has seen, with numbers for tensors and variables."""

    def __init__(self, tracked: Any):
        self._tracked = tracked
        self._numbers: dict[int, int] = {}
        self.key: list[Any] = []
        self.tensors: list[Any] = []
        self.is_tracked: list[bool] = []

    def read(
        self, records: Sequence[Record], targets: Sequence[Any], given: Sequence[Any],
        sources: Sequence[Any],
    ) -> bool:  # fmt: skip
        """Notes everything; False if it is not for a compiled program."""
        if len(records) > _MOST_RECORDS:
            return False
        elements = 0
        number = self._number
        for record in records:
            primitive = record.primitive
            if primitive.family not in _FAMILIES and primitive is not read_variable:
                return False
            attributes = record.attributes
            self.key.append((
                primitive,
                tuple([number(x) for x in record.inputs]),
                tuple([number(x) for x in record.outputs]),
                tuple(attributes.items()) if attributes else (),
            ))  # fmt: skip
            elements += sum([x._array.size for x in record.outputs if type(x) is EagerTensor])
        if elements < _LEAST_ELEMENTS:
            return False
        self.targets = [number(x) for x in targets]
        self.given = [number(x) for x in given]
        self.sources = [self._numbers.get(id(x)) for x in sources]
        self.key += [tuple(self.targets), tuple(self.given), tuple(self.sources)]
        return all(type(x) is EagerTensor or getattr(x, "is_variable", False) for x in self.tensors)

    def _number(self, x: Any) -> int:
        found = self._numbers.get(id(x))
        if found is None:
            found = self._numbers[id(x)] = len(self.tensors)
            self.tensors.append(x)
            shape = x._array.shape if type(x) is EagerTensor else tuple(x.shape)
            is_tracked = id(x) in self._tracked
            self.is_tracked.append(is_tracked)
            self.key.append((x.dtype.name, shape, is_tracked))
        return found


def _made(tape: _Tape, records: Sequence[Record]) -> _Program | None:
    if any(None in x.shape for x in tape.tensors):
        return None
    trace = Trace("gradient", closed=True)
    symbols = [trace.input(Value(x.dtype, x.shape)) for x in tape.tensors]
    table = {id(x): symbol for x, symbol in zip(tape.tensors, symbols)}
    tracked = {id(symbol) for symbol, is_tracked in zip(symbols, tape.is_tracked) if is_tracked}
    copies = [
        Record(
            r.primitive,
            tuple([table[id(x)] for x in r.inputs]),
            tuple([table[id(x)] for x in r.outputs]),
            r.attributes,
        )
        for r in records
    ]
    sources = [None if i is None else symbols[i] for i in tape.sources]
    with context.without_observers(), context.use_interpreter(trace):
        found = backward.sweep(
            copies, [symbols[i] for i in tape.targets], [symbols[i] for i in tape.given],
            sources, tracked,
        )  # fmt: skip
        if not all(g is None or isinstance(g, Tensor) for g in found):
            return None
        outputs = [None if g is None else trace.value_of(g) for g in found]
    if trace.externals or any(map(has_side_effect, trace.graph.nodes)):
        return None
    return _Program(trace.graph, outputs, tape.tensors)


class _Program:
    """The compiled sweep of tapes that saw the same."""

    def __init__(self, graph: Graph, outputs: Sequence[Value | None], tensors: Sequence[Any]):
        results = [v for v in outputs if v is not None]
        nodes, needed = _needed(graph.nodes, results)
        self._used = [i for i, v in enumerate(graph.inputs) if v in needed]
        assert all(type(tensors[i]) is EagerTensor for i in self._used), "a variable is read"
        inputs = [graph.inputs[i] for i in self._used]
        self._graph = Graph("gradient", inputs, nodes, results)
        self._is_there = [v is not None for v in outputs]

    def __call__(self, tensors: Sequence[Any]) -> list[Any]:
        """Returns a gradient for each source, None where there is none."""
        with context.outside_python():
            found = iter(evaluate.run(self._graph, [tensors[i]._array for i in self._used]))
        return [EagerTensor(next(found)) if there else None for there in self._is_there]


def _needed(nodes: Sequence[Node], results: Sequence[Value]) -> tuple[list[Node], set[Value]]:
    """Returns the nodes that results depend on, and all values that these read."""
    needed, kept = set(results), []
    for node in reversed(nodes):
        if any(v in needed for v in node.outputs):
            kept.append(node)
            needed.update(node.inputs)
    return kept[::-1], needed

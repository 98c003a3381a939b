"""Which values are other values seen differently: transposed, reshaped, cut, repeated. No copies.

A view has a root, the value that has memory of its own, and says where its elements lie in it.
Kernels and loops take any strides, so most movement costs nothing; a reshape that strides cannot
express is a node like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distflow.compiler.cpu.shapes import Shape, ShapeTable
from distflow.compiler.cpu.task import Layout, contiguous
from distflow.graph.ir import Node, Value


@dataclass(frozen=True)
class View:
    """Where the elements of a value lie.

    Attributes:
      root: the value whose memory it is.
      offset: of its first element, in elements.
      layout: its own shape, and strides in the root's memory.
    """

    root: Value
    offset: int
    layout: Layout

    @property
    def is_contiguous(self) -> bool:
        """Whether its elements lie one after another, in order."""
        whole = contiguous(self.layout.dtype, self.layout.shape).strides
        return all(
            a == b for a, b, n in zip(self.layout.strides, whole, self.layout.shape) if n != 1
        )


class Views:
    """The views among the values of a program.

    Values whose shape depends on data are in none of the tables: only references take them.
    """

    def __init__(self, shapes: ShapeTable):
        self._shapes = shapes
        self._views: dict[Value, View] = {}
        # Nodes whose results have memory of their own although they could be views.
        self.copies: set[Node] = set()

    def add(self, node: Node) -> bool:
        """Notes the result of a node as a view, if it is one; returns whether it is."""
        make = _RULES.get(node.primitive.name)
        if make is None or node in self.copies:
            return False
        (output,) = node.outputs
        shape = self._shapes.of(output)
        if shape is None or self._shapes.of(node.inputs[0]) is None:
            return False
        source = self.of(node.inputs[0])
        found = make(source, node, shape)
        if found is None:
            return False
        offset, strides = found
        self._views[output] = View(
            source.root, source.offset + offset, Layout(output.dtype.name, shape, strides)
        )
        return True

    def of(self, value: Value) -> View:
        """Returns where a value lies; a value that is no view is its own root, contiguous."""
        if value in self._views:
            return self._views[value]
        shape = self._shapes.of(value)
        assert shape is not None, f"the shape of {value!r} is not known"
        return View(value, 0, contiguous(value.dtype.name, shape))

    def root(self, value: Value) -> Value:
        """Returns the value whose memory holds a value."""
        view = self._views.get(value)
        return value if view is None else view.root

    def is_view(self, value: Value) -> bool:
        """Whether a value has no memory of its own."""
        return value in self._views

    def lies(self, value: Value, layout: Layout) -> None:
        """Notes how an input of the program lies, if it is not contiguous."""
        if layout != contiguous(layout.dtype, layout.shape):
            self._views[value] = View(value, 0, layout)

    def alias(self, value: Value, root: Value) -> None:
        """Notes a value that has the very elements of another (a variable that is read)."""
        self._views[value] = self.of(root)


_Found = tuple[int, tuple[int, ...]] | None


def _same(source: View, node: Node, shape: Shape) -> _Found:
    return 0, source.layout.strides


def _cast(source: View, node: Node, shape: Shape) -> _Found:
    same = node.inputs[0].dtype is node.outputs[0].dtype
    return (0, source.layout.strides) if same else None


def _transpose(source: View, node: Node, shape: Shape) -> _Found:
    return 0, tuple(source.layout.strides[p] for p in node.attributes["perm"])


def _broadcast(source: View, node: Node, shape: Shape) -> _Found:
    extra = len(shape) - len(source.layout.shape)
    strides = [
        0 if have == 1 and want != 1 else stride
        for have, want, stride in zip(source.layout.shape, shape[extra:], source.layout.strides)
    ]
    return 0, (0,) * extra + tuple(strides)


def _slice(source: View, node: Node, shape: Shape) -> _Found:
    of = node.attributes
    offset, strides = 0, []
    for size, stride, row in zip(
        source.layout.shape, source.layout.strides, zip(of["starts"], of["stops"], of["strides"])
    ):
        first, _, step = slice(*row).indices(size)
        offset += first * stride
        strides.append(stride * step)
    return (offset if 0 not in shape else 0), tuple(strides)


def _reshape(source: View, node: Node, shape: Shape) -> _Found:
    strides = reshaped_strides(source.layout.shape, source.layout.strides, shape)
    return None if strides is None else (0, strides)


def reshaped_strides(
    shape: Sequence[int], strides: Sequence[int], target: Sequence[int]
) -> tuple[int, ...] | None:
    """Returns the strides of an array seen in another shape; None if only a copy can have it."""
    if 0 in shape:
        return contiguous("", target).strides
    # Axes of the source as few as possible: each a run of elements evenly apart.
    runs: list[list[int]] = []
    for n, stride in zip(shape, strides):
        if n == 1:
            continue
        if runs and runs[-1][1] == n * stride:
            runs[-1] = [runs[-1][0] * n, stride]
        else:
            runs.append([n, stride])
    result: list[int] = []
    for n in reversed(target):
        if n == 1:
            result.append(0)
            continue
        while runs and runs[-1][0] == 1:
            runs.pop()
        if not runs or runs[-1][0] % n:
            return None
        result.append(runs[-1][1])
        runs[-1] = [runs[-1][0] // n, runs[-1][1] * n]
    return tuple(reversed(result))


_RULES = {
    "stop_gradient": _same,
    "cast": _cast,
    "transpose": _transpose,
    "broadcast_to": _broadcast,
    "slice": _slice,
    "reshape": _reshape,
}
# Primitives whose results may be views.
NAMES = frozenset(_RULES)

"""The textual form of a Graph, and its parser.

    graph f(%x: float32[?, 3], %w: &float32[3]) {
      %0: float32[3] = read_variable(%w)
      %1: float32[?, 3] = mul(%x, %0)
      return %1
    }

`&` marks a Variable. Graphs that nodes hold follow as `graph` blocks of their own, and are named
in attributes as `graph("name")`. Python functions and large arrays print, but do not parse.
"""

from __future__ import annotations

import ast
import re
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, parsing
from distflow.core.primitive import REGISTRY
from distflow.graph.ir import Graph, Node, Value, set_printer, subgraphs

_LARGEST_ARRAY = 64  # elements; larger ones print as their type only


class Names:
    """The names of a graph's values in print: inputs by their own, results by number."""

    def __init__(self, graph: Graph, blocks: dict[int, str] | None = None):
        self._names: dict[Value, str] = {}
        self._blocks = blocks or {}
        taken: set[str] = set()
        for i, value in enumerate(graph.inputs):
            name = re.sub(r"\W", "_", value.name) or f"in{i}"
            if name[0].isdigit() or name in taken:
                name = f"in{i}_{name}"
            taken.add(name)
            self._names[value] = name
        for node in graph.nodes:
            for value in node.outputs:
                self._names.setdefault(value, str(len(self._names) - len(graph.inputs)))

    def __getitem__(self, value: Value) -> str:
        return f"%{self._names.get(value, '?')}"

    def typed(self, value: Value) -> str:
        """Returns `%name: type`."""
        return f"{self[value]}: {value.type_text()}"

    def line(self, node: Node) -> str:
        """Returns the line of one node."""
        operands = [self[v] for v in node.inputs]
        operands += [f"{k}={self._attribute(v)}" for k, v in node.attributes.items()]
        call = f"{node.primitive.name}({', '.join(operands)})"
        results = ", ".join(self.typed(v) for v in node.outputs)
        return f"{results} = {call}" if results else call

    def _attribute(self, value: Any) -> str:
        if isinstance(value, Graph):
            return f'graph("{self._blocks.get(id(value), value.name)}")'
        if isinstance(value, dtypes.DType):
            return f"tf.{value.name}"
        if isinstance(value, np.ndarray | np.generic):
            return _array_text(np.asarray(value))
        if isinstance(value, tuple):
            inner = ", ".join(map(self._attribute, value))
            return f"({inner},)" if len(value) == 1 else f"({inner})"
        if isinstance(value, list):
            return f"[{', '.join(map(self._attribute, value))}]"
        if value is None or isinstance(value, bool | int | float | str | bytes):
            return repr(value)
        return f"<{type(value).__name__} {getattr(value, '__name__', '')}>".replace(" >", ">")


def to_text(graph: Graph) -> str:
    """Returns the textual form; graphs that it holds follow it."""
    blocks: dict[int, str] = {}
    order: list[Graph] = []
    _collect(graph, blocks, order)
    return "\n\n".join(_block(g, blocks) for g in order)


def _collect(graph: Graph, blocks: dict[int, str], order: list[Graph]) -> None:
    if id(graph) in blocks:
        return
    name = re.sub(r"\W", "_", graph.name) or "f"
    blocks[id(graph)] = f"{name}_{len(blocks)}" if name in blocks.values() else name
    order.append(graph)
    for node in graph.nodes:
        for inner in subgraphs(node.attributes):
            _collect(inner, blocks, order)


def _block(graph: Graph, blocks: dict[int, str]) -> str:
    names = Names(graph, blocks)
    head = f"graph {blocks[id(graph)]}({', '.join(names.typed(v) for v in graph.inputs)}) {{"
    lines = [f"  {names.line(node)}" for node in graph.nodes]
    result = f"  return {', '.join(names[v] for v in graph.outputs)}".rstrip()
    return "\n".join([head, *lines, result, "}"])


def _array_text(array: Any) -> str:
    name = dtypes.of_array(array).name
    if array.size > _LARGEST_ARRAY:
        return f"<array {name}{list(array.shape)}>"
    return f"array(tf.{name}, {list(array.shape)}, {array.reshape(-1).tolist()})"


# -- parsing -------------------------------------------------------------------------------

_HEAD = re.compile(r"graph (\w+)\((.*)\) \{")
_TYPED = re.compile(r"%(\w+): (&?)(\w+)\[([^\]]*)\]")


def parse(text: str) -> Graph:
    """Returns the first graph of a text in textual form.

    Raises:
      InvalidArgumentError: for text that is not in this form, an unknown primitive or value, or an
        attribute that only prints.
    """
    blocks = [b for b in re.split(r"\n(?=graph )", text.strip()) if b.strip()]
    parsed: dict[str, Graph] = {}
    # A graph stands before those that it holds, so they are read from the last to the first.
    for block in reversed(blocks):
        graph = _parse_block(block.strip().splitlines(), parsed)
        parsed[graph.name] = graph
    if not parsed:
        raise errors.invalid("parse", "'graph name(...) {' is needed", repr(text[:40]))
    return graph


def _parse_block(lines: list[str], graphs: dict[str, Graph]) -> Graph:
    head = _HEAD.fullmatch(lines[0].strip())
    if head is None:
        raise _unparsable(lines[0], "graph name(...) {")
    table: dict[str, Value] = {}
    graph = Graph(head[1], [_declare(m, table) for m in _TYPED.finditer(head[2])])
    for line in lines[1:]:
        line = line.strip()
        if line == "}" or not line:
            continue
        if line == "return" or line.startswith("return "):
            graph.outputs = [_lookup(n, table, line) for n in re.findall(r"%(\w+)", line)]
            continue
        results, _, call = line.rpartition(" = ") if line.startswith("%") else ("", "", line)
        if line.startswith("%"):
            # ` = ` does not occur in results, but may occur in a string attribute.
            results, _, call = line.partition(" = ")
        primitive, operands, attributes = _parse_call(call, table, graphs)
        outputs = [_declare(m, table) for m in _TYPED.finditer(results)]
        graph.nodes.append(Node(primitive, operands, outputs, attributes))
    return graph


def _declare(match: re.Match[str], table: dict[str, Value]) -> Value:
    name, resource, dtype, dims = match.groups()
    shape = [None if d.strip() == "?" else int(d) for d in dims.split(",") if d.strip()]
    own = "" if name.isdigit() or re.fullmatch(r"in\d+", name) else name
    table[name] = Value(dtypes.as_dtype(dtype), shape, bool(resource), own)
    return table[name]


def _parse_call(
    call: str, table: dict[str, Value], graphs: dict[str, Graph]
) -> tuple[Any, list[Value], dict[str, Any]]:
    try:
        with parsing.lock:
            tree = ast.parse(re.sub(r"%(\w+)", r'value("\1")', call), mode="eval").body
    except SyntaxError as error:
        raise _unparsable(call, "primitive(%operand, ..., attribute=value, ...)") from error
    if not (isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name)):
        raise _unparsable(call, "primitive(%operand, ..., attribute=value, ...)")
    if tree.func.id not in REGISTRY:
        raise _unparsable(call, f"a known primitive instead of {tree.func.id!r}")
    operands = [_lookup(_first_text(a), table, call) for a in tree.args]
    attributes = {str(k.arg): _literal(k.value, graphs, call) for k in tree.keywords}
    return REGISTRY[tree.func.id], operands, attributes


def _lookup(name: str, table: dict[str, Value], line: str) -> Value:
    if name not in table:
        raise _unparsable(line, f"a known value instead of %{name}")
    return table[name]


def _first_text(node: Any) -> str:
    return node.args[0].value if isinstance(node, ast.Call) else "?"  # type: ignore[attr-defined]


def _literal(node: Any, graphs: dict[str, Graph], line: str) -> Any:
    if isinstance(node, ast.Tuple):
        return tuple(_literal(e, graphs, line) for e in node.elts)
    if isinstance(node, ast.List):
        return [_literal(e, graphs, line) for e in node.elts]
    if isinstance(node, ast.Attribute):
        return dtypes.as_dtype(node.attr)
    if isinstance(node, ast.Name) and node.id in ("nan", "inf"):
        return float(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_literal(node.operand, graphs, line)
    if isinstance(node, ast.BinOp):  # a complex number
        return _literal(node.left, graphs, line) + _literal(node.right, graphs, line)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id == "graph":
            return graphs[_first_text(node)]
        dtype, shape, flat = (_literal(a, graphs, line) for a in node.args)
        return np.asarray(flat, dtype.numpy).reshape(shape)
    if isinstance(node, ast.Constant):
        return node.value
    raise _unparsable(line, "literal attributes")


def _unparsable(line: str, expected: str) -> Exception:
    return errors.invalid("parse", f"expected {expected}", repr(line))


set_printer(to_text)

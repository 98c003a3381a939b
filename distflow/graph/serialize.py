"""A Graph as bytes and back: exact, and the same bytes for the same program in any process.

JSON of tables and rows of numbers. Only what plain data says can be written: a program that holds
Python functions or strings of data has no bytes (`None`), and is made anew by who wants it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core.primitive import REGISTRY
from distflow.graph.ir import Graph, Node, Value, subgraphs


class _NotPlain(Exception):
    """Something that is not plain data."""


def to_bytes(graph: Graph) -> bytes | None:
    """Returns a finished graph as bytes; None if it holds what bytes cannot say."""
    try:
        return json.dumps(_record(graph), separators=(",", ":")).encode()
    except _NotPlain:
        return None


def from_bytes(data: bytes, inputs: Sequence[Value] | None = None) -> Graph:
    """Returns the graph that `to_bytes` wrote.

    Args:
      data: from `to_bytes`.
      inputs: values to use as its inputs; default: new ones. They must be of the same types.

    Raises:
      InvalidArgumentError: for bytes that are no graph, or inputs of other types.
    """
    try:
        return _graph(json.loads(data), inputs)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise errors.invalid("graph", "bytes that to_bytes wrote", repr(data[:40])) from error


def _record(graph: Graph) -> dict[str, Any]:
    operations = _Table()
    types = _Table()
    number = {v: i for i, v in enumerate(graph.inputs)}
    rows: list[list[int]] = []
    inputs = [[_type(types, v), int(v.resource), v.name] for v in graph.inputs]
    for node in graph.nodes:
        row = [_operation(operations, node)]
        row += [number[v] for v in node.inputs]
        for value in node.outputs:
            if value.name or value.resource:
                raise _NotPlain
            number[value] = len(number)
            row.append(_type(types, value))
        rows.append(row)
    outputs = [number[v] for v in graph.outputs]
    return {
        "name": graph.name, "types": types.entries, "operations": operations.entries,
        "inputs": inputs, "nodes": rows, "outputs": outputs,
    }  # fmt: skip


def _graph(found: dict[str, Any], inputs: Sequence[Value] | None) -> Graph:
    types = [(dtypes.as_dtype(name), tuple(dims)) for name, dims in found["types"]]
    wanted = [
        Value(types[number][0], types[number][1], bool(resource), name)
        for number, resource, name in found["inputs"]
    ]
    if inputs is not None:
        own = [(v.dtype, tuple(v.shape), v.resource) for v in inputs]
        if own != [(v.dtype, tuple(v.shape), v.resource) for v in wanted]:
            raise ValueError("other inputs")
        wanted = list(inputs)
    operations = [
        (REGISTRY[name], {k: _value(code) for k, code in attributes.items()}, count)
        for name, attributes, count in found["operations"]
    ]
    values = list(wanted)
    nodes = []
    for row in found["nodes"]:
        primitive, attributes, count = operations[row[0]]
        made = [Value(*types[number]) for number in row[1 + count :]]
        nodes.append(
            Node(primitive, [values[i] for i in row[1 : 1 + count]], made, dict(attributes))
        )
        values += made
    return Graph(found["name"], wanted, nodes, [values[i] for i in found["outputs"]])


class _Table:
    """Distinct entries in the order in which they came, and their numbers by key."""

    def __init__(self) -> None:
        self.entries: list[Any] = []
        self.numbers: dict[Any, int] = {}

    def add(self, key: Any, entry: Any) -> int:
        """Adds an entry; returns its number."""
        self.numbers[key] = len(self.entries)
        self.entries.append(entry)
        return self.numbers[key]


def _type(types: _Table, value: Value) -> int:
    key = value.dtype.name, tuple(value.shape)
    found = types.numbers.get(key)
    return types.add(key, key) if found is None else found


def _operation(operations: _Table, node: Node) -> int:
    if node.origin:
        raise _NotPlain
    attributes = node.attributes
    text: Any
    if node.primitive.name == "constant":
        text = _bits(attributes["value"])
    elif subgraphs(attributes):
        text = len(operations.entries)  # the text of a graph leaves most of it out: no two are one
    else:
        text = repr(attributes)  # tells 1, 1.0 and True apart, which are equal as keys
    key = node.primitive.name, len(node.inputs), text
    found = operations.numbers.get(key)
    if found is not None:
        return found
    # The text of an array leaves most of it out.
    if node.primitive.name != "constant" and any(
        isinstance(v, np.ndarray | np.generic) for v in attributes.values()
    ):
        raise _NotPlain
    codes = {name: _code(value) for name, value in attributes.items()}
    return operations.add(key, [node.primitive.name, codes, len(node.inputs)])


def _bits(array: Any) -> tuple[str, tuple[int, ...] | None, bytes]:
    """Returns dtype, shape (None: a scalar of NumPy, no array) and bytes."""
    is_array = type(array) is np.ndarray
    if not (is_array or isinstance(array, np.generic)) or array.dtype.kind in "OUSM":
        raise _NotPlain
    return dtypes.of_array(array).name, array.shape if is_array else None, array.tobytes()


def _code(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is tuple:
        return [_code(v) for v in value]
    if type(value) is shapes.TensorShape:
        return {"shape": list(value)}
    if isinstance(value, Graph):
        return {"graph": _record(value)}
    if isinstance(value, dtypes.DType):
        return {"dtype": value.name}
    if isinstance(value, np.ndarray | np.generic):
        name, shape, data = _bits(value)
        return {"array": name, "shape": shape, "data": base64.b64encode(data).decode()}
    raise _NotPlain


def _value(code: Any) -> Any:
    if isinstance(code, list):
        return tuple([_value(v) for v in code])
    if not isinstance(code, dict):
        return code
    if "dtype" in code:
        return dtypes.as_dtype(code["dtype"])
    if "graph" in code:
        return _graph(code["graph"], None)
    if "shape" in code and "data" not in code:
        return shapes.TensorShape.of(tuple(code["shape"]))
    flat = np.frombuffer(base64.b64decode(code["data"]), dtypes.as_dtype(code["array"]).numpy)
    return flat[0] if code["shape"] is None else flat.reshape(code["shape"])

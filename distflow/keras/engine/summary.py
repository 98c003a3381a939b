"""The table that `Model.summary()` prints: layers, output shapes, numbers of parameters."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from distflow.base import errors, nest
from distflow.keras.engine.layer import Layer
from distflow.keras.engine.node import maker

_WIDTH = 76
# Columns and the fractions of the width that they take.
_PLAIN = (("Layer (type)", 0.458), ("Output Shape", 0.333), ("Param #", 0.209))
_TRAINABLE = (
    ("Layer (type)", 0.408), ("Output Shape", 0.324), ("Param #", 0.169), ("Trai…", 0.099)
)  # fmt: skip
_CONNECTED = (
    ("Layer (type)", 0.296), ("Output Shape", 0.268), ("Param #", 0.169), ("Connected to", 0.267)
)  # fmt: skip
_CONNECTED_TRAINABLE = (
    ("Layer (type)", 0.27), ("Output Shape", 0.25), ("Param #", 0.16), ("Connected to", 0.22),
    ("Trai…", 0.1),
)  # fmt: skip


def print_summary(
    model: Any,
    line_length: int | None = None,
    positions: Any = None,
    print_fn: Any = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
    layer_range: Any = None,
) -> None:
    """Prints a model's table; see `Model.summary`."""
    connected = _is_branched(model)
    columns: Any = {
        (False, False): _PLAIN, (False, True): _TRAINABLE,
        (True, False): _CONNECTED, (True, True): _CONNECTED_TRAINABLE,
    }[connected, show_trainable]  # fmt: skip
    width = line_length or _WIDTH
    table = Table(box=box.HEAVY_HEAD, show_lines=True, header_style="bold", padding=(0, 1))
    for (title, _), size in zip(columns, _widths(columns, positions, width)):
        right = title == "Param #"
        middle = title.startswith("Trai")
        justify: Any = "right" if right else "center" if middle else "left"
        table.add_column(title, justify=justify, width=size, overflow="ellipsis")
    layers = model.operations if connected else model.layers
    for layer in _chosen(layers, layer_range):
        _add_rows(table, layer, model, connected, show_trainable, expand_nested, 0)
    _show(model, table, width, print_fn)


def _widths(columns: Any, positions: Any, width: int) -> list[int]:
    """Returns the width of each column's text, without its two spaces."""
    inner = width - len(columns) - 1
    if positions is None:
        sizes = [round(fraction * inner) for _, fraction in columns]
        sizes[0] += inner - sum(sizes)
    else:
        ends = [int(p * width) if p <= 1 else int(p) for p in positions]
        if len(ends) < len(columns):
            raise errors.invalid("summary", f"positions must have {len(columns)} entries",
                                 str(list(positions)))  # fmt: skip
        sizes = [end - start - 1 for start, end in zip([0, *ends], ends[: len(columns)])]
    return [max(3, size - 2) for size in sizes]


def _add_rows(
    table: Table, layer: Any, model: Any, connected: bool, trainable: bool, nested: bool, level: int
) -> None:
    prefix = "   " * level + "└ " if level else ""
    name = f"{escape(layer.name)} ([cyan]{type(layer).__name__}[/])"
    row = [prefix + name, escape(_output_text(layer)), _parameters_text(layer)]
    if connected:
        row.append(escape(_connections_text(layer, model)) if level == 0 else "-")
    if trainable:
        has = bool(getattr(layer, "weights", ()))
        row.append(("Y" if layer.trainable else "N") if has else "-")
    table.add_row(*row)
    if nested and hasattr(layer, "layers"):
        for inner in layer.layers:
            _add_rows(table, inner, model, connected, trainable, nested, level + 1)


def _output_text(layer: Any) -> str:
    if layer._inbound_nodes:
        found = {str(_shape_text(node.output_structure)) for node in layer._inbound_nodes}
        if len(found) == 1:
            return found.pop()
        return str(_shape_text(layer._inbound_nodes[0].output_structure))
    if getattr(layer, "outputs", None):
        return str(_shape_text(layer.output))
    given = getattr(layer, "_build_shapes", None)
    if not given:
        return "?"
    try:
        shape = layer.compute_output_shape(*given.values())
    except (ValueError, TypeError, NotImplementedError, AttributeError):
        return "?"
    return str(tuple(shape) if not nest.is_nested(shape) else shape)


def _shape_text(structure: Any) -> Any:
    found = nest.map_structure(lambda x: None if x is None else f"({_dims(x.shape)})", structure)
    return str(found).replace("'", "")


def _dims(shape: Any) -> str:
    return ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")


def _parameters_text(layer: Any) -> str:
    if not isinstance(layer, Layer):
        return "[green]0[/]"
    if not layer.built:
        return "[green]0[/] (unbuilt)"
    return f"[green]{layer.count_params():,}[/]"


def _connections_text(layer: Any, model: Any) -> str:
    own = {id(node) for node in model._order.nodes}
    found = []
    for node in layer._inbound_nodes:
        if id(node) not in own:
            continue
        for tensor in node.input_tensors:
            operation, _, tensor_index = tensor._keras_history
            nodes = [n for n in operation._inbound_nodes if id(n) in own]
            found.append(f"{operation.name}[{nodes.index(maker(tensor))}][{tensor_index}]")
    return ",\n".join(found) if found else "-"


def _is_branched(model: Any) -> bool:
    """Whether a functional model is more than a chain."""
    if not hasattr(model, "_order"):
        return False
    nodes = model._order.nodes
    starts = sum(1 for node in nodes if not node.input_tensors)
    return starts != 1 or any(len(n.input_tensors) > 1 for n in nodes) or len(
        {id(n.operation) for n in nodes}
    ) != len(nodes) or _forks(nodes)  # fmt: skip


def _forks(nodes: Any) -> bool:
    used = [id(maker(x)) for node in nodes for x in node.input_tensors]
    return len(used) != len(set(used))


def _chosen(layers: list[Any], layer_range: Any) -> list[Any]:
    if layer_range is None:
        return layers
    if len(layer_range) != 2 or not all(isinstance(x, str) for x in layer_range):
        raise ValueError(
            "You must pass two layer names (or patterns) as layer_range. Received: "
            f"layer_range={layer_range}"
        )
    ends = []
    for pattern, candidates in zip(layer_range, (layers, layers[::-1])):
        found = [x for x in candidates if re.match(pattern, x.name)]
        if not found:
            raise ValueError(f"Passed layer_range does not match the model layers: {pattern!r}.")
        ends.append(layers.index(found[0]))
    first, last = sorted(ends)
    return layers[first : last + 1]


def _show(model: Any, table: Table, width: int, print_fn: Any) -> None:
    title = f'[bold]Model: "{escape(model.name)}"[/]'
    lines = [f" [bold]{what} params:[/] {text}" for what, text in _totals(model)]
    if print_fn is not None:
        text = io.StringIO()
        console = Console(file=text, width=width, force_terminal=False, color_system=None)
    else:
        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = max(width, console.width)
    for part in (title, table, *lines):
        console.print(part, highlight=False)
    if print_fn is not None:
        print_fn(text.getvalue())


def _totals(model: Any) -> list[tuple[str, str]]:
    trainable, fixed = model.trainable_weights, model.non_trainable_weights
    optimizer = getattr(model, "optimizer", None)
    extra = list(getattr(optimizer, "variables", ())) if optimizer is not None else []
    if optimizer is not None and not getattr(optimizer, "built", False):
        extra = []
    rows = [
        ("Total", _count_text([*trainable, *fixed, *extra])),
        ("Trainable", _count_text(trainable)),
        ("Non-trainable", _count_text(fixed)),
    ]
    if extra:
        rows.append(("Optimizer", _count_text(extra)))
    return rows


def _count_text(variables: list[Any]) -> str:
    sizes = [int(np.prod(tuple(v.shape), dtype=np.int64)) for v in variables]
    size = sum(n * v.dtype.size for n, v in zip(sizes, variables))
    return f"[green]{sum(sizes):,}[/] ({memory_text(size)})"


def memory_text(size: float) -> str:
    """Returns a number of bytes as 564.00 B, 2.09 KB, ..."""
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if size < 1024 or unit == "TB":
            return f"{size:.2f} {unit}"
        size /= 1024
    raise AssertionError

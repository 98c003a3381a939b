"""model_to_dot and plot_model: a model as a drawing in Graphviz's language, and as a picture."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from distflow.base import errors, nest
from distflow.keras.engine.node import maker
from distflow.keras.saving.files import written_beside

_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Style:
    """What of a layer is drawn."""

    shapes: bool = False
    dtypes: bool = False
    names: bool = False
    activations: bool = False
    trainable: bool = False
    nested: bool = False


@dataclass
class Drawing:
    """A graph in the DOT language; `to_string()` is its text, `write(path)` writes it."""

    rankdir: str = "TB"
    dpi: int = 200
    lines: list[str] = field(default_factory=list)

    def to_string(self) -> str:
        """Returns the text."""
        head = ["strict digraph model {", f"  rankdir={self.rankdir};", f"  dpi={self.dpi};",
                "  concentrate=true;", '  node [shape=box, fontname="Helvetica"];']  # fmt: skip
        return "\n".join([*head, *self.lines, "}\n"])

    def write(self, path: Any, format: str = "dot") -> None:
        """Writes the text, or through Graphviz's `dot` a picture (png, svg, pdf, ...)."""
        _write(self, os.fspath(path), format)

    def __str__(self) -> str:
        return self.to_string()


def model_to_dot(
    model: Any, show_shapes: bool = False, show_dtype: bool = False, show_layer_names: bool = True,
    rankdir: str = "TB", expand_nested: bool = False, dpi: int = 200, subgraph: bool = False,
    show_layer_activations: bool = False, show_trainable: bool = False, **kwargs: Any,
) -> Drawing:  # fmt: skip
    """Returns a model as a drawing; no other package is needed for its text.

    Args:
      show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable: what the
        boxes of the layers say.
      rankdir: "TB" from top to bottom, "LR" from left to right.
      expand_nested: whether models inside are drawn as groups of their layers.

    Raises:
      ValueError: for an unbuilt model, or other arguments.
    """
    if kwargs:
        raise ValueError(f"Unrecognized keyword arguments: {kwargs}")
    if rankdir not in ("TB", "BT", "LR", "RL"):
        raise errors.invalid("model_to_dot", "rankdir among TB, BT, LR, RL", repr(rankdir))
    if not model.built:
        raise ValueError(
            "This model has not yet been built. Build the model first by calling `build()` or by "
            "calling the model on a batch of data."
        )
    style = Style(show_shapes, show_dtype, show_layer_names, show_layer_activations,
                  show_trainable, expand_nested)  # fmt: skip
    drawing = Drawing(rankdir, dpi)
    _draw(model, style, drawing.lines, "  ", "")
    return drawing


def plot_model(
    model: Any, to_file: Any = "model.png", show_shapes: bool = False, show_dtype: bool = False,
    show_layer_names: bool = False, rankdir: str = "TB", expand_nested: bool = False,
    dpi: int = 200, show_layer_activations: bool = False, show_trainable: bool = False,
    **kwargs: Any,
) -> None:  # fmt: skip
    """Writes a model as a drawing: `.dot` (or `.gv`) is text, others are made by Graphviz.

    Raises:
      ImportError: for a picture without Graphviz's program `dot`; says how to get it.
      ValueError: for an unbuilt model, or other arguments.
    """
    drawing = model_to_dot(
        model, show_shapes=show_shapes, show_dtype=show_dtype, show_layer_names=show_layer_names,
        rankdir=rankdir, expand_nested=expand_nested, dpi=dpi,
        show_layer_activations=show_layer_activations, show_trainable=show_trainable, **kwargs,
    )  # fmt: skip
    path = os.fspath(to_file)
    ending = os.path.splitext(path)[1].lstrip(".").lower() or "png"
    _write(drawing, path, "dot" if ending in ("dot", "gv") else ending)


def _write(drawing: Drawing, path: str, kind: str) -> None:
    text = drawing.to_string()
    if kind == "dot":
        with written_beside(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
        return
    program = shutil.which("dot")
    if program is None:
        if importlib.util.find_spec("graphviz") is None:
            hint = "Install it (apt install graphviz, or conda install graphviz)"
        else:
            hint = "The Python package graphviz is there, but it needs that program, too"
        raise ImportError(
            f"plot_model: expected Graphviz's program `dot`, which makes .{kind} files; it is not "
            f"on the PATH. {hint}, or write text: to_file='model.dot'."
        )
    with written_beside(path) as temporary:
        done = subprocess.run(
            [program, f"-T{kind}", "-o", temporary], input=text.encode(), capture_output=True,
            timeout=_TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            raise errors.invalid(
                "plot_model", "a format that dot can write", f"{kind}: {done.stderr.decode()[:300]}"
            )


# -- text --------------------------------------------------------------------------------------


def _draw(model: Any, style: Style, lines: list[str], indent: str, prefix: str) -> None:
    """Adds the layers of a model, and the edges between them."""
    for layer in _layers(model):
        if style.nested and _is_model(layer):
            lines.append(f'{indent}subgraph "cluster_{prefix}{layer.name}" {{')
            lines.append(f'{indent}  label="{_escaped(layer.name)}"; style=dashed;')
            _draw(layer, style, lines, indent + "  ", f"{prefix}{layer.name}/")
            lines.append(f"{indent}}}")
        else:
            lines.append(f'{indent}"{prefix}{layer.name}" [label="{_label(layer, style)}"];')
    for source, target in _edges(model):
        start = _end(source, style, prefix, -1)
        end = _end(target, style, prefix, 0)
        lines.append(f'{indent}"{start}" -> "{end}";')


def _end(layer: Any, style: Style, prefix: str, which: int) -> str:
    """The box at which an edge of a layer ends: of a drawn model its first or last layer."""
    while style.nested and _is_model(layer):
        prefix = f"{prefix}{layer.name}/"
        inner = _layers(layer)
        if which == -1 and hasattr(layer, "_order"):
            layer = maker(layer.outputs[0]).operation
        else:
            layer = inner[which]
    return f"{prefix}{layer.name}"


def _is_model(layer: Any) -> bool:
    return hasattr(layer, "get_layer") and bool(getattr(layer, "layers", None))


def _layers(model: Any) -> list[Any]:
    found = getattr(model, "operations", None)
    return list(model.layers if found is None else found)


def _edges(model: Any) -> Iterator[tuple[Any, Any]]:
    if hasattr(model, "_order"):
        own = {id(node) for node in model._order.nodes}
        for node in model._order.nodes:
            for tensor in node.input_tensors:
                if id(maker(tensor)) in own:
                    yield maker(tensor).operation, node.operation
        return
    if hasattr(model, "_stack"):
        layers = _layers(model)
        yield from itertools.pairwise(layers)


def _label(layer: Any, style: Style) -> str:
    kind = type(layer).__name__
    title = f"{layer.name} ({kind})" if style.names else kind
    parts = [title]
    if style.activations and getattr(layer, "activation", None) is not None:
        name = getattr(layer.activation, "__name__", type(layer.activation).__name__)
        parts.append(f"activation: {name}")
    if style.dtypes:
        parts.append(f"dtype: {getattr(layer, 'compute_dtype', '?')}")
    if style.shapes:
        parts.append(f"output shape: {_output_shape(layer)}")
    if style.trainable and getattr(layer, "weights", None):
        parts.append("trainable" if layer.trainable else "frozen")
    return "\\n".join(map(_escaped, parts))


def _output_shape(layer: Any) -> str:
    if layer._inbound_nodes:
        found = nest.map_structure(
            lambda x: tuple(x.shape), layer._inbound_nodes[0].output_structure
        )
        return str(found)
    return "?"


def _escaped(text: str) -> str:
    return str(text).replace("\\", "\\\\").replace('"', '\\"')

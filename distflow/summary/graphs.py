"""Graphs of traced functions for TensorBoard, and traces of what runs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from distflow.base import errors, log
from distflow.base.names import Uniquifier
from distflow.function.function import watchers
from distflow.graph.ir import Graph
from distflow.profiler import experimental as profiler
from distflow.protos import summary_pb2 as pb
from distflow.summary import writer
from distflow.summary.event_file import _DTYPES, _STRING, EventFile


class _Trace:
    """What `trace_on` notes: the graphs of functions that are called."""

    def __init__(self, folder: str | None):
        self.graphs: dict[int, Graph] = {}
        self.folder = folder

    def note(self, concrete: Any) -> None:
        """Notes a trace that runs."""
        self.graphs.setdefault(id(concrete.graph), concrete.graph)


_running: _Trace | None = None


def graph(graph_data: Any) -> Any:
    """Writes a graph (a traced function's `graph`, or a GraphDef message); returns whether.

    Raises:
      TypeError: for what is no graph.
    """
    if isinstance(graph_data, Graph):
        data = graph_def([graph_data]).SerializeToString()
    elif hasattr(graph_data, "SerializeToString"):
        data = graph_data.SerializeToString()
    else:
        raise TypeError(
            "The argument 'graph_data' must be a graph or a GraphDef; received "
            f"{type(graph_data).__name__}."
        )

    def add(file: EventFile, now: int) -> None:
        file.add_event(pb.Event(graph_def=data))

    return writer.record(add, 0)


def trace_on(graph: bool = True, profiler: bool = False, profiler_outdir: Any = None) -> None:
    """Starts to note the graphs of functions that are called, and what runs if `profiler`.

    Args:
      profiler_outdir: folder of the profile that `trace_export` or `trace_off` ends.
    """
    global _running
    if _running is not None:
        log.get_logger().warning("summary.trace_on: a trace is running already")
        return
    if profiler and profiler_outdir is None:
        log.get_logger().warning("summary.trace_on: without profiler_outdir nothing is profiled")
    _running = _Trace(os.fspath(profiler_outdir) if profiler and profiler_outdir else None)
    if graph:
        watchers.append(_running.note)
    if _running.folder is not None:
        _start_profiler(_running.folder)


def trace_export(name: str, step: Any = None, profiler_outdir: Any = None) -> None:
    """Writes what was noted since `trace_on`, and stops.

    Raises:
      ValueError: if nothing was started, or without any step.
    """
    if _running is None:
        raise ValueError("Must enable trace before export.")
    if writer.default_writer() is None:
        raise ValueError("trace_export: there must be a default writer (writer.as_default()).")
    writer.step_or_default(step)
    graphs = list(_running.graphs.values())
    trace_off()
    if graphs:
        data = graph_def(graphs).SerializeToString()
        writer.record(lambda file, now: file.add_event(pb.Event(step=now, graph_def=data)), step)


def trace_off() -> None:
    """Stops, and forgets the graphs."""
    global _running
    if _running is None:
        return
    trace, _running = _running, None
    watchers[:] = [w for w in watchers if w != trace.note]
    if trace.folder is not None:
        profiler.stop()


def _start_profiler(folder: str) -> None:
    try:
        profiler.start(folder)
    except errors.AlreadyExistsError as error:
        log.get_logger().warning("summary.trace_on: %s", error)
        assert _running is not None
        _running.folder = None


def graph_def(graphs: Iterable[Graph]) -> pb.GraphDef:
    """Returns graphs as TensorBoard draws them; of several, each in a scope of its name."""
    graphs = list(graphs)
    found = pb.GraphDef()
    scopes = Uniquifier()
    for one in graphs:
        _add(found, one, scopes.unique(one.name) + "/" if len(graphs) > 1 else "")
    return found


def _add(found: pb.GraphDef, one: Graph, scope: str) -> None:
    names: dict[Any, str] = {}
    own = Uniquifier()
    for number, value in enumerate(one.inputs):
        base = (value.name or f"input_{number}").replace(":", "_")
        name = scope + own.unique(base)
        op = "VarHandleOp" if value.resource else "Placeholder"
        node = found.node.add(name=name, op=op)
        _describe(node, [value])
        names[value] = name
    for node_ in one.nodes:
        name = scope + own.unique(node_.primitive.name)
        inputs = [names[value] for value in node_.inputs if value in names]
        node = found.node.add(name=name, op=node_.primitive.name, input=inputs)
        _describe(node, node_.outputs)
        for i, value in enumerate(node_.outputs):
            names[value] = name if i == 0 else f"{name}:{i}"
    for number, value in enumerate(one.outputs):
        name = scope + own.unique(f"output_{number}")
        node = found.node.add(name=name, op="Identity", input=[names[value]])
        _describe(node, [value])


def _describe(node: Any, values: Any) -> None:
    """Adds dtype and shapes of results, which the graph view shows at its edges."""
    shapes = []
    for value in values:
        dims = None if value.shape.rank is None else tuple(value.shape)
        sizes = [pb.TensorShapeProto.Dim(size=-1 if d is None else d) for d in dims or ()]
        shapes.append(pb.TensorShapeProto(dim=sizes))
    if values:
        name = values[0].dtype.name
        node.attr["dtype"].type = _DTYPES.get(name, _STRING if name == "string" else 0)
        node.attr["_output_shapes"].list.shape.extend(shapes)

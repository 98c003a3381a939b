"""Typed straight-line programs: traced, verified, printed, differentiated, evaluated."""

from distflow.graph import control, evaluate, loops
from distflow.graph.build import SymbolicTensor, Trace, inline, output_specs, trace, trace_body
from distflow.graph.control import call_graph, cond_graphs
from distflow.graph.ir import Graph, Node, Value
from distflow.graph.loops import scan_graph, while_graphs
from distflow.graph.text import parse, to_text
from distflow.graph.verify import verify

__all__ = [
    "Graph", "Node", "SymbolicTensor", "Trace", "Value", "call_graph", "cond_graphs", "control",
    "evaluate", "inline", "loops", "output_specs", "parse", "scan_graph", "to_text", "trace",
    "trace_body", "verify", "while_graphs",
]  # fmt: skip

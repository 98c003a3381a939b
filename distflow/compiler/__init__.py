"""Graph -> Executable: passes, then one of the executors by name."""

from distflow.compiler.executable import Executable
from distflow.compiler.passes.rounds import optimize
from distflow.compiler.pipeline import compile_graph, explain

__all__ = ["Executable", "compile_graph", "explain", "optimize"]

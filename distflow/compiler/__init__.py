"""Graph -> Executable: passes, then one of the executors by name."""

from distflow.compiler.executable import Executable
from distflow.compiler.pipeline import compile_graph, explain, optimize

__all__ = ["Executable", "compile_graph", "explain", "optimize"]

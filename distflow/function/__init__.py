"""What `@function` means: traces, captures, gradients, and control flow on tensors."""

import distflow.compiler as _compiler  # noqa: F401  (graphs run compiled)
from distflow.function.concrete import ConcreteFunction
from distflow.function.control_flow import case, cond, switch_case, while_loop
from distflow.function.eagerly import functions_run_eagerly, inside_function, run_functions_eagerly
from distflow.function.function import Function, function
from distflow.function.map_fn import foldl, foldr, map_fn, scan, vectorized_map
from distflow.function.tensor_array import TensorArray

__all__ = [
    "ConcreteFunction", "Function", "TensorArray", "case", "cond", "foldl", "foldr", "function",
    "functions_run_eagerly", "inside_function", "map_fn", "run_functions_eagerly", "scan",
    "switch_case", "vectorized_map", "while_loop",
]  # fmt: skip

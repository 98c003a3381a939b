"""What `@function` means: traces, captures, gradients, and control flow on tensors."""

import distflow.compiler as _compiler  # noqa: F401  (graphs run compiled)
from distflow.function.concrete import ConcreteFunction
from distflow.function.eagerly import functions_run_eagerly, inside_function, run_functions_eagerly
from distflow.function.function import Function, function

__all__ = [
    "ConcreteFunction", "Function", "function", "functions_run_eagerly", "inside_function",
    "run_functions_eagerly",
]  # fmt: skip

"""Kernels of the library as functions of arrays, for tests."""

import numpy as np

from distflow.compiler.cpu import isa, table, task
from distflow.core.primitive import REGISTRY


def prepared(name, attributes, shapes, dtypes):
    """A primitive's kernel as a function of arrays with any strides; None where there is none."""
    dtype = np.dtype(dtypes[0])
    result = task.contiguous(dtype.name, tuple(REGISTRY[name].shape_rule(*shapes, **attributes)))
    lower = table.LIBRARY[name]
    if lower(attributes, [task.contiguous(dtype.name, s) for s in shapes], result) is None:
        return None
    runners = {}

    def kernel(arrays):
        operands = [_placed(np.asarray(x)) for x in arrays]
        layouts = tuple(task.layout_of(x) for x in operands)
        key = layouts, isa.current()
        if key not in runners:
            runners[key] = task.Runner(lower(attributes, layouts, result))
        y = np.empty(result.shape, dtype)
        runners[key]([*operands, y])
        return y

    return kernel


def _placed(x):
    layout = task.layout_of(x)
    return x.copy() if layout is None or min(layout.strides, default=0) < 0 else x

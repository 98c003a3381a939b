"""tf.linalg: products, norms, diagonals and bands."""

from distflow._missing import lookup
from distflow.ops.clip import global_norm
from distflow.ops.creation import eye
from distflow.ops.linalg import (
    adjoint,
    band_part,
    cross,
    diag,
    diag_part,
    matrix_transpose,
    matvec,
    set_diag,
    tensor_diag,
    tensor_diag_part,
    trace,
)
from distflow.ops.matmul import einsum, matmul, tensordot
from distflow.ops.normalization import l2_normalize, normalize
from distflow.ops.reduce import norm

__all__ = [
    "adjoint", "band_part", "cross", "diag", "diag_part", "einsum", "eye", "global_norm",
    "l2_normalize", "matmul", "matrix_transpose", "matvec", "norm", "normalize", "set_diag",
    "tensor_diag", "tensor_diag_part", "tensordot", "trace",
]  # fmt: skip

__getattr__ = lookup("linalg")

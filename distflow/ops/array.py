"""The array operations under one roof: creation, layout, indexing, order."""

from distflow.ops.creation import (
    eye,
    fill,
    linspace,
    meshgrid,
    one_hot,
    ones,
    ones_like,
    sequence_mask,
    zeros,
    zeros_like,
)
from distflow.ops.indexing import (
    boolean_mask,
    dynamic_partition,
    dynamic_stitch,
    gather,
    gather_nd,
    reverse_sequence,
    scatter_nd,
    slice,
    strided_slice,
    tensor_scatter_nd_add,
    tensor_scatter_nd_max,
    tensor_scatter_nd_min,
    tensor_scatter_nd_sub,
    tensor_scatter_nd_update,
    where,
)
from distflow.ops.math import range
from distflow.ops.repeat import repeat, roll, tile
from distflow.ops.shaping import (
    broadcast_dynamic_shape,
    broadcast_static_shape,
    broadcast_to,
    concat,
    ensure_shape,
    expand_dims,
    identity,
    pad,
    rank,
    reshape,
    reverse,
    shape,
    shape_n,
    size,
    split,
    squeeze,
    stack,
    transpose,
    unstack,
)
from distflow.ops.sorting import (
    argsort,
    invert_permutation,
    searchsorted,
    sort,
    unique,
    unique_with_counts,
)

__all__ = [
    "argsort", "boolean_mask", "broadcast_dynamic_shape", "broadcast_static_shape",
    "broadcast_to", "concat", "dynamic_partition", "dynamic_stitch", "ensure_shape",
    "expand_dims", "eye", "fill", "gather", "gather_nd", "identity", "invert_permutation",
    "linspace", "meshgrid", "one_hot", "ones", "ones_like", "pad", "range", "rank", "repeat",
    "reshape", "reverse", "reverse_sequence", "roll", "scatter_nd", "searchsorted",
    "sequence_mask", "shape", "shape_n", "size", "slice", "sort", "split", "squeeze", "stack",
    "strided_slice", "tensor_scatter_nd_add", "tensor_scatter_nd_max", "tensor_scatter_nd_min",
    "tensor_scatter_nd_sub", "tensor_scatter_nd_update", "tile", "transpose", "unique",
    "unique_with_counts", "unstack", "where", "zeros", "zeros_like",
]  # fmt: skip

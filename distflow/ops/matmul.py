"""matmul, tensordot and einsum on dot_general."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from distflow.base import errors, shapes
from distflow.core import convert
from distflow.core.tensor import Tensor
from distflow.ops.prims import movement
from distflow.ops.prims.contraction import dot_general
from distflow.ops.prims.elementwise import conj, select
from distflow.ops.prims.reduction import reduce_sum


def matmul(
    a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False,
    adjoint_a: bool = False, adjoint_b: bool = False, a_is_sparse: bool = False,
    b_is_sparse: bool = False, output_type: Any = None, name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the matrix product of the last two dimensions; leading ones broadcast.

    Args:
      a: shape [..., n, k], or [..., k, n] with transpose_a.
      b: shape [..., k, m], or [..., m, k] with transpose_b.
      adjoint_a, adjoint_b: transpose and conjugate.

    Returns:
      Tensor of shape [..., n, m].

    Raises:
      InvalidArgumentError: if a rank is below 2 or the inner dimensions differ.
    """
    a, b = convert.match("matmul", (a, b), None)
    if a.ndim < 2 or b.ndim < 2:
        raise errors.invalid(
            "matmul", "both operands must have at least 2 dimensions",
            f"a: {shapes.text(a.shape)}, b: {shapes.text(b.shape)}",
            "Use tf.linalg.matvec or tf.tensordot for vectors.",
        )  # fmt: skip
    a, transpose_a = (conj(a), True) if adjoint_a else (a, transpose_a)
    b, transpose_b = (conj(b), True) if adjoint_b else (b, transpose_b)
    inner_a = a.ndim - 2 if transpose_a else a.ndim - 1
    inner_b = b.ndim - 1 if transpose_b else b.ndim - 2
    if b.ndim == 2 and not transpose_a:
        return dot_general(a, b, contract=((inner_a,), (inner_b,)), batch=((), ()))
    a, b = _same_batch(a, b)
    lead = tuple(range(a.ndim - 2))
    shift_a, shift_b = (a.ndim - 2 if transpose_a else a.ndim - 1), b.ndim - 2 + bool(transpose_b)
    return dot_general(a, b, contract=((shift_a,), (shift_b,)), batch=(lead, lead))


def _same_batch(a: Any, b: Any) -> tuple[Any, Any]:
    lead = shapes.broadcast("matmul", a.shape[:-2], b.shape[:-2])
    return _with_batch(a, lead, b), _with_batch(b, lead, a)


def _with_batch(x: Any, lead: Any, other: Any) -> Any:
    if tuple(x.shape[:-2]) == tuple(lead):
        return x
    target = (*lead, *x.shape[-2:])
    if shapes.is_static(target):
        return movement.broadcast_to(x, shape=target)
    pieces = [_dim(other if i < len(lead) and d is None else x, i, d, len(target))
              for i, d in enumerate(target)]  # fmt: skip
    return movement.broadcast_to(x, movement.concat(*pieces, axis=0), shape=target)


def _dim(source: Any, position: int, known: Any, rank: int) -> Any:
    if known is not None:
        return convert.convert_to_tensor([known])
    at = position - (rank - source.ndim)
    return movement.slice_(
        movement.shape_tensor(source), starts=(at,), stops=(at + 1,), strides=(1,)
    )


def tensordot(a: Any, b: Any, axes: Any, name: Any = None) -> Tensor:
    """Returns the product of a and b summed over the given axes, as numpy.tensordot does."""
    a, b = convert.match("tensordot", (a, b), None)
    if isinstance(axes, int):
        left, right = tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes))
    else:
        left, right = (
            tuple(shapes.axis("tensordot", int(i), t.ndim) for i in _as_list(side))
            for side, t in zip(axes, (a, b))
        )
    return dot_general(a, b, contract=(left, right), batch=((), ()))


def _as_list(axes: Any) -> Any:
    return [axes] if isinstance(axes, int) else axes


def einsum(equation: str, *inputs: Any, **unused: Any) -> Tensor:
    """Returns the Einstein sum, e.g. einsum("bij,bjk->bik", a, b); "..." broadcasts.

    Operands are combined from left to right; a label that one operand repeats ("ii->i") takes its
    diagonal.

    Raises:
      InvalidArgumentError: if the equation does not fit the operands.
    """
    operands = list(convert.match("einsum", inputs, None))
    terms, output = _parse(equation, operands)
    _check_sizes(equation, terms, operands)
    for position, term in enumerate(terms):
        if len(set(term)) < len(term):
            operands[position], terms[position] = _diagonal(operands[position], term)
    value, labels = _sum_lone(operands[0], terms[0], [*terms[1:], output])
    for position in range(1, len(operands)):
        later = [*terms[position + 1 :], output]
        other, other_labels = _sum_lone(operands[position], terms[position], [labels, *later])
        value, labels = _combine(value, labels, other, other_labels, later)
    value, labels = _sum_lone(value, labels, [output])
    if labels == output:
        return value
    return movement.transpose(value, perm=tuple(labels.index(c) for c in output))


def _parse(equation: str, operands: list[Any]) -> tuple[list[str], str]:
    text = equation.replace(" ", "")
    left, arrow, output = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise errors.invalid(
            "einsum", f"{len(terms)} operands for {equation!r}", str(len(operands))
        )
    spare = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" if c not in text]
    ellipsis = ""
    ranks = [t.ndim - len(s) + 3 for s, t in zip(terms, operands) if "..." in s]
    if ranks:
        ellipsis = "".join(spare[: max(ranks)])
    full = []
    for term, tensor in zip(terms, operands):
        if "..." in term:
            count = tensor.ndim - len(term) + 3
            term = term.replace("...", ellipsis[len(ellipsis) - count :])
        if len(term) != tensor.ndim:
            raise errors.invalid(
                "einsum", f"term {term!r} needs one label for each dimension",
                f"shape {shapes.text(tensor.shape)}",
            )  # fmt: skip
        full.append(term)
    if not arrow:
        counts = "".join(full)
        output = ellipsis + "".join(
            sorted(c for c in set(counts) - set(ellipsis) if counts.count(c) == 1)
        )
    output = output.replace("...", ellipsis)
    if set(output) - set("".join(full)):
        raise errors.invalid("einsum", "output labels must occur in an input", repr(equation))
    return full, output


def _check_sizes(equation: str, terms: list[str], operands: list[Any]) -> None:
    """Each label has one size, or 1, wherever it occurs."""
    sizes: dict[str, Any] = {}
    for label, size in itertools.chain(*(zip(t, x.shape) for t, x in zip(terms, operands))):
        known = sizes.get(label)
        if None not in (known, size) and known != size and label in equation:
            raise errors.invalid(
                "einsum", f"label {label!r} of {equation!r} must have one size",
                " and ".join(shapes.text(x.shape) for x in operands),
            )  # fmt: skip
        sizes[label] = size if known is None else known


def _diagonal(x: Any, labels: str) -> tuple[Any, str]:
    """Keeps the entries at which all axes of one label have the same index."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first, last = labels.index(label), labels.rindex(label)
            size = x.shape[first]
            if size is None or x.shape[last] != size:
                raise errors.invalid("einsum", f"equal known sizes for the repeated {label!r}",
                                     shapes.text(x.shape))  # fmt: skip
            shape = tuple(size if axis in (first, last) else 1 for axis in range(x.ndim))
            on_it = convert.constant(np.eye(size, dtype=bool).reshape(shape))
            x = reduce_sum(select(on_it, x, 0), axes=(last,))
            labels = labels[:last] + labels[last + 1 :]
    return x, labels


def _sum_lone(value: Any, labels: str, others: list[str]) -> tuple[Any, str]:
    needed = set("".join(others))
    axes = tuple(i for i, c in enumerate(labels) if c not in needed)
    if not axes:
        return value, labels
    return reduce_sum(value, axes=axes), "".join(c for c in labels if c in needed)


def _combine(a: Any, la: str, b: Any, lb: str, later: list[str]) -> tuple[Any, str]:
    keep = set("".join(later))
    shared = [c for c in la if c in lb]
    batch = [c for c in shared if c in keep]
    contract = [c for c in shared if c not in keep]
    result = dot_general(
        a,
        b,
        contract=(tuple(map(la.index, contract)), tuple(map(lb.index, contract))),
        batch=(tuple(map(la.index, batch)), tuple(map(lb.index, batch))),
    )
    free = [c for c in itertools.chain(la, lb) if c not in shared]
    return result, "".join((*batch, *free))

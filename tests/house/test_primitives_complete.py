"""The closed set: each primitive has every rule and a sample, and there are no others."""

from __future__ import annotations

from collections import Counter

import pytest

from distflow.core.primitive import REGISTRY
from tests.support import checks
from tests.support.samples import ERRORS, EXTREMES, SAMPLES

# Importing the checks loads every file that registers numeric primitives.
assert checks.REGISTRY is REGISTRY

# The closed set. A new row must be impossible or clearly unstable as a composition of the others.
CLOSED = {
    "unary": """neg abs sign floor ceil round not exp expm1 log log1p sqrt rsqrt sin cos tan asin
                acos atan tanh sigmoid erf erfinv lgamma digamma""",
    "binary": """add sub mul div floordiv mod pow atan2 max min and or xor shl shr eq ne lt le""",
    "select": "select stop_gradient cast bitcast complex real imag conj",
    # shape_of and unbroadcast serve dimensions that only the run of a trace knows.
    "movement": """reshape transpose broadcast_to slice pad concat reverse shape_of unbroadcast
                   after""",
    "indexing": "gather scatter dynamic_slice dynamic_update_slice",
    "reduction": """reduce_sum reduce_prod reduce_max reduce_min argmax argmin cumsum cumprod""",
    "contraction": "dot_general conv",
    "window": "reduce_window_sum reduce_window_max select_and_scatter_add",
    "sorting": "sort top_k",
    "creation": "constant iota random_bits",
}
# Not numeric; tested in their own rooms. Rooms above register theirs when they are imported.
STRUCTURAL = {
    "state": "read_variable assign_variable replica_id",
    "host": "host_call",
    "control": "call cond while_loop scan",
    # once: an update that the replicas of a worker share; replica_run: the graphs of its replicas;
    # cross_reduce: `strategy.reduce` inside a trace; reduce_bucket: a part of an all_reduce.
    "collective": """all_reduce all_gather reduce_scatter all_to_all broadcast permute
                     once replica_run cross_reduce reduce_bucket""",
    # custom_gradient inside a trace: a graph with a gradient of its own.
    "custom": "custom_call",
    # TensorArray's writes, which lengthen the array where a loop does not know its size.
    "indexing": "array_write",
    "linalg": "cholesky triangular_solve lu qr eigh svd fft",
}
# No derivative by nature: integer or boolean results, steps, or no input that could have one.
NO_GRADIENT = set(
    """floor ceil round not floordiv and or xor shl shr eq ne lt le stop_gradient bitcast shape_of
    argmax argmin constant iota random_bits""".split()
)
_FAMILY = {name: family for family, names in CLOSED.items() for name in names.split()}
_STRUCTURAL = {name: family for family, names in STRUCTURAL.items() for name in names.split()}
_SAMPLED = Counter(sample.op for sample in SAMPLES)


def test_registry_holds_the_closed_set_and_nothing_else():
    unknown = set(REGISTRY) - set(_FAMILY) - set(_STRUCTURAL)
    assert not unknown, f"not in the closed set: {sorted(unknown)}"
    missing = set(_FAMILY) - set(REGISTRY)
    assert not missing, f"not registered: {sorted(missing)}"


@pytest.mark.parametrize("name", sorted(_FAMILY))
def test_primitive_has_every_rule(name):
    primitive = REGISTRY[name]
    assert primitive.name == name
    assert primitive.family == _FAMILY[name]
    assert callable(primitive.dtype_rule)
    assert callable(primitive.shape_rule)
    assert callable(primitive.reference)
    assert (primitive.gradient is None) == (name in NO_GRADIENT)
    assert primitive.effect == ""


@pytest.mark.parametrize("name", sorted(_FAMILY))
def test_primitive_has_samples(name):
    assert _SAMPLED[name] >= 1
    differentiable = [s for s in SAMPLES if s.op == name and s.sources()]
    assert bool(differentiable) == (name not in NO_GRADIENT)


@pytest.mark.parametrize("name", sorted(set(_FAMILY) - {"constant", "shape_of"}))
def test_primitive_has_bad_input_or_cannot_have(name):
    refused = {bad.op for bad in ERRORS}
    # These take any tensor.
    assert name in refused or name in ("stop_gradient", "after")


@pytest.mark.parametrize(
    "name", sorted(n for f in ("unary", "binary", "reduction", "window") for n in CLOSED[f].split())
)
def test_numeric_primitive_has_extreme_values(name):
    # Pure bit operations have none.
    assert name in {e.op for e in EXTREMES} or name in {"and", "or", "xor", "shl"}


@pytest.mark.parametrize("name", sorted(set(_STRUCTURAL) & set(REGISTRY)))
def test_structural_primitive_has_its_family(name):
    assert REGISTRY[name].family == _STRUCTURAL[name]
    assert callable(REGISTRY[name].dtype_rule)
    assert callable(REGISTRY[name].shape_rule)


def test_every_sample_names_a_primitive():
    assert {s.op for s in SAMPLES} | {e.op for e in EXTREMES} | {b.op for b in ERRORS} <= set(
        _FAMILY
    )


def test_sample_names_are_unique():
    repeated = [name for name, n in Counter(s.name for s in SAMPLES).items() if n > 1]
    assert not repeated

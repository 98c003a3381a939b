"""Every record of the op sample table through every check."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import checks
from tests.support.samples import ERRORS, EXTREMES, SAMPLES

_FLOAT = {"float64", "complex128"}
_DIFFERENTIABLE = [s for s in SAMPLES if _FLOAT & set(s.dtypes) and s.sources()]
_UNKNOWN = [s for s in SAMPLES if any(None in row for row in s.unknown_shapes())]


def _forward() -> list[Any]:
    return [pytest.param(s, d, id=f"{s.name}-{d}") for s in SAMPLES for d in s.dtypes]


def _derivatives(orders: int) -> list[Any]:
    return [
        pytest.param(s, d, id=f"{s.name}-{d}")
        for s in _DIFFERENTIABLE
        for d in s.dtypes
        if d in _FLOAT and s.orders >= orders
    ]


def _ids(record: Any) -> str:
    return record.name


@pytest.mark.parametrize(("sample", "dtype"), _forward())
def test_forward_equals_numpy_and_the_rules(sample, dtype):
    checks.check_forward(sample, dtype)


@pytest.mark.parametrize("sample", _UNKNOWN, ids=_ids)
def test_shape_rule_with_unknown_dims_agrees(sample):
    checks.check_unknown_shapes(sample)


@pytest.mark.parametrize("extreme", EXTREMES, ids=lambda e: e.op)
def test_extreme_values(extreme):
    checks.check_extreme(extreme)


@pytest.mark.parametrize("bad", ERRORS, ids=lambda b: b.op)
def test_bad_input_is_refused(bad):
    checks.check_bad_input(bad)


@pytest.mark.parametrize(("sample", "dtype"), _derivatives(orders=1))
def test_gradient_equals_differences(sample, dtype):
    checks.check_gradient(sample, dtype)


@pytest.mark.parametrize(("sample", "dtype"), _derivatives(orders=2))
def test_second_order_equals_differences(sample, dtype):
    checks.check_second_order(sample, dtype)


@pytest.mark.parametrize("sample", [s for s in _DIFFERENTIABLE if s in _UNKNOWN], ids=_ids)
def test_gradient_rules_do_without_unknown_dims(sample):
    checks.check_hidden_gradient(sample)


@pytest.mark.parametrize("sample", SAMPLES, ids=_ids)
def test_traced_equals_eager(sample, executor):
    checks.check_traced(sample, sample.dtypes[-1], False, executor)


@pytest.mark.parametrize("sample", _UNKNOWN, ids=_ids)
def test_traced_with_unknown_dims_equals_eager(sample, executor):
    checks.check_traced(sample, sample.dtypes[-1], True, executor)


@pytest.mark.parametrize("sample", _DIFFERENTIABLE, ids=_ids)
@pytest.mark.usefixtures("executor")
def test_traced_gradient_equals_eager(sample):
    checks.check_traced_gradient(sample, unknown=False)


@pytest.mark.parametrize("sample", [s for s in _DIFFERENTIABLE if s in _UNKNOWN], ids=_ids)
@pytest.mark.usefixtures("executor")
def test_traced_gradient_with_unknown_dims_equals_eager(sample):
    checks.check_traced_gradient(sample, unknown=True)

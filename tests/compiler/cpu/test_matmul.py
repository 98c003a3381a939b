import ml_dtypes
import numpy as np
import pytest

from distflow.compiler.cpu import isa, matmul, task
from distflow.ops.prims import contraction
from tests.compiler.cpu.kernels import prepared

PLAIN = {"contract": ((1,), (0,)), "batch": ((), ())}
LEVELS = isa.offered()
SHAPES = [
    (1, 1, 1), (1, 64, 1), (2, 3, 5), (7, 11, 13), (13, 17, 31), (14, 16, 33), (12, 33, 32),
    (64, 100, 10), (29, 1, 47), (130, 70, 49), (257, 40, 65), (33, 1100, 17), (150, 1500, 70),
]  # fmt: skip


def normal(seed, *shape, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def dot(a, b, contract=((1,), (0,)), batch=((), ())):
    attributes = {"contract": contract, "batch": batch}
    kernel = prepared("dot_general", attributes, [a.shape, b.shape], [a.dtype, b.dtype])
    return kernel([a, b])


def in_layout(x, perm):
    """x with its axes lying in memory as `perm` says."""
    return np.ascontiguousarray(x.transpose(perm)).transpose(np.argsort(perm))


def bound(a, b):
    """Largest error of k additions, element by element."""
    k = a.shape[1]
    eps = np.finfo(a.dtype).eps
    return (k + 1) * eps * (np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)) + 1e-300


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_close_to_longdouble_numpy(shape, dtype):
    m, k, n = shape
    a, b = normal(0, m, k, dtype=dtype), normal(1, k, n, dtype=dtype)
    exact = a.astype(np.longdouble) @ b.astype(np.longdouble)
    assert (np.abs(dot(a, b) - exact) <= bound(a, b)).all()


@pytest.mark.parametrize("shape", [(5, 7, 9), (64, 100, 33), (200, 300, 70), (300, 3, 20)], ids=str)
def test_layout_of_operands_does_not_change_bits(shape):
    m, k, n = shape
    a, b = normal(0, m, k), normal(1, k, n)
    expected = dot(a, b)
    for x in (a, in_layout(a, (1, 0)), np.repeat(a, 2, 1)[:, ::2], a[::-1].copy()[::-1]):
        for y in (b, in_layout(b, (1, 0)), np.repeat(b, 3, 0)[::3]):
            np.testing.assert_array_equal(dot(x, y), expected)
    transposed = dot(a.T.copy(), b.T.copy(), ((0,), (1,)))
    np.testing.assert_array_equal(transposed, expected)


def test_unaligned_operands_are_right():
    raw = np.zeros(4 * 30 + 1, np.uint8)
    a = raw[1:].view(np.float32).reshape(5, 6)
    a[:] = normal(0, 5, 6)
    assert not a.flags.aligned
    np.testing.assert_array_equal(dot(a, normal(1, 6, 3)), dot(a.copy(), normal(1, 6, 3)))


@pytest.mark.parametrize("n", [1, 10, 64, 100])
def test_a_row_does_not_depend_on_the_other_rows(n):
    a, b = normal(0, 301, 600), normal(1, 600, n)
    whole = dot(a, b)
    for rows in (1, 2, 13, 14, 64, 129, 300):
        np.testing.assert_array_equal(dot(a[:rows], b), whole[:rows])
        np.testing.assert_array_equal(dot(a[-rows:], b), whole[-rows:])


def test_a_column_does_not_depend_on_the_other_columns():
    a, b = normal(0, 70, 600), normal(1, 600, 131)
    whole = dot(a, b)
    for columns in (1, 15, 16, 17, 48, 64):
        np.testing.assert_array_equal(dot(a, b[:, :columns]), whole[:, :columns])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vector_unit_does_not_change_bits(level, dtype, monkeypatch):
    cases = [(7, 33, 19), (40, 40, 50), (1, 20, 3), (17, 1100, 5)]
    data = [(normal(0, m, k, dtype=dtype), normal(1, k, n, dtype=dtype)) for m, k, n in cases]
    expected = [dot(a, b) for a, b in data]
    monkeypatch.setenv("DISTFLOW_CPU", level)
    assert isa.current().level == level
    for (a, b), result in zip(data, expected):
        np.testing.assert_array_equal(dot(a, b), result)


BATCHED = [
    ((2, 3, 4, 5), (2, 3, 5, 6), ((3,), (2,)), ((0, 1), (0, 1))),
    ((2, 3, 4, 5), (5, 3, 6, 2), ((3,), (0,)), ((0, 1), (3, 1))),
    ((4, 5, 6), (6, 7, 5, 3), ((1, 2), (2, 0)), ((), ())),
    ((4, 5, 6), (5, 7, 6, 3), ((1, 2), (0, 2)), ((), ())),
    ((4, 5, 6), (6, 5, 4), ((1,), (1,)), ((0, 2), (2, 0))),
    ((5,), (5,), ((0,), (0,)), ((), ())),
    ((5,), (3,), ((), ()), ((), ())),
    ((3, 5), (3, 5), ((), ()), ((0, 1), (0, 1))),
    ((2, 1, 3), (2, 3, 1), ((2,), (1,)), ((0,), (0,))),
    ((130, 2, 40), (2, 40, 70), ((2,), (1,)), ((1,), (0,))),
]


@pytest.mark.parametrize("case", BATCHED, ids=str)
def test_any_axes_agree_with_the_reference(case):
    shape_a, shape_b, contract, batch = case
    a, b = normal(0, *shape_a, dtype=np.float64), normal(1, *shape_b, dtype=np.float64)
    expected = contraction._dot_ref(a, b, contract=contract, batch=batch)
    result = dot(a, b, contract, batch)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)], ids=str)
def test_empty_axes_give_zeros(shape):
    m, k, n = shape
    result = dot(normal(0, m, k), normal(1, k, n))
    np.testing.assert_array_equal(result, np.zeros((m, n), np.float32))


def test_nan_and_inf_stay_in_their_rows_and_columns():
    a, b = normal(0, 20, 30), normal(1, 30, 40)
    a[3, 5], b[7, 38], a[4, 0], a[4, 1] = np.nan, np.inf, np.inf, -np.inf
    b[0, :], b[1, :] = 1, 1
    result = dot(a, b)
    with np.errstate(invalid="ignore"):
        expected = a.astype(np.float64) @ b.astype(np.float64)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(result), np.isinf(expected))
    assert np.isnan(result[3]).all()
    assert np.isnan(result[4]).all()
    assert np.isfinite(np.delete(np.delete(result, [3, 4], 0), 38, 1)).all()


def test_huge_and_tiny_values_are_neither_lost_nor_flushed():
    a = np.array([[3e38, 3e38], [1e-30, 0], [1e-23, 1e-23]], np.float32)
    b = np.array([[1, 2e-12], [1, -1e-12]], np.float32)
    result = dot(a, b)
    assert result[0, 0] == np.inf
    np.testing.assert_allclose(result[0, 1], 3e26, rtol=1e-6)
    assert 0 < result[1, 1] < np.finfo(np.float32).tiny  # a denormal
    np.testing.assert_allclose(result[2], [2e-23, 1e-35], rtol=1e-6)


def test_sixteen_bit_floats_are_summed_in_float32_and_rounded_once():
    a, b = normal(0, 9, 700).astype(np.float16), normal(1, 700, 11).astype(np.float16)
    expected = dot(a.astype(np.float32), b.astype(np.float32)).astype(np.float16)
    result = dot(a, b)
    assert result.dtype == np.float16
    np.testing.assert_array_equal(result, expected)


def test_integers_have_no_kernel():
    assert prepared("dot_general", PLAIN, [(2, 2), (2, 2)], [np.dtype(np.int32)] * 2) is None


@pytest.mark.parametrize("shape", [(700, 400, 90), (1, 3000, 1500), (90, 1300, 600)], ids=str)
def test_number_of_threads_does_not_change_bits(shape, monkeypatch):
    m, k, n = shape
    a, b = normal(0, m, k), normal(1, k, n)
    left, right = in_layout(a, (1, 0)), in_layout(b, (1, 0))
    monkeypatch.setenv("DISTFLOW_THREADS", "1")
    expected = dot(a, b)
    for count in ("1", "2", "3"):
        monkeypatch.setenv("DISTFLOW_THREADS", count)
        for x, y in ((a, b), (left, b), (a, right), (left, right)):
            np.testing.assert_array_equal(dot(x, y), expected)


def test_panels_of_a_transposed_left_operand_do_not_change_bits():
    # Far apart in memory and read by many column tiles: copied into panels; few columns: not.
    a, b = normal(0, 600, 1030), normal(1, 600, 700)
    result = dot(a, b, ((0,), (0,)))
    np.testing.assert_array_equal(dot(a, b[:, :20], ((0,), (0,))), result[:, :20])
    np.testing.assert_array_equal(dot(a.T.copy(), b), result)


def lowered(a, b, contract=((1,), (0,)), batch=((), ())):
    """The product by a kernel for the layouts of a and b as they lie."""
    shape = contraction._dot_shape(a.shape, b.shape, contract=contract, batch=batch)
    result = np.full(shape, np.nan, a.dtype)
    inputs = [task.layout_of(x) for x in (a, b)]
    kernel = matmul.lower({"contract": contract, "batch": batch}, inputs, task.layout_of(result))
    task.run(kernel, [a, b, result])
    return result


def test_kernel_reads_repeated_elements_where_they_lie():
    a, b = normal(0, 1, 30), normal(1, 30, 1)
    repeated = np.broadcast_to(a, (20, 30)), np.broadcast_to(b, (30, 40))
    expected = lowered(*(x.copy() for x in repeated))
    np.testing.assert_array_equal(lowered(*repeated), expected)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_kernel_of_16_bit_floats_takes_any_strides_and_free_axes(dtype):
    a, b = normal(0, 7, 33).astype(dtype), normal(1, 3, 33, 5).astype(dtype)
    expected = np.einsum("mk,ikj->mij", a.astype(float), b.astype(float))
    for x in (a, in_layout(a, (1, 0))):
        for y in (b, in_layout(b, (2, 1, 0)), np.repeat(b, 2, 2)[:, :, ::2]):
            result = lowered(x, y, ((1,), (1,)))
            np.testing.assert_allclose(result.astype(float), expected, rtol=0.02, atol=0.02)


def test_kernel_says_which_operands_it_writes():
    inputs = [task.contiguous("float32", (64, 900)), task.Layout("float32", (900, 64), (1, 900))]
    kernel = matmul.lower(PLAIN, inputs, task.contiguous("float32", (64, 64)))
    for call in kernel.calls:
        assert call.writes
        assert all(2 <= i < 3 + len(kernel.scratch) for i in call.writes)
        assert all(i < 3 + len(kernel.scratch) for i, _ in call.arguments)
    assert 2 in kernel.calls[-1].writes


@pytest.mark.parametrize("k", [2, 15, 16, 17, 100])
@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 40])
def test_few_rows_by_a_transposed_matrix_keep_the_bits_of_many(k, n):
    # Squares of B are turned in registers for few rows; for many, B is copied before.
    a, b = normal(0, 40, k), normal(1, n, k)
    whole = lowered(a, b.T.copy())
    for rows in (1, 2, 4, 5):
        np.testing.assert_array_equal(lowered(a[:rows], b.T), whole[:rows])


def test_one_column_is_computed_along_the_rows():
    a, b = normal(0, 70, 33), normal(1, 33, 5)
    whole = lowered(a, b)
    for x in (a, in_layout(a, (1, 0))):
        np.testing.assert_array_equal(lowered(x, b[:, 2:3]), whole[:, 2:3])
    batched = lowered(np.stack([a, a + 1]), np.stack([b[:, :1]] * 2), ((2,), (1,)), ((0,), (0,)))
    np.testing.assert_array_equal(batched[0], whole[:, :1])

"""Products of bfloat16: the bits of the oracle, in matrix tiles and in vectors of every level."""

import math
import os
import signal
import threading
import time

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distflow.compiler.cpu import amx, isa, jit, matmul, pair_blocks, pair_copies, task
from distflow.ops.prims import contraction
from tests.compiler.cpu import pair_oracle
from tests.compiler.cpu.test_matmul import in_layout
from tests.compiler.cpu.test_matmul_bounds import laid_out
from tests.compiler.cpu.test_matmul_bounds import run as run_guarded

ir = pytest.importorskip("llvmlite.ir")

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
PLAIN = {"contract": ((1,), (0,)), "batch": ((), ())}
# Each is one way to compute; "tiles" is what a host with AMX does by itself.
WAYS = ["tiles", *(level for level in isa.offered() if level != "sse")]  # sse: as generic
SIZES = [1, 2, 15, 16, 17, 31, 32, 33, 61, 64, 97]


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    use(request.param, monkeypatch)
    return request.param


@pytest.fixture(params=["tiles", "avx2"])
def common_way(request, monkeypatch):
    if request.param not in WAYS:
        pytest.skip("this CPU has not got AVX2")
    use(request.param, monkeypatch)


def use(way, monkeypatch):
    if way != "tiles":
        monkeypatch.setenv("DISTFLOW_CPU", way)
    elif not isa.current().has_tiles:
        pytest.skip("this CPU has no matrix tiles (amx_tile, amx_bf16), or may not use them")
    assert isa.current().has_tiles == (way == "tiles")


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(BFLOAT16)


def of_any_size(seed, *shape, low, high):
    """Numbers of either sign whose exponents lie between two bounds, zeros among them."""
    rng = np.random.default_rng(seed)
    size = np.exp2(rng.uniform(low, high, shape)) * rng.choice([-1, 0, 1], shape, p=[0.4, 0.2, 0.4])
    return size.astype(BFLOAT16)


def cancelling(m, k, n):
    """Operands whose products cancel, in another order: the result is what rounding left.

    Otherwise bfloat16 would hide the last bits of the sums, which tell the order of additions.
    """
    rng = np.random.default_rng(m + k + n)
    half = k // 2
    a, b, order = normal(0, m, k), normal(1, k, n), rng.permutation(half)
    a[:, half : 2 * half], b[half : 2 * half] = -a[:, order], b[order]
    if k % 2:
        a[:, -1] = 0
    return a, b


def dot(a, b, contract=((1,), (0,)), batch=((), ())):
    """The product by a kernel for the layouts of a and b as they lie."""
    shape = contraction._dot_shape(a.shape, b.shape, contract=contract, batch=batch)
    result = np.full(shape, np.nan, a.dtype)
    inputs = [task.layout_of(x) for x in (a, b)]
    kernel = matmul.lower({"contract": contract, "batch": batch}, inputs, task.layout_of(result))
    task.run(kernel, [a, b, result])
    return result


def assert_same_bits(found, expected):
    assert found.dtype == expected.dtype == BFLOAT16
    np.testing.assert_array_equal(found.view(np.uint16), expected.view(np.uint16))


@pytest.mark.parametrize("size", [(1, 31, 2), (33, 97, 65), (48, 64, 16)], ids=str)
def test_bits_are_those_of_the_oracle(size, way):
    m, k, n = size
    a, b = cancelling(m, k, n)
    expected = pair_oracle.product(a, b)
    assert_same_bits(dot(a, b), expected)
    assert_same_bits(dot(in_layout(a, (1, 0)), in_layout(b, (1, 0))), expected)
    assert_same_bits(dot(np.repeat(a, 2, 1)[:, ::2], np.repeat(b, 3, 0)[::3]), expected)


@pytest.mark.parametrize("exponents", [(-70, -56), (-134, -120), (50, 64), (-126, 126)], ids=str)
def test_tiny_and_huge_values_have_the_oracles_bits(exponents, way):
    low, high = exponents
    a = of_any_size(0, 33, 97, low=low, high=high)
    # Products about the least normal float32: denormals come and go in every step.
    other = (-70, -56) if high < 0 else exponents
    b = of_any_size(1, 97, 65, low=other[0], high=other[1])
    assert_same_bits(dot(a, b), pair_oracle.product(a, b))


@pytest.mark.parametrize(("less", "left"), [(152, 2.0**-126), (151, 2.0**-126), (150, 0)])
def test_results_are_flushed_where_rounded_ones_are_denormal(less, left, way):
    # 2^-126 - 2^-less, in the even sum: as 24 bits it is 2^-126 again, or the number below that.
    a = np.array([[2.0**-63, 0, -(2.0 ** -(less // 2))]]).astype(BFLOAT16)
    b = np.array([[2.0**-63], [0], [2.0 ** -(less - less // 2)]]).astype(BFLOAT16)
    assert dot(a, b).astype(float) == left
    assert_same_bits(dot(a, b), pair_oracle.product(a, b))


def test_denormal_operands_are_zeros_of_their_sign(way):
    a = np.array([[0x0001, 0x3F80], [0x807F, 0x3F80]], np.uint16).view(BFLOAT16)
    b = np.array([[1e30], [0]]).astype(BFLOAT16)
    assert_same_bits(dot(a, b), np.zeros((2, 1), BFLOAT16))
    assert dot(a[:, ::-1].copy(), np.ones((2, 1), BFLOAT16)).astype(float).tolist() == [[1], [1]]


def test_nan_is_the_plain_one_and_infinity_stays(way):
    a, b = normal(0, 33, 97), normal(1, 97, 65)
    a[3, 5], b[7, 38], a[4, 0], a[4, 1] = np.nan, np.inf, np.inf, -np.inf
    a[9, 2] = np.uint16(0xFFA1).view(BFLOAT16)  # a NaN of another kind
    b[0, :], b[1, :] = 1, 1
    expected = pair_oracle.product(a, b)
    assert np.isinf(expected.astype(float)).any()
    assert np.isnan(expected.astype(float)[[3, 4, 9]]).all()
    assert_same_bits(dot(a, b), expected)


def test_large_sums_overflow_to_infinity(way):
    a, b = np.full((33, 97), 2.0**120, BFLOAT16), np.full((97, 65), 2.0**7, BFLOAT16)
    a[1] *= -1
    found = dot(a, b).astype(float)
    assert (found[0] == np.inf).all()
    assert (found[1] == -np.inf).all()


BATCHED = [
    ((2, 3, 4, 37), (2, 3, 37, 6), ((3,), (2,)), ((0, 1), (0, 1))),
    ((2, 3, 4, 5), (5, 3, 6, 2), ((3,), (0,)), ((0, 1), (3, 1))),
    ((4, 5, 6), (6, 7, 5, 3), ((1, 2), (2, 0)), ((), ())),
    ((34, 5), (5,), ((1,), (0,)), ((), ())),
    ((5,), (5,), ((0,), (0,)), ((), ())),
    ((5,), (3,), ((), ()), ((), ())),
    ((3, 5), (3, 5), ((), ()), ((0, 1), (0, 1))),
    # As in attention: heads beside positions, whole blocks of each, and what is left of one.
    ((2, 64, 3, 32), (2, 40, 3, 32), ((3,), (3,)), ((0, 2), (0, 2))),
    ((2, 3, 64, 32), (3, 32, 70), ((1, 3), (0, 1)), ((), ())),
    ((2, 3, 64, 32), (2, 64, 50), ((0, 2), (0, 1)), ((), ())),
    ((2, 3, 33, 31), (3, 31, 70), ((1, 3), (0, 1)), ((), ())),
]


def in_matrices(a, b, contract, batch):
    """The operands as batches of matrices [n, m, k] and [n, k, columns]."""
    free = [
        [i for i in range(x.ndim) if i not in (*contract[s], *batch[s])]
        for s, x in enumerate((a, b))
    ]
    lead = math.prod(a.shape[i] for i in batch[0])
    k = math.prod(a.shape[i] for i in contract[0])
    left = a.transpose(*batch[0], *free[0], *contract[0]).reshape(lead, -1, k)
    right = b.transpose(*batch[1], *contract[1], *free[1]).reshape(lead, k, -1)
    return left, right


@pytest.mark.parametrize("case", BATCHED, ids=str)
def test_any_axes_have_the_oracles_bits(case):
    shape_a, shape_b, contract, batch = case
    a, b = normal(0, *shape_a), normal(1, *shape_b)
    found = dot(a, b, contract, batch)
    expected = np.stack(
        [pair_oracle.product(x, y) for x, y in zip(*in_matrices(a, b, contract, batch))]
    )
    assert_same_bits(found, expected.reshape(found.shape))


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0)], ids=str)
def test_empty_axes_give_zeros(shape):
    m, k, n = shape
    assert_same_bits(dot(normal(0, m, k), normal(1, k, n)), np.zeros((m, n), BFLOAT16))


@pytest.mark.parametrize("way", [way for way in WAYS if way != "generic"])
@settings(max_examples=5, deadline=None, derandomize=True)
@given(
    st.tuples(*[st.sampled_from(SIZES)] * 3),
    st.sampled_from(["plain", "turned", "gaps", "repeated"]),
    st.sampled_from(["plain", "turned", "gaps", "repeated"]), st.booleans(),
)  # fmt: skip
def test_product_touches_its_arrays_only(way, size, left, right, at_end):
    m, k, n = size
    with pytest.MonkeyPatch.context() as patch:
        use(way, patch)
        a, b = (laid_out(normal(i, *s), lies, at_end)
                for i, (s, lies) in enumerate([((m, k), left), ((k, n), right)]))  # fmt: skip
        c = laid_out(np.full((m, n), 77, BFLOAT16), "plain", at_end)
        kernel = matmul.lower(PLAIN, [task.layout_of(x) for x in (a, b)], task.layout_of(c))
        run_guarded(kernel, [a, b, c])
    assert_same_bits(np.array(c), pair_oracle.product(a, b))


def test_other_orders_have_other_bits():
    # What the tests above compare is not the same whatever the order.
    a, b = cancelling(33, 96, 65)
    expected = pair_oracle.sums(a, b)

    def chain(order):
        total = np.zeros(expected.shape, np.float32)
        for i in order:
            total = (total + a[:, i, None].astype(float) * b[i].astype(float)).astype("f4")
        return total

    apart = chain(range(0, 96, 2)) + chain(range(1, 96, 2))  # groups of 96
    joined = sum(chain(range(g, g + 32)) for g in range(0, 96, 32))  # groups without halves
    for other in (chain(range(96)), apart, joined, np.zeros(expected.shape)):
        assert (
            pair_oracle.rounded(other.astype("f4")) != pair_oracle.rounded(expected)
        ).mean() > 0.1


def test_number_of_threads_does_not_change_bits(common_way, monkeypatch):
    a, b = normal(0, 300, 290), normal(1, 290, 310)
    expected = None
    for count in ("1", "2", "3"):
        monkeypatch.setenv("DISTFLOW_THREADS", count)
        found = dot(in_layout(a, (1, 0)), b)
        expected = found if expected is None else expected
        assert_same_bits(found, expected)


def test_a_thread_keeps_its_own_mode_for_denormals(common_way):
    dot(normal(0, 300, 290), normal(1, 290, 310))
    tiny = np.full(8, 1e-40, np.float32)
    assert (tiny * np.float32(1) != 0).all()


def test_other_threads_compute_the_same_bits(common_way, monkeypatch):
    monkeypatch.setenv("DISTFLOW_THREADS", "1")
    a, b = normal(0, 300, 290), normal(1, 290, 310)
    expected, found = dot(a, b), []
    workers = [threading.Thread(target=lambda: found.append(dot(a, b))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert len(found) == 4
    for each in found:
        assert_same_bits(each, expected)


@pytest.mark.spawn
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_children_of_a_fork_compute_the_same_bits(common_way, monkeypatch):
    monkeypatch.setenv("DISTFLOW_THREADS", "2")
    a, b = normal(0, 300, 290), normal(1, 290, 310)
    expected = dot(a, b)
    child = os.fork()
    if not child:
        same = False
        try:
            same = (dot(a, b).view(np.uint16) == expected.view(np.uint16)).all()
        finally:
            os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert_same_bits(dot(a, b), expected)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
def test_signals_that_arrive_meanwhile_do_not_change_bits(common_way, monkeypatch):
    monkeypatch.setenv("DISTFLOW_THREADS", "1")
    a, b = normal(0, 300, 290), normal(1, 290, 310)
    expected, seen = dot(a, b), []

    def again(number, frame):
        # The handler's own tiles and mode are not those of what it interrupts.
        seen.append((dot(a, b).view(np.uint16) == expected.view(np.uint16)).all())

    old = signal.signal(signal.SIGVTALRM, again)
    try:
        deadline = time.monotonic() + 60
        signal.setitimer(signal.ITIMER_VIRTUAL, 1e-3, 1e-3)
        while len(seen) < 10 and time.monotonic() < deadline:
            assert_same_bits(dot(a, b), expected)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, old)
    assert len(seen) >= 10
    assert all(seen)


# -- which way is taken --


def test_a_level_by_its_name_has_no_tiles(monkeypatch):
    for level in isa.offered():
        monkeypatch.setenv("DISTFLOW_CPU", level)
        assert not isa.current().has_tiles


def test_tiles_need_the_cpu_and_the_systems_permission(monkeypatch):
    features = dict.fromkeys(["amx-tile", "amx-bf16", "avx512f", "avx512bw", "avx512vl"], True)
    monkeypatch.setattr(amx, "_permitted", lambda: True)
    assert amx.offered(features)
    assert not amx.offered({**features, "amx-bf16": False})
    monkeypatch.setattr(amx, "_permitted", lambda: False)
    assert not amx.offered(features)


def test_code_in_the_cache_is_told_apart_by_its_way(monkeypatch):
    if not isa.current().has_tiles:
        pytest.skip("this CPU has no matrix tiles (amx_tile, amx_bf16), or may not use them")

    def key():
        layout = task.contiguous("bfloat16", (40, 40))
        return matmul.lower(PLAIN, [layout, layout], layout).calls[-1].function.module.key

    by_tiles = key()
    refused = isa.Target(**{**vars(isa.current()), "has_tiles": False})
    monkeypatch.setattr(isa, "current", lambda: refused)
    assert key() != by_tiles


def test_arm_code_is_accepted_by_llvm():
    arm = isa.Target("generic", "aarch64-unknown-linux-gnu", "generic", "", 16, 32, True)
    module = ir.Module("arm")
    pair_blocks.emit(module, "pairs", pair_blocks.Product(2, 32, 16, 3, False), arm)
    lines = pair_copies.Lines((), (pair_copies.Extent(33, 70),), (pair_copies.Extent(70, 1),), True)
    pair_copies.emit(module, "tiles", lines, arm)
    code = jit.verify_for(module, arm.triple)
    assert code[:4] == b"\x7fELF"
    assert int.from_bytes(code[18:20], "little") == 183  # EM_AARCH64


def test_explain_says_how_products_are_computed(monkeypatch):
    monkeypatch.setenv("DISTFLOW_CPU", isa.offered()[0])
    layout = task.contiguous("bfloat16", (40, 40))
    assert matmul.lower(PLAIN, [layout, layout], layout).note == "bfloat16 in vectors"
    half = task.contiguous("float16", (40, 40))
    assert matmul.lower(PLAIN, [half, half], half).note == "float16 by float32"

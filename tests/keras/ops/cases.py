"""Calls of `keras.ops`: name -> list of (arguments, keyword arguments).

NumPy arrays are the tensors of a call; everything else is a setting.
"""

import numpy as np

_RNG = np.random.default_rng(11)
A = _RNG.uniform(-2, 2, (3, 4)).astype("float32")
B = _RNG.uniform(-2, 2, (3, 4)).astype("float32")
P = _RNG.uniform(0.2, 3, (3, 4)).astype("float32")
U = _RNG.uniform(-0.9, 0.9, (3, 4)).astype("float32")
C = _RNG.uniform(-2, 2, (2, 3, 4)).astype("float32")
V = _RNG.uniform(-2, 2, (5,)).astype("float32")
W = _RNG.uniform(-2, 2, (3,)).astype("float32")
I = _RNG.integers(-9, 9, (3, 4)).astype("int32")
J = _RNG.integers(1, 9, (3, 4)).astype("int32")
N = _RNG.integers(0, 4, (6,)).astype("int32")
T = np.array([[True, False, True, True], [False, False, True, False], [True] * 4])
BAD = np.where(T, A, np.nan).astype("float32")
EDGES = np.array([-np.inf, -1.5, -0.0, 0.0, 2.5, np.inf, np.nan], "float32")
IMAGES = _RNG.uniform(-1, 1, (2, 6, 6, 4)).astype("float32")
# 134 = 2 * 67: longer than one product, with a factor that is prime and longer still.
LONG = _RNG.uniform(-1, 1, (2, 134)).astype("float32")
LOGITS = _RNG.uniform(-3, 3, (3, 7, 5)).astype("float32")
LABELS = np.array([[1, 2, 2, 3], [4, 1, 1, 1], [3, 3, 1, 2]], "int32")
SIZES = np.array([4, 2, 3], "int32")


def each(names, *calls):
    return {name: [(call, {}) for call in calls] for name in names.split()}


# Functions that NumPy has under the same name and with the same arguments.
NUMPY = {
    **each("sin cos tan sinh cosh tanh arctan arcsinh exp exp2 expm1 floor ceil square negative "
           "sign absolute abs fabs deg2rad rad2deg sinc cbrt", (A,)),
    **each("arcsin arccos arctanh", (U,)),
    **each("log log2 log10 log1p sqrt reciprocal", (P,)),
    "arccosh": [((P + 1,), {})],
    **each("isnan isinf isfinite isposinf isneginf signbit trunc", (EDGES,)),
    "isreal": [((A,), {})],
    **each("add subtract multiply divide true_divide maximum minimum arctan2 hypot fmax fmin "
           "logaddexp logaddexp2 heaviside nextafter", (A, B), (A, W[:, None]), (A, 2.0)),
    "power": [((P, A), {}), ((J, 2), {})],
    **each("floor_divide mod fmod", (A, P), (I, J)),
    **each("equal not_equal less less_equal greater greater_equal", (I, J), (A, 0.5)),
    **each("logical_and logical_or logical_xor", (T, ~T[:, ::-1])),
    "logical_not": [((T,), {})],
    **each("bitwise_and bitwise_or bitwise_xor gcd lcm", (J, J[::-1])),
    **each("left_shift right_shift", (J, N[:4])), "bitwise_not": [((J,), {})],
    "ldexp": [((A, N[:4]), {})],
    "isclose": [((A, A + 1e-6), {}), ((BAD, BAD), {"equal_nan": True})],
    "allclose": [((A, A + 1e-9), {}), ((A, B), {})],
    "round": [((A * 9,), {}), ((A,), {"decimals": 2})],
    "clip": [((A, -1.0, 0.5), {}), ((I, -2, 3), {})],
    "nan_to_num": [((EDGES,), {}), ((EDGES,), {"nan": 1.0, "posinf": 2.0, "neginf": -3.0})],
    **each("real imag conj conjugate angle", (A,), ((A + 1j * B).astype("complex64"),)),
    **each("sum mean var std max min prod amax amin ptp median", (A,), (C, 1), (C, (0, 2))),
    **each("nansum nanmean nanvar nanstd nanmax nanmin nanprod nanmedian", (BAD,), (BAD, 0)),
    **each("all any", (T,), (T, 1), (I, 0)),
    **each("argmax argmin", (A,), (C, 1)), **each("nanargmax nanargmin", (BAD,), (BAD, 1)),
    **each("cumsum cumprod", (A,), (A, 1)), **each("nancumsum nancumprod", (BAD,), (BAD, 0)),
    "count_nonzero": [((I,), {}), ((I,), {"axis": 0})],
    "average": [((A,), {}), ((A,), {"axis": 1, "weights": P}),
                ((A,), {"axis": 0, "weights": np.abs(W)})],
    "quantile": [((A, 0.3), {}), ((C, np.array([0.1, 0.9], "float32")), {"axis": 1}),
                 ((A, 0.4), {"axis": 0, "method": "lower"}),
                 ((A, 0.4), {"axis": 0, "method": "nearest", "keepdims": True}),
                 ((A, 0.4), {"method": "midpoint"})],
    "percentile": [((A, 30.0), {}), ((A, 60.0), {"axis": 0})],
    "nanquantile": [((BAD, 0.3), {"axis": 1})], "nanpercentile": [((BAD, 30.0), {})],
    "bincount": [((N,), {}), ((N,), {"weights": np.arange(6, dtype="float32")}),
                 ((N,), {"minlength": 8})],
    "digitize": [((A, np.array([-1.0, 0.0, 1.0], "float32")), {})],
    "histogram": [((A,), {}), ((A,), {"bins": 4, "range": (-1, 1)})],
    "reshape": [((A, (2, 6)), {}), ((A, (-1,)), {})], "ravel": [((A,), {})],
    "transpose": [((C,), {}), ((C, (2, 0, 1)), {})], "swapaxes": [((C, 0, 2), {})],
    "moveaxis": [((C, 0, -1), {}), ((C, (0, 1), (2, 0)), {})],
    "expand_dims": [((A, 1), {}), ((A, (0, -1)), {})],
    "squeeze": [((A[:, None],), {}), ((A[:, None], 1), {})],
    "broadcast_to": [((W, (2, 3)), {})],
    "concatenate": [(([A, B],), {}), (([A, I],), {"axis": 1})],
    "stack": [(([A, B],), {}), (([A, B],), {"axis": -1})],
    **each("hstack vstack dstack", ([A, B],), ([W, W],)),
    "append": [((A, B), {}), ((A, B), {"axis": 0})],
    "split": [((A, 2), {"axis": 1}), ((A, [1, 3]), {"axis": 1})],
    "array_split": [((V, 3), {}), ((A, 3), {"axis": 1})],
    "hsplit": [((A, 2), {})], "vsplit": [((A, [1]), {})], "dsplit": [((C, 2), {})],
    "tile": [((A, 2), {}), ((A, (2, 1, 2)), {}), ((C, (2,)), {})],
    "repeat": [((A, 2), {}), ((A, 2), {"axis": 1})],
    "roll": [((A, 2), {}), ((A, 1), {"axis": 0}), ((A, (1, 2)), {"axis": (0, 1)})],
    "flip": [((C,), {}), ((C, 1), {})], **each("fliplr flipud", (A,)),
    "rot90": [((C,), {"k": k}) for k in range(4)] + [((C,), {"axes": (1, 2)})],
    "pad": [((A, 1), {}), ((A, ((1, 0), (2, 1))), {"constant_values": 5.0}),
            ((A, ((1, 1), (2, 1))), {"mode": "reflect"}),
            ((A, ((1, 1), (2, 1))), {"mode": "symmetric"})],
    "diagonal": [((A,), {}), ((C,), {"offset": 1, "axis1": 1, "axis2": 2})],
    "trace": [((A,), {}), ((C,), {"offset": -1, "axis1": 1, "axis2": 2})],
    "diag": [((W,), {}), ((A, 1), {}), ((W, -1), {})], "diagflat": [((A[:2, :2],), {})],
    **each("tril triu", (A,), (C, 1), (A, -1)),
    "meshgrid": [((W, V), {}), ((W, V), {"indexing": "ij"})],
    "linspace": [((0.0, 1.0), {"num": 5}), ((0.0, 1.0), {"num": 4, "endpoint": False}),
                 ((A, B), {"num": 3, "axis": 1})],
    "logspace": [((0.0, 2.0), {"num": 5})], "geomspace": [((1.0, 8.0), {"num": 4})],
    **each("zeros_like ones_like", (A,), (I,)), "full_like": [((A, 3.0), {})],
    **each("arange", (5,), (1, 7, 2), (0.5, 2.0, 0.25)),
    **each("bartlett blackman hamming hanning", (6,)), "kaiser": [((6, 2.0), {})],
    "where": [((T, A, B), {}), ((T, A, 0.0), {})],
    "select": [(([T, ~T], [A, B]), {}), (([T], [A]), {"default": 7.0})],
    "take": [((A, N[:3]), {}), ((C, np.array([0, -1], "int32")), {"axis": 1})],
    "take_along_axis": [((A, np.argsort(A, 1).astype("int32")), {"axis": 1}),
                        ((A, np.array([[0, 2, 1, 0]], "int32")), {"axis": 0})],
    "sort": [((A,), {}), ((A,), {"axis": 0}), ((A,), {"axis": None})],
    "argsort": [((A,), {}), ((A,), {"axis": 0})], "nonzero": [((T,), {})],
    "searchsorted": [((np.sort(V), W), {}), ((np.sort(N), np.array([1, 2], "int32")),
                                             {"side": "right"})],
    "isin": [((I, N), {}), ((I, N), {"invert": True})],
    "unravel_index": [((N, (2, 3)), {})],
    "unique": [((N,), {}), ((N,), {"return_inverse": True, "return_counts": True})],
    "diff": [((A,), {}), ((A,), {"n": 2, "axis": 0})],
    "trapezoid": [((A,), {}), ((A,), {"dx": 0.5, "axis": 0}),
                  ((A,), {"x": np.sort(V[:4])})],
    "matmul": [((A, B.T), {}), ((C, C.transpose(0, 2, 1)), {}), ((W, A), {}), ((A, V[:4]), {}),
               ((W, W), {})],
    "dot": [((A, B.T), {}), ((W, W), {}), ((C, V[:4]), {}), ((A, 2.0), {})],
    "vdot": [((A, B), {})], "inner": [((A, B), {}), ((W, W), {})], "outer": [((W, V), {})],
    "tensordot": [((A, B), {}), ((C, A), {"axes": ((1, 2), (0, 1))})],
    "einsum": [(("ij,kj->ik", A, B), {}), (("bij->bji", C), {})],
    "kron": [((A, B[:2]), {}), ((W, A), {})],
    "cross": [((A[:, :3], B[:, :3]), {}),
              ((W, V[:3]), {})],
    "vander": [((W,), {}), ((W,), {"N": 2, "increasing": True})],
    "correlate": [((V, W), {"mode": m}) for m in ("valid", "same", "full")]
                 + [((W, V), {"mode": m}) for m in ("valid", "full")],
    "corrcoef": [((A,), {})],
}  # fmt: skip

# Functions that only Keras has, or has with other arguments.
KERAS = {
    **each("relu relu6 sigmoid softplus softsign silu log_sigmoid hard_sigmoid hard_silu hard_tanh "
           "selu tanh_shrink sparse_plus sparse_sigmoid leaky_relu elu celu gelu glu hard_shrink "
           "soft_shrink squareplus sparsemax erf erfc rsqrt", (P,)),
    "threshold": [((A, 0.5, 2.0), {})], "erfinv": [((U,), {})],
    **each("softmax log_softmax", (C,), (C, 1), (C, (1, 2)), (C, None)),
    "one_hot": [((N, 4), {}), ((N, 4), {"axis": 0, "dtype": "int32"})],
    "multi_hot": [((N.reshape(2, 3), 4), {})],
    "binary_crossentropy": [((T.astype("float32"), np.abs(U)), {}),
                            ((T.astype("float32"), A), {"from_logits": True})],
    "categorical_crossentropy": [((np.eye(4, dtype="float32")[:3], P / 4), {}),
                                 ((np.eye(4, dtype="float32")[:3], A), {"from_logits": True})],
    "sparse_categorical_crossentropy": [((N[:3], A), {"from_logits": True})],
    "normalize": [((A,), {}), ((A,), {"axis": 0, "order": 3})],
    "batch_normalization": [((A, W, np.abs(W)), {"axis": 0}),
                            ((A, W, np.abs(W)), {"axis": 0, "offset": W, "scale": W})],
    "layer_normalization": [((A,), {}), ((A, V[:4], V[1:]), {})],
    "rms_normalization": [((A,), {}), ((A,), {"scale": V[:4]})],
    "moments": [((A,), {"axes": [0]}), ((C,), {"axes": [1, 2], "keepdims": True})],
    "logsumexp": [((A,), {}), ((C,), {"axis": 1, "keepdims": True})],
    "divide_no_nan": [((A, np.where(T, A, 0).astype("float32")), {})],
    "psnr": [((A, B), {"max_val": 4.0})], "polar": [((P, A), {})],
    "top_k": [((A, 2), {})], "in_top_k": [((N[:3], A), {"k": 2})],
    "cast": [((A, "int32"), {})], "saturate_cast": [((A * 200, "int8"), {})],
    "size": [((A,), {})], "full": [(((2, 3), 4.0), {})],
    "slice": [((A, [1, 1], (2, 2)), {})],
    "slice_update": [((A, [1, 1], B[:2, :2]), {})],
    "scatter": [((np.array([[0, 1], [2, 0], [0, 1]], "int32"), W, (3, 4)), {})],
    "scatter_update": [((A, np.array([[0, 1], [2, 0]], "int32"), W[:2]), {}),
                       ((A, np.array([[0, 1], [2, 0]], "int32"), W[:2]), {"reduction": "max"})],
    **each("segment_sum segment_max segment_min segment_prod",
           (IMAGES[0], np.array([0, 0, 1, 2, 2, 2], "int32"), 3)),
    "extract_sequences": [((A, 2, 1), {})], "cdist": [((A, B), {})],
    "unstack": [((A,), {"axis": 1})],
    "i0": [((9 * A,), {}), ((I,), {}), ((A.astype("float64"),), {})],
    "fft": [(([A, B],), {}), (([LONG, -LONG],), {})],
    **each("fft2 ifft2", ([A, B],), ([C, C[::-1]],)),
    "rfft": [((A,), {}), ((LONG,), {}), ((A,), {"fft_length": 7}), ((A,), {"fft_length": 3})],
    "irfft": [(([A, B],), {}), (([LONG, -LONG],), {}), (([A, B],), {"fft_length": 5})],
    "stft": [((LONG, 8, 3, 12), {}), ((LONG, 8, 3, 9), {"window": "hamming", "center": False}),
             ((LONG, 5, 5, 5), {"window": None})],
    "istft": [(([IMAGES[0, :, :, :], IMAGES[1, :, :, :]], 6, 2, 6), {"length": 10}),
              # Of even length: TensorFlow's periodic windows of odd length are symmetric.
              (([IMAGES[0], IMAGES[1]], 4, 2, 6), {"window": "hamming", "center": False}),
              (([IMAGES[0], IMAGES[1]], 4, 3, 6), {"window": None})],
    "ctc_loss": [((LABELS, LOGITS, SIZES - 1, SIZES + 3), {}),
                 ((LABELS - 1, LOGITS, SIZES - 1, SIZES + 3), {"mask_index": 4})],
    "ctc_decode": [((LOGITS, SIZES + 3), {}), ((LOGITS, SIZES + 3), {"merge_repeated": False}),
                   # Wide enough that nothing is dropped: what else there is differs.
                   ((LOGITS, SIZES + 3), {"strategy": "beam_search", "top_paths": 2,
                                          "beam_width": 1000}),
                   ((LOGITS, SIZES + 3), {"strategy": "beam_search", "mask_index": 2,
                                          "beam_width": 3})],
    "rearrange": [((IMAGES, "b h w c -> b c h w"), {}), ((IMAGES, "b h w c -> (b h) w c"), {}),
                  ((IMAGES, "b (h s) (w t) c -> (b s t) h w c"), {"s": 2, "t": 3})],
    "conv": [((IMAGES, IMAGES[:, :3, :3].transpose(1, 2, 3, 0)[:3, :3]), {"padding": p})
             for p in ("valid", "same")],
    "conv_transpose": [((IMAGES, IMAGES[:, :3, :3].transpose(1, 2, 0, 3)),
                        {"padding": p, "strides": 2}) for p in ("valid", "same")],
    "depthwise_conv": [((IMAGES, IMAGES[:, :3, :3].transpose(1, 2, 3, 0)), {"strides": 2})],
    "separable_conv": [((IMAGES, IMAGES[:, :3, :3].transpose(1, 2, 3, 0),
                         IMAGES[:1, :1, :, :2].transpose(0, 1, 3, 2)[:, :, :, :2].reshape(
                             1, 1, 2, -1).repeat(4, 2)), {})],
    "max_pool": [((IMAGES, 2), {}), ((IMAGES, 3), {"strides": 1, "padding": "same"})],
    "average_pool": [((IMAGES, 2), {}), ((IMAGES, 3), {"strides": 1, "padding": "same"})],
    "depth_to_space": [((IMAGES, 2), {})], "space_to_depth": [((IMAGES, 2), {})],
    "unfold": [((IMAGES.transpose(0, 3, 1, 2), 2), {}),
               ((IMAGES.transpose(0, 3, 1, 2), (2, 3)), {"stride": 2, "padding": 1})],
    "fold": [((IMAGES.reshape(2, 16, 9), (4, 4), 2), {})],
    "dot_product_attention": [
        ((IMAGES, IMAGES[:, :, ::-1], IMAGES), {}),
        ((IMAGES, IMAGES, IMAGES), {"is_causal": True, "scale": 0.3}),
    ],
    "inv": [((A[:, :3] + 3 * np.eye(3, dtype="float32"),), {})],
    "det": [((A[:, :3],), {})], "solve": [((A[:, :3] + 3 * np.eye(3, dtype="float32"), B), {})],
    "cholesky": [((A @ A.T + np.eye(3, dtype="float32"),), {}),
                 ((A @ A.T + np.eye(3, dtype="float32"),), {"upper": True})],
    "cholesky_inverse": [((np.linalg.cholesky(A @ A.T + np.eye(3, dtype="float32")),), {})],
    "solve_triangular": [((A[:, :3] + 3 * np.eye(3, dtype="float32"), B), {"lower": True})],
    "logdet": [((A @ A.T + np.eye(3, dtype="float32"),), {})],
    "slogdet": [((A[:, :3],), {})], "pinv": [((A,), {})],
    "lstsq": [((A.T.copy(), V[:4]), {})], "matrix_rank": [((A,), {})],
    "norm": [((A,), {}), ((A,), {"ord": 1, "axis": 1}), ((A,), {"ord": "nuc"}),
             ((A,), {"ord": np.inf}), ((A,), {"ord": 3, "axis": 0, "keepdims": True})],
    "svd": [((A,), {"compute_uv": False})],
    "lu_factor": [((A[:, :3],), {})],
    "get_item": [((A, (slice(0, 2), 1)), {}), ((A, -1), {})],
    "eye": [((3,), {}), ((3, 4, 1), {"dtype": "int32"})], "identity": [((3,), {})],
    "tri": [((3,), {}), ((3, 4, 1), {})],
    **each("zeros ones", ((2, 3),)),
}  # fmt: skip
CASES = [
    (name, i, args, kwargs)
    for table in (NUMPY, KERAS)
    for name, calls in table.items()
    for i, (args, kwargs) in enumerate(calls)
]
IDS = [f"{name}-{i}" for name, i, _, _ in CASES]

"""The models in plain JAX: weights are nested dicts and lists, batch statistics a list beside."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from models import spec


def build(model):
    """Returns (weights, statistics, apply); apply(w, s, x, training) gives (logits, s)."""
    make, apply = {
        "cnn": (_cnn_weights, _cnn),
        "mlp": (_mlp_weights, _mlp),
        "resnet": (_resnet_weights, _resnet),
        "gpt": (_gpt_weights, _gpt),
        "lstm": (_lstm_weights, _lstm),
    }[model]
    weights, statistics = make(np.random.default_rng(0))
    return *jax.tree.map(jnp.asarray, (weights, statistics)), apply


def _glorot(rng, *shape):
    field = int(np.prod(shape[:-2]))
    limit = (6 / (field * (shape[-2] + shape[-1]))) ** 0.5
    return rng.uniform(-limit, limit, shape).astype(np.float32)


def _dense_weights(rng, inputs, units):
    return {"w": _glorot(rng, inputs, units), "b": np.zeros(units, np.float32)}


def _dense(p, x):
    return x @ p["w"] + p["b"]


def _convolution(w, x, stride, padding):
    return lax.conv_general_dilated(
        x, w, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _cnn_weights(rng):
    bias = np.zeros(16, np.float32)
    return {
        "first": {"w": _glorot(rng, 3, 3, 1, 16), "b": bias},
        "second": {"w": _glorot(rng, 3, 3, 16, 16), "b": bias},
        "head": _dense_weights(rng, 16, 10),
    }, []


def _cnn(p, statistics, x, training):
    for name in ("first", "second"):
        x = jax.nn.relu(_convolution(p[name]["w"], x, 1, "VALID") + p[name]["b"])
    return _dense(p["head"], x.mean((1, 2))), statistics


def _mlp_weights(rng):
    sizes = (784, spec.MLP_UNITS, spec.MLP_UNITS, 10)
    return [_dense_weights(rng, i, o) for i, o in itertools.pairwise(sizes)], []


def _mlp(p, statistics, x, training):
    for layer in p[:-1]:
        x = jax.nn.relu(_dense(layer, x))
    return _dense(p[-1], x), statistics


def _lstm_weights(rng):
    units = spec.LSTM_UNITS
    return {
        "input": _dense_weights(rng, 64, 4 * units),
        "recurrent": _glorot(rng, units, 4 * units),
        "head": _dense_weights(rng, units, 10),
    }, []


def _lstm(p, statistics, x, training):
    def step(carry, projected):
        h, c = carry
        i, f, g, o = jnp.split(projected + h @ p["recurrent"], 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    zeros = jnp.zeros((x.shape[0], spec.LSTM_UNITS))
    (h, _), _ = lax.scan(step, (zeros, zeros), _dense(p["input"], x.swapaxes(0, 1)))
    return _dense(p["head"], h), statistics


def _resnet_layers():
    """Returns (size, inputs, filters, stride) of each convolution, a block's shortcut last."""
    filters = spec.RESNET_STAGES[0]
    layers = [(3, 3, filters, 1)]
    inputs = filters
    for stage, filters in enumerate(spec.RESNET_STAGES):
        for block in range(spec.RESNET_BLOCKS):
            stride = 2 if stage and not block else 1
            layers += [(3, inputs, filters, stride), (3, filters, filters, 1)]
            if stride == 2:
                layers.append((1, inputs, filters, stride))
            inputs = filters
    return layers


def _resnet_weights(rng):
    layers, statistics = [], []
    for size, inputs, filters, _ in _resnet_layers():
        one, zero = np.ones(filters, np.float32), np.zeros(filters, np.float32)
        layers.append({"w": _glorot(rng, size, size, inputs, filters), "scale": one, "b": zero})
        statistics.append({"mean": zero, "variance": one})
    head = _dense_weights(rng, spec.RESNET_STAGES[-1], 10)
    return {"layers": layers, "head": head}, statistics


def _batch_norm(p, statistics, x, training):
    mean, variance = statistics["mean"], statistics["variance"]
    if training:
        keep = spec.BATCH_NORM_MOMENTUM
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        statistics = {
            "mean": keep * statistics["mean"] + (1 - keep) * mean,
            "variance": keep * statistics["variance"] + (1 - keep) * variance,
        }
    factor = lax.rsqrt(variance + spec.BATCH_NORM_EPSILON) * p["scale"]
    return x * factor + (p["b"] - mean * factor), statistics


def _resnet(p, statistics, x, training):
    kept = []
    layers = iter(zip(p["layers"], statistics, _resnet_layers()))

    def convolve(x):
        weights, before, (_, _, _, stride) = next(layers)
        x, after = _batch_norm(
            weights, before, _convolution(weights["w"], x, stride, "SAME"), training
        )
        kept.append(after)
        return x

    x = jax.nn.relu(convolve(x))
    for stage in range(len(spec.RESNET_STAGES)):
        for block in range(spec.RESNET_BLOCKS):
            y = convolve(jax.nn.relu(convolve(x)))
            shortcut = convolve(x) if stage and not block else x
            x = jax.nn.relu(y + shortcut)
    return _dense(p["head"], x.mean((1, 2))), kept


def _norm_weights(width):
    return {"scale": np.ones(width, np.float32), "b": np.zeros(width, np.float32)}


def _layer_norm(p, x):
    mean = x.mean(-1, keepdims=True)
    variance = x.var(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + spec.LAYER_NORM_EPSILON) * p["scale"] + p["b"]


def _gpt_weights(rng):
    size = spec.GPT
    width = size.width
    blocks = [
        {
            "norm_attention": _norm_weights(width),
            "split": _dense_weights(rng, width, 3 * width),
            "join": _dense_weights(rng, width, width),
            "norm_dense": _norm_weights(width),
            "grow": _dense_weights(rng, width, 4 * width),
            "shrink": _dense_weights(rng, 4 * width, width),
        }
        for _ in range(size.layers)
    ]
    return {
        "tokens": rng.uniform(-0.05, 0.05, (size.vocabulary, width)).astype(np.float32),
        "positions": rng.uniform(-0.05, 0.05, (size.sequence, width)).astype(np.float32),
        "blocks": blocks,
        "norm": _norm_weights(width),
        "head": _glorot(rng, width, size.vocabulary),
    }, []


def _gpt(p, statistics, x, training):
    size = spec.GPT
    batch = x.shape[0]
    x = p["tokens"][x] + p["positions"]
    for block in p["blocks"]:
        packed = _dense(block["split"], _layer_norm(block["norm_attention"], x))
        packed = packed.reshape(batch, size.sequence, 3, size.heads, size.width // size.heads)
        q, k, v = packed[:, :, 0], packed[:, :, 1], packed[:, :, 2]
        mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True)
        x = x + _dense(block["join"], mixed.reshape(batch, size.sequence, size.width))
        grown = _dense(block["grow"], _layer_norm(block["norm_dense"], x))
        x = x + _dense(block["shrink"], jax.nn.gelu(grown, approximate=False))
    return _layer_norm(p["norm"], x) @ p["head"], statistics

"""The layers and configurations that every test of layers goes through.

One row: the name, the constructor's arguments, the inputs (a tuple for several arguments), and
more arguments of the call. Rows of the older layers are in `tests/keras/battery.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from distflow.core.convert import convert_to_tensor
from distflow.keras.engine.input_layer import Input
from tests.keras import battery
from tests.keras.battery import Sample

RNG = np.random.default_rng(5)


def floats(*shape: int) -> Any:
    return RNG.normal(size=shape).astype("float32")


@dataclass(frozen=True)
class Row(Sample):
    """A layer, its inputs, and more arguments of its call."""

    arguments: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        more = ",".join(f"{k}={v}" for k, v in self.arguments.items() if np.ndim(v) == 0)
        return super().__str__() + (f"({more})" if more else "")

    @property
    def given(self) -> list[Any]:
        """The inputs as a list of positional arguments: arrays, or lists of arrays."""
        return list(self.inputs) if isinstance(self.inputs, tuple) else [self.inputs]

    @property
    def arrays(self) -> list[Any]:
        """All input arrays."""
        return [a for x in self.given for a in (x if isinstance(x, list) else [x])]

    @property
    def is_random(self) -> bool:
        """Whether a training step draws numbers."""
        return _draws(self.settings)

    @property
    def is_differentiable(self) -> bool:
        return all(a.dtype.kind == "f" for a in self.arrays)

    def call(self, layer: Any, convert: Any = convert_to_tensor, arrays: Any = None,
             **more: Any) -> Any:  # fmt: skip
        """Returns the layer's outputs for the inputs (or others of the same structure)."""
        rest = iter([convert(a) for a in (self.arrays if arrays is None else arrays)])
        given = [[next(rest) for _ in x] if isinstance(x, list) else next(rest)
                 for x in self.given]  # fmt: skip
        kwargs = {k: convert(v) if isinstance(v, np.ndarray) else v
                  for k, v in self.arguments.items()}  # fmt: skip
        return layer(*given, **kwargs, **more)

    def shapes(self, batch: int | None = None) -> list[Any]:
        """Returns the shapes of the positional arguments, with that batch size."""

        def shape(a: Any) -> Any:
            return (batch, *a.shape[1:])

        return [[shape(a) for a in x] if isinstance(x, list) else shape(x) for x in self.given]

    def announced_shape(self, layer: Any) -> Any:
        """Returns what `compute_output_shape` says."""
        more = {k: v for k, v in self.arguments.items() if k == "reverse"}
        return layer.compute_output_shape(*self.shapes(), **more)

    def symbols(self) -> list[Any]:
        """Returns an Input for each array."""
        return [Input(a.shape[1:], dtype=str(a.dtype)) for a in self.arrays]


def _draws(settings: dict[str, Any]) -> bool:
    for name, value in settings.items():
        if isinstance(value, Sample) and _draws(value.settings):
            return True
        if isinstance(value, list) and any(isinstance(v, Sample) and _draws(v.settings)
                                           for v in value):  # fmt: skip
            return True
        if name in ("rate", "stddev", "dropout", "recurrent_dropout") and value:
            return True
    return False


def rows(table: Any) -> list[Row]:
    return [Row(*row) for row in table]


_X, _Y = floats(2, 3, 4), floats(2, 5, 4)
_MASK = np.array([[1, 1, 0, 1, 0], [1, 0, 1, 1, 1]], bool)
_SEEN = RNG.random((2, 3, 5)) > 0.3
_IMAGE, _VOLUME = floats(2, 7, 5, 3), floats(1, 5, 4, 6, 2)
_IDS = np.array([[0, 1, 2], [2, 0, 1]], "int32")

NORMALISATION = rows([
    ("RMSNormalization", {}, floats(2, 3, 4)),
    ("RMSNormalization", {"axis": [1, 2], "epsilon": 1e-3}, floats(2, 3, 4)),
    ("LayerNormalization", {"rms_scaling": True}, floats(4, 5)),
    ("GroupNormalization", {"groups": 2}, floats(2, 3, 4)),
    ("GroupNormalization", {"groups": -1, "center": False}, floats(2, 3, 3, 4)),
    ("GroupNormalization", {"groups": 3, "axis": 1, "scale": False}, floats(2, 6, 5)),
    ("SpectralNormalization", {"layer": Sample("Dense", {"units": 3})}, floats(2, 4)),
    ("SpectralNormalization", {"layer": Sample("Conv2D", {"filters": 2, "kernel_size": 2}),
                               "power_iterations": 3}, floats(2, 4, 4, 3)),
    ("AlphaDropout", {"rate": 0.3, "seed": 1}, floats(3, 4)),
    ("AlphaDropout", {"rate": 0.0, "noise_shape": (None, 1)}, floats(3, 4)),
])  # fmt: skip
POOLING = rows([
    *((f"Adaptive{kind}Pooling1D", {"output_size": n}, floats(2, 7, 3))
      for kind in ("Average", "Max") for n in (2, 3, 7)),
    # Not the maximum: Keras 3.15 on TensorFlow 2.21 ends with a floating point exception.
    ("AdaptiveAveragePooling1D", {"output_size": 1}, floats(2, 7, 3)),
    *((f"Adaptive{kind}Pooling2D", {"output_size": n}, _IMAGE)
      for kind in ("Average", "Max") for n in (2, (3, 5))),
    *((f"Adaptive{kind}Pooling3D", {"output_size": (2, 3, 4)}, _VOLUME)
      for kind in ("Average", "Max")),
    ("AdaptiveAveragePooling2D", {"output_size": 2, "data_format": "channels_first"}, _IMAGE),
])  # fmt: skip
PRODUCTS = rows([
    ("EinsumDense", {"equation": "ab,bc->ac", "output_shape": 3, "bias_axes": "c"}, floats(2, 4)),
    ("EinsumDense", {"equation": "abc,cd->abd", "output_shape": (None, 3), "bias_axes": "d",
                     "activation": "relu", "kernel_regularizer": "l2"}, floats(2, 3, 4)),
    ("EinsumDense", {"equation": "...x,xy->...y", "output_shape": 3, "bias_axes": "y"},
     floats(2, 3, 4)),
    ("EinsumDense", {"equation": "ab...,bc->ac...", "output_shape": 3, "bias_axes": "c"},
     floats(2, 4, 5)),
    ("EinsumDense", {"equation": "abc,cde->abde", "output_shape": (None, 2, 3),
                     "bias_axes": "de"}, floats(2, 3, 4)),
    ("EinsumDense", {"equation": "abc,cde->abde", "output_shape": (3, 2, 3),
                     "bias_axes": "be"}, floats(2, 3, 4)),
    ("EinsumDense", {"equation": "ab,bc->ac", "output_shape": 3, "lora_rank": 2}, floats(2, 4)),
    # Dense and Embedding of Keras 3.15 forget the constructor's lora_alpha when they are built.
    ("EinsumDense", {"equation": "ab,bc->ac", "output_shape": 3, "bias_axes": "c",
                     "lora_rank": 2, "lora_alpha": 3.0}, floats(2, 4)),
    ("Dense", {"units": 3, "lora_rank": 2}, floats(2, 4)),
    ("Embedding", {"input_dim": 3, "output_dim": 4, "lora_rank": 2}, _IDS),
    ("ReversibleEmbedding", {"input_dim": 3, "output_dim": 4}, _IDS),
    ("ReversibleEmbedding", {"input_dim": 3, "output_dim": 4, "logit_soft_cap": 2.0},
     floats(2, 4), {"reverse": True}),
    ("ReversibleEmbedding", {"input_dim": 3, "output_dim": 4, "tie_weights": False},
     floats(2, 4), {"reverse": True}),
])  # fmt: skip
ATTENTION = rows([
    ("Attention", {}, [_X, _Y]),
    ("Attention", {"use_scale": True, "score_mode": "concat"}, [_X, _Y, floats(2, 5, 4)]),
    ("Attention", {"use_scale": True}, [_X, floats(2, 5, 3), _Y], {"use_causal_mask": True}),
    ("Attention", {"dropout": 0.5, "seed": 1}, [_X, _Y]),
    ("AdditiveAttention", {}, [_X, _Y]),
    ("AdditiveAttention", {"use_scale": False}, [_X, _Y], {"use_causal_mask": True}),
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3}, (_X, _Y)),
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, "value_dim": 5, "output_shape": 6,
                            "use_bias": False}, (_X, _Y, floats(2, 5, 3))),
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3}, (_X, _X), {"use_causal_mask": True}),
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3}, (_X, _Y), {"attention_mask": _SEEN}),
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3}, (_X, _Y),
     {"value_mask": _MASK, "query_mask": _MASK[:, :3]}),
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, "sliding_window": 2}, (_Y, _Y)),
    ("GroupQueryAttention", {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2},
     (_X, _Y), {"query_mask": _MASK[:, :3]}),
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, "use_gate": True}, (_X, _Y)),
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, "dropout": 0.5, "seed": 2}, (_X, _Y)),
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 2, "attention_axes": (1, 2),
                            "output_shape": (2, 3)}, (floats(2, 3, 2, 4), floats(2, 2, 3, 4))),
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 2, "attention_axes": 2},
     (floats(2, 3, 2, 4), floats(2, 3, 5, 4))),
    ("GroupQueryAttention", {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2},
     (_X, _Y)),
    ("GroupQueryAttention", {"head_dim": 3, "num_query_heads": 2, "num_key_value_heads": 1,
                             "use_bias": False, "use_gate": True}, (_X, _Y, floats(2, 5, 3))),
    ("GroupQueryAttention", {"head_dim": 3, "num_query_heads": 2, "num_key_value_heads": 2,
                             "sliding_window": 2}, (_Y, _Y),
     {"use_causal_mask": True, "value_mask": _MASK}),
])  # fmt: skip

_SIGNALS = floats(2, 24, 2)
SOUND = rows([
    *(("STFTSpectrogram", {"mode": mode, "frame_length": 6, "frame_step": 3}, _SIGNALS)
      for mode in ("log", "magnitude", "psd", "real", "imag", "stft")),
    ("STFTSpectrogram", {"mode": "real", "frame_length": 5, "window": None, "scaling": None,
                         "padding": "same", "expand_dims": True}, _SIGNALS),
    ("STFTSpectrogram", {"mode": "psd", "frame_length": 6, "fft_length": 10, "window": "hamming",
                         "periodic": True, "scaling": "spectrum",
                         "data_format": "channels_first"}, floats(2, 2, 24)),
    ("STFTSpectrogram", {"mode": "stft", "frame_length": 4, "expand_dims": True,
                         "data_format": "channels_first"}, floats(2, 2, 24)),
    ("MelSpectrogram", {"fft_length": 16, "sequence_stride": 8, "num_mel_bins": 4,
                        "sampling_rate": 100, "min_freq": 1.0}, floats(2, 64)),
    ("MelSpectrogram", {"fft_length": 16, "sequence_stride": 4, "num_mel_bins": 3,
                        "sampling_rate": 100, "min_freq": 1.0, "max_freq": 40, "mag_exp": 1.0,
                        "power_to_db": False, "sequence_length": 8, "window": None},
     floats(2, 64)),
])  # fmt: skip

# Rows whose layers compute with floats and can be part of a training step.
LAYERS = [
    *(Row(s.name, s.settings, s.inputs) for s in battery.LAYERS),
    *NORMALISATION, *POOLING, *PRODUCTS, *ATTENTION, *SOUND,
]  # fmt: skip

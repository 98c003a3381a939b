"""Samples that every layer, loss, metric and optimizer goes through.

One row: the name, the constructor's arguments, and inputs. The batteries build the object from
distflow (and, marked `parity`, from Keras) and compare.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

import distflow.ops.operators  # noqa: F401  attaches + - * / to tensors

_RNG = np.random.default_rng(0)


def floats(*shape: int) -> Any:
    """Returns normal numbers, the same ones in every run."""
    return _RNG.normal(size=shape).astype("float32")


def rows_of_probabilities(*shape: int) -> Any:
    e = np.exp(2 * floats(*shape))
    return (e / e.sum(-1, keepdims=True)).astype("float32")


@dataclass(frozen=True)
class Sample:
    """A constructor call and the arguments of one use."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    inputs: Any = None

    def __str__(self) -> str:
        text = ",".join(f"{k}={v}" for k, v in self.settings.items())
        return f"{self.name}({text})"

    def make(self, module: Any, **more: Any) -> Any:
        """Returns the object; settings that are samples are made first, with the same `more`."""

        def made(value: Any) -> Any:
            if isinstance(value, list):
                return [made(v) for v in value]
            return value.make(module, **more) if isinstance(value, Sample) else value

        settings = {name: made(value) for name, value in self.settings.items()}
        return getattr(module, self.name)(**settings, **more)


def samples(rows: Any) -> list[Sample]:
    return [Sample(*row) for row in rows]


_IDS = np.array([[0, 1, 2], [2, 0, 1]])
LAYERS = samples([
    ("Dense", {"units": 3}, floats(2, 4)),
    ("Dense", {"units": 3, "activation": "relu", "use_bias": False}, floats(2, 5, 4)),
    ("Dense", {"units": 3, "activation": "softmax", "kernel_regularizer": "l2",
               "kernel_constraint": "max_norm"}, floats(2, 4)),
    ("Conv2D", {"filters": 4, "kernel_size": 3}, floats(2, 5, 6, 3)),
    ("Conv2D", {"filters": 4, "kernel_size": [3, 3], "activation": "relu", "padding": "same",
                "strides": 2}, floats(2, 5, 6, 3)),
    ("Conv2D", {"filters": 4, "kernel_size": (3, 2), "dilation_rate": 2, "padding": "same"},
     floats(2, 5, 6, 3)),
    ("Conv2D", {"filters": 4, "kernel_size": 3, "groups": 2}, floats(2, 5, 6, 4)),
    ("Conv1D", {"filters": 4, "kernel_size": 3, "padding": "causal", "dilation_rate": 2},
     floats(2, 6, 3)),
    ("Conv1D", {"filters": 4, "kernel_size": 2, "strides": 2}, floats(2, 7, 3)),
    ("Conv3D", {"filters": 2, "kernel_size": 2, "padding": "same"}, floats(2, 3, 3, 2, 2)),
    ("DepthwiseConv2D", {"kernel_size": 3, "depth_multiplier": 2}, floats(2, 5, 5, 3)),
    ("DepthwiseConv2D", {"kernel_size": 3, "strides": 2, "padding": "same"}, floats(2, 5, 5, 3)),
    ("DepthwiseConv1D", {"kernel_size": 3}, floats(2, 6, 3)),
    ("SeparableConv2D", {"filters": 4, "kernel_size": 3}, floats(2, 5, 5, 3)),
    ("SeparableConv1D", {"filters": 4, "kernel_size": 3}, floats(2, 6, 3)),
    ("Conv2DTranspose", {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same"},
     floats(2, 3, 3, 2)),
    ("Conv2DTranspose", {"filters": 3, "kernel_size": 3, "strides": 2}, floats(2, 3, 3, 2)),
    ("Conv2DTranspose", {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same",
                         "output_padding": 1}, floats(2, 3, 3, 2)),
    ("Conv1DTranspose", {"filters": 3, "kernel_size": 2, "strides": 3}, floats(2, 4, 2)),
    ("Conv3DTranspose", {"filters": 2, "kernel_size": 2, "strides": 2}, floats(1, 2, 2, 2, 2)),
    ("MaxPooling2D", {}, floats(2, 5, 6, 3)),
    ("MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, floats(2, 5, 6, 3)),
    ("MaxPooling1D", {}, floats(2, 6, 3)),
    ("MaxPooling3D", {}, floats(2, 4, 4, 4, 2)),
    ("AveragePooling2D", {"pool_size": 2}, floats(2, 5, 6, 3)),
    ("AveragePooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, floats(2, 5, 6, 3)),
    ("AveragePooling1D", {"pool_size": 2}, floats(2, 6, 3)),
    ("AveragePooling3D", {"pool_size": 2}, floats(2, 4, 4, 4, 2)),
    *((f"Global{kind}Pooling{n}D", {"keepdims": keep}, floats(2, *[3] * n, 4))
      for kind in ("Max", "Average") for n in (1, 2, 3) for keep in (False, True)),
    ("Flatten", {}, floats(2, 3, 4)),
    ("Flatten", {}, floats(2)),
    ("Flatten", {"data_format": "channels_first"}, floats(2, 3, 4, 5)),
    ("Reshape", {"target_shape": (2, -1)}, floats(2, 3, 4)),
    ("Reshape", {"target_shape": (12,)}, floats(2, 3, 4)),
    ("Permute", {"dims": (2, 1)}, floats(2, 3, 4)),
    ("RepeatVector", {"n": 3}, floats(2, 4)),
    ("ZeroPadding1D", {"padding": 2}, floats(2, 3, 4)),
    ("ZeroPadding2D", {"padding": ((1, 2), (3, 0))}, floats(2, 3, 4, 2)),
    ("ZeroPadding3D", {"padding": 1}, floats(1, 2, 2, 2, 2)),
    ("Cropping1D", {}, floats(2, 5, 4)),
    ("Cropping2D", {"cropping": ((1, 0), (0, 2))}, floats(2, 5, 4, 2)),
    ("Cropping3D", {"cropping": 1}, floats(1, 4, 4, 4, 2)),
    ("UpSampling1D", {}, floats(2, 3, 4)),
    ("UpSampling2D", {"size": (2, 3)}, floats(2, 3, 4, 2)),
    ("UpSampling3D", {}, floats(1, 2, 2, 2, 2)),
    ("Activation", {"activation": "tanh"}, floats(2, 4)),
    ("ReLU", {"max_value": 1.0, "negative_slope": 0.1, "threshold": 0.2}, floats(3, 4)),
    ("ReLU", {}, floats(3, 4)),
    ("LeakyReLU", {}, floats(3, 4)),
    ("ELU", {"alpha": 0.5}, floats(3, 4)),
    ("PReLU", {"alpha_initializer": "ones"}, floats(3, 4)),
    ("PReLU", {"shared_axes": [1]}, floats(3, 4, 2)),
    ("Softmax", {}, floats(3, 4)),
    ("Softmax", {"axis": [1, 2]}, floats(3, 4, 2)),
    ("Dropout", {"rate": 0.5}, floats(3, 4)),
    ("Dropout", {"rate": 0.0, "noise_shape": (None, 1)}, floats(3, 4)),
    ("SpatialDropout1D", {"rate": 0.5}, floats(3, 4, 2)),
    ("SpatialDropout2D", {"rate": 0.5}, floats(3, 4, 2, 2)),
    ("SpatialDropout3D", {"rate": 0.5}, floats(3, 2, 2, 2, 2)),
    ("GaussianNoise", {"stddev": 0.1}, floats(3, 4)),
    ("GaussianDropout", {"rate": 0.1, "seed": 3}, floats(3, 4)),
    ("BatchNormalization", {}, floats(5, 3)),
    ("BatchNormalization", {"axis": 1, "momentum": 0.9, "epsilon": 0.01, "center": False},
     floats(5, 3, 4)),
    ("BatchNormalization", {"scale": False}, floats(2, 3, 4, 2)),
    ("LayerNormalization", {}, floats(5, 3)),
    ("LayerNormalization", {"axis": [1, 2], "scale": False}, floats(5, 3, 4)),
    ("UnitNormalization", {}, floats(2, 3)),
    ("Embedding", {"input_dim": 3, "output_dim": 4}, _IDS),
    ("Embedding", {"input_dim": 3, "output_dim": 4, "mask_zero": True}, _IDS),
    *((name, {}, [floats(2, 3), floats(2, 3)]) for name in
      ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate")),
    ("Add", {}, [floats(2, 3), floats(2, 4, 3)]),
    ("Add", {}, [floats(2, 3), floats(2, 1), floats(2, 3)]),
    ("Concatenate", {"axis": 1}, [floats(2, 3, 4), floats(2, 1, 4)]),
    ("Dot", {"axes": 1}, [floats(2, 3, 4), floats(2, 3, 5)]),
    ("Dot", {"axes": (2, 1), "normalize": True}, [floats(2, 3, 4), floats(2, 4)]),
    ("Dot", {"axes": 1}, [floats(2, 3), floats(2, 3)]),
    ("Rescaling", {"scale": [1.0, 2.0], "offset": 1}, floats(3, 2)),
    ("Masking", {}, np.where(_RNG.random((2, 3, 1)) > 0.5, floats(2, 3, 2), 0).astype("float32")),
    ("Identity", {}, floats(2, 3)),
    ("ActivityRegularization", {"l1": 0.1, "l2": 0.2}, floats(2, 3)),
])  # fmt: skip

_TRUTH, _GUESS = floats(6, 4), floats(6, 4)
_LABELS = _RNG.integers(0, 4, size=6)
_ONE_HOT = np.eye(4, dtype="float32")[_LABELS]
_CHANCES, _OTHER_CHANCES = rows_of_probabilities(6, 4), rows_of_probabilities(6, 4)
_BITS = (_RNG.random((6, 4)) > 0.5).astype("float32")
_UNIT = _RNG.random((6, 4)).astype("float32")
_UNIT[0] = [0.0, 1.0, 0.5, 0.25]

_REGRESSION = [
    (name, {}, (_TRUTH, _GUESS))
    for name in (
        "MeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError",
        "CosineSimilarity",
    )
]  # fmt: skip
_CROSS_ENTROPIES = [
    ("SparseCategoricalCrossentropy", {}, (_LABELS, _CHANCES)),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, (_LABELS, _GUESS)),
    ("SparseCategoricalCrossentropy", {"ignore_class": 1}, (_LABELS, _CHANCES)),
    ("SparseCategoricalCrossentropy", {}, (_LABELS[:, None], _CHANCES)),
    ("CategoricalCrossentropy", {}, (_ONE_HOT, _CHANCES)),
    ("CategoricalCrossentropy", {"from_logits": True}, (_ONE_HOT, _GUESS)),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, (_ONE_HOT, _CHANCES)),
    ("BinaryCrossentropy", {}, (_BITS, _UNIT)),
    ("BinaryCrossentropy", {"from_logits": True}, (_BITS, _GUESS)),
    ("BinaryCrossentropy", {"label_smoothing": 0.2}, (_BITS, _UNIT)),
    ("BinaryCrossentropy", {}, (_BITS[:, 0], _UNIT[:, :1])),
    ("MeanSquaredLogarithmicError", {}, (abs(_TRUTH), abs(_GUESS))),
    ("Poisson", {}, (abs(_TRUTH), abs(_GUESS))),
    ("KLDivergence", {}, (_OTHER_CHANCES, _CHANCES)),
    ("Hinge", {}, (_BITS, _GUESS)),
    ("SquaredHinge", {}, (_BITS, _GUESS)),
    ("CategoricalHinge", {}, (_ONE_HOT, _GUESS)),
]
LOSSES = samples([
    *_REGRESSION,
    *_CROSS_ENTROPIES,
    ("Hinge", {}, (2 * _BITS - 1, _GUESS)),
    ("Huber", {}, (_TRUTH, _GUESS)),
    ("Huber", {"delta": 0.3}, (_TRUTH, _GUESS)),
    ("LogCosh", {}, (_TRUTH, _GUESS)),
    ("CosineSimilarity", {"axis": 0}, (_TRUTH, _GUESS)),
    ("BinaryFocalCrossentropy", {}, (_BITS, _UNIT)),
    ("BinaryFocalCrossentropy", {"from_logits": True, "apply_class_balancing": True},
     (_BITS, _GUESS)),
    ("CategoricalFocalCrossentropy", {}, (_ONE_HOT, _CHANCES)),
    ("Dice", {}, (_BITS, _UNIT)),
    ("Tversky", {"alpha": 0.2, "beta": 0.7, "axis": 1}, (_BITS, _UNIT)),
    ("MeanSquaredError", {}, (_TRUTH[:, 0], _GUESS[:, :1])),
])  # fmt: skip

METRICS = samples([
    *_REGRESSION,
    # Keras's metric does not take labels of one rank less; the loss does.
    *(row for row in _CROSS_ENTROPIES if "ignore_class" not in row[1]
      and not (row[0] == "BinaryCrossentropy" and row[2][0].ndim == 1)),
    ("RootMeanSquaredError", {}, (_TRUTH, _GUESS)),
    ("LogCoshError", {}, (_TRUTH, _GUESS)),
    ("Accuracy", {}, (np.rint(_TRUTH), np.rint(_GUESS))),
    ("BinaryAccuracy", {}, (_BITS, _UNIT)),
    ("BinaryAccuracy", {"threshold": 0.3}, (_BITS, _UNIT)),
    ("CategoricalAccuracy", {}, (_ONE_HOT, _CHANCES)),
    ("SparseCategoricalAccuracy", {}, (_LABELS, _CHANCES)),
    ("SparseCategoricalAccuracy", {}, (_LABELS[:, None], _CHANCES)),
    ("TopKCategoricalAccuracy", {"k": 2}, (_ONE_HOT, _CHANCES)),
    ("SparseTopKCategoricalAccuracy", {"k": 2}, (_LABELS, _CHANCES)),
    *((name, {"thresholds": limits}, (_BITS, _UNIT)) for name in
      ("TruePositives", "FalsePositives", "TrueNegatives", "FalseNegatives", "Precision",
       "Recall") for limits in (None, 0.3, [0.3, 0.7])),
    ("Precision", {"top_k": 2}, (_ONE_HOT, _CHANCES)),
    ("Recall", {"top_k": 2, "class_id": 1}, (_ONE_HOT, _CHANCES)),
    ("Precision", {"class_id": 2}, (_BITS, _UNIT)),
    *(("AUC", {"curve": curve, "summation_method": method}, (_BITS, _UNIT))
      for curve in ("ROC", "PR") for method in ("interpolation", "minoring", "majoring")),
    ("AUC", {"num_thresholds": 7}, (_BITS, _UNIT)),
    ("AUC", {"thresholds": [0.2, 0.5, 0.55]}, (_BITS, _UNIT)),
    ("AUC", {"from_logits": True}, (_BITS, _GUESS)),
    ("AUC", {"multi_label": True, "num_labels": 4}, (_BITS, _UNIT)),
])  # fmt: skip
WEIGHTS = _RNG.random(6).astype("float32")

OPTIMIZERS = samples([
    *((name, {}) for name in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax",
                              "Nadam", "Ftrl", "Lion")),
    *((name, {"learning_rate": 0.1, "weight_decay": 0.01, "clipnorm": 1.0}) for name in
      ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "Nadam", "Lion")),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("SGD", {"global_clipnorm": 0.5}),
    ("SGD", {"momentum": 0.9, "clipvalue": 0.5}),
    ("Adam", {"amsgrad": True}),
    ("RMSprop", {"momentum": 0.9}),
    ("RMSprop", {"centered": True, "momentum": 0.5}),
    ("Ftrl", {"l1_regularization_strength": 0.1, "l2_regularization_strength": 0.1, "beta": 0.1,
              "l2_shrinkage_regularization_strength": 0.1, "learning_rate": 0.1}),
    ("Adam", {"use_ema": True, "ema_momentum": 0.9}),
    ("Adam", {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 3}),
    ("Adam", {"gradient_accumulation_steps": 3}),
    ("SGD", {"gradient_accumulation_steps": 3, "momentum": 0.9, "weight_decay": 0.1}),
    ("Adam", {"gradient_accumulation_steps": 3, "use_ema": True, "ema_overwrite_frequency": 2}),
    ("Adam", {"loss_scale_factor": 4.0}),
])  # fmt: skip
SCHEDULES = samples([
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.9}),
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 4, "decay_rate": 0.5,
                          "staircase": True}),
    ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.9}),
    ("PiecewiseConstantDecay", {"boundaries": [3, 10], "values": [1.0, 0.5, 0.1]}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 10, "power": 2.0}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 7, "cycle": True}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 10, "alpha": 0.1}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 10, "warmup_target": 0.5,
                     "warmup_steps": 4}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 4}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 4, "t_mul": 1.0,
                             "m_mul": 0.5, "alpha": 0.1}),
])  # fmt: skip


def keras_or_skip() -> Any:
    """Returns Keras 3 on TensorFlow, or skips the test where it is not installed."""
    import os

    import pytest

    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    pytest.importorskip("tensorflow", reason="needs TensorFlow: pip install distflow[parity]")
    return pytest.importorskip("keras", reason="needs Keras 3: pip install distflow[parity]")


# At the end, so that the numbers above stay the same.
_SEQUENCES = floats(2, 4, 3)
LAYERS += samples([
    *((name, {"units": 3, **settings}, _SEQUENCES) for name in ("SimpleRNN", "LSTM", "GRU")
      for settings in (
          {}, {"return_sequences": True}, {"return_sequences": True, "go_backwards": True},
          {"go_backwards": True, "use_bias": False}, {"unroll": True, "dropout": 0.5},
          {"activation": "relu", "recurrent_dropout": 0.2, "kernel_regularizer": "l2",
           "recurrent_constraint": "max_norm"},
      )),
    ("LSTM", {"units": 3, "unit_forget_bias": False, "recurrent_activation": "hard_sigmoid",
              "implementation": 1, "seed": 3, "activity_regularizer": "l2"}, _SEQUENCES),
    ("GRU", {"units": 3, "reset_after": False}, _SEQUENCES),
    ("GRU", {"units": 3, "reset_after": False, "use_bias": False}, _SEQUENCES),
    *(("RNN", {"cell": Sample(cell, {"units": 3})}, _SEQUENCES)
      for cell in ("SimpleRNNCell", "LSTMCell", "GRUCell")),
    ("RNN", {"cell": [Sample("LSTMCell", {"units": 3}), Sample("GRUCell", {"units": 2})],
             "return_sequences": True}, _SEQUENCES),
    ("RNN", {"cell": [Sample("GRUCell", {"units": 3}), Sample("LSTMCell", {"units": 2})],
             "go_backwards": True}, _SEQUENCES),
    *(("Bidirectional", {"layer": Sample(name, {"units": 2, "return_sequences": all_outputs}),
                         "merge_mode": mode}, _SEQUENCES)
      for name, all_outputs, mode in (
          ("LSTM", False, "concat"), ("GRU", True, "concat"), ("LSTM", True, "sum"),
          ("SimpleRNN", False, "mul"), ("GRU", False, "ave"))),
    ("Bidirectional", {"layer": Sample("LSTM", {"units": 2}),
                       "backward_layer": Sample("GRU", {"units": 2, "go_backwards": True})},
     _SEQUENCES),
    ("TimeDistributed", {"layer": Sample("Dense", {"units": 3})}, _SEQUENCES),
    ("TimeDistributed", {"layer": Sample("Conv2D", {"filters": 2, "kernel_size": 2})},
     floats(2, 3, 4, 4, 2)),
    ("ConvLSTM1D", {"filters": 2, "kernel_size": 2}, floats(2, 3, 5, 2)),
    ("ConvLSTM2D", {"filters": 2, "kernel_size": [3, 2], "padding": "same", "strides": 2,
                    "return_sequences": True, "dropout": 0.5}, floats(2, 3, 5, 4, 2)),
    ("ConvLSTM2D", {"filters": 2, "kernel_size": 3, "dilation_rate": (1, 2), "use_bias": False,
                    "go_backwards": True, "recurrent_dropout": 0.5}, floats(2, 3, 5, 6, 2)),
    ("ConvLSTM3D", {"filters": 2, "kernel_size": 2, "unit_forget_bias": False},
     floats(1, 2, 3, 3, 3, 2)),
    ("TimeDistributed", {"layer": Sample("LSTM", {"units": 2})}, floats(2, 3, 4, 2)),
])  # fmt: skip

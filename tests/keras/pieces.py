"""Samples of losses, metrics, optimizers and schedules: those of the battery and the rarer ones.

Their numbers are drawn here, so that those of the battery stay as they are.
"""

from __future__ import annotations

import numpy as np

from tests.keras import battery
from tests.keras.battery import samples

_RNG = np.random.default_rng(11)
BATCH = 6


def _floats(*shape: int) -> np.ndarray:
    return _RNG.normal(size=shape).astype("float32")


def _unit(*shape: int) -> np.ndarray:
    return _RNG.random(shape).astype("float32")


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x)
    return (e / e.sum(-1, keepdims=True)).astype("float32")


_LABELS = np.array([0, 1, 0, 2, 1, 3])
_ONE_HOT = np.eye(4, dtype="float32")[_LABELS]
_CHANCES = _softmax(2 * _floats(BATCH, 4))
_BITS = (_RNG.random((BATCH, 4)) > 0.5).astype("float32")
_SCORES = _unit(BATCH, 4)
_TRUTH, _GUESS = _floats(BATCH, 4), _floats(BATCH, 4)
_EMBEDDED = _floats(BATCH, 5)
_EMBEDDED /= np.linalg.norm(_EMBEDDED, axis=-1, keepdims=True)
# Sequences of up to three labels in seven steps, some with repeated labels, one with none.
_SEQUENCES = np.array([[1, 2, 3], [2, 2, 0], [4, 0, 0], [3, 1, 3], [0, 0, 0], [1, 1, 1]])
_STEPS = _floats(BATCH, 7, 5)
_IMAGE, _OTHER_IMAGE = _unit(BATCH, 3, 3, 2), (_unit(BATCH, 3, 3, 2) > 0.5).astype("float32")

LOSSES = battery.LOSSES + samples([
    ("CTC", {}, (_SEQUENCES, _STEPS)),
    ("CTC", {}, (_SEQUENCES[:, :2], _STEPS[:, :5])),
    ("Circle", {}, (_LABELS, _EMBEDDED)),
    ("Circle", {"gamma": 5.0, "margin": 0.2, "remove_diagonal": False}, (_LABELS, _EMBEDDED)),
    ("CategoricalGeneralizedCrossEntropy", {}, (_LABELS, _CHANCES)),
    ("CategoricalGeneralizedCrossEntropy", {"q": 0.9}, (_LABELS, _CHANCES)),
    ("CategoricalFocalCrossentropy", {"from_logits": True, "alpha": 0.4, "gamma": 1.0},
     (_ONE_HOT, _GUESS)),
    ("CategoricalFocalCrossentropy", {"label_smoothing": 0.1}, (_ONE_HOT, _CHANCES)),
    ("BinaryFocalCrossentropy", {"label_smoothing": 0.1, "gamma": 3.0}, (_BITS, _SCORES)),
    ("Dice", {"axis": (1, 2, 3)}, (_OTHER_IMAGE, _IMAGE)),
    ("Tversky", {}, (_OTHER_IMAGE, _IMAGE)),
    ("Tversky", {"alpha": 0.3, "beta": 0.6, "axis": (1, 2, 3)}, (_OTHER_IMAGE, _IMAGE)),
    ("MeanSquaredError", {}, (_TRUTH, _GUESS)),
    ("Huber", {"delta": 2.0}, (3 * _TRUTH, _GUESS)),
    ("LogCosh", {}, (30 * _TRUTH, _GUESS)),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.3}, (_BITS, _GUESS)),
    ("CategoricalCrossentropy", {"axis": 1},
     (_ONE_HOT, _CHANCES)),
    ("SparseCategoricalCrossentropy", {"from_logits": True, "ignore_class": 0},
     (_LABELS, _GUESS)),
])  # fmt: skip

_CLASSES, _GUESSED = _RNG.integers(0, 3, BATCH), _RNG.integers(0, 3, BATCH)
_MAPS, _GUESSED_MAPS = _RNG.integers(0, 3, (BATCH, 4)), _RNG.integers(0, 3, (BATCH, 4))
_ONE_HOT_3 = np.eye(3, dtype="float32")[_CLASSES]
_SCORES_3 = _unit(BATCH, 3)

METRICS = battery.METRICS + samples([
    *((name, {given: value, **more}, (_BITS, _SCORES)) for name, given in (
        ("SensitivityAtSpecificity", "specificity"), ("SpecificityAtSensitivity", "sensitivity"),
        ("PrecisionAtRecall", "recall"), ("RecallAtPrecision", "precision"),
    ) for value, more in ((0.5, {}), (0.7, {"num_thresholds": 5}), (0.3, {"num_thresholds": 1}),
                          (0.4, {"class_id": 2}))),
    *((name, {"average": average, **more}, (_BITS, _SCORES)) for name in ("FBetaScore", "F1Score")
      for average in (None, "micro", "macro", "weighted")
      for more in ({}, {"threshold": 0.4}, *([{"beta": 2.0}] if name == "FBetaScore" else []))),
    *(("R2Score", {"class_aggregation": kind, "num_regressors": count}, (_TRUTH, _GUESS))
      for kind in (None, "uniform_average", "variance_weighted_average") for count in (0, 3)),
    *((name, settings, (_TRUTH, _GUESS)) for name in
      ("PearsonCorrelation", "ConcordanceCorrelation") for settings in ({}, {"axis": 1})),
    ("IoU", {"num_classes": 3, "target_class_ids": [0, 2]}, (_CLASSES, _GUESSED)),
    ("IoU", {"num_classes": 3, "target_class_ids": [1], "dtype": "float32"},
     (_CLASSES, _GUESSED)),
    ("IoU", {"num_classes": 3, "target_class_ids": [0, 1], "sparse_y_true": False,
             "sparse_y_pred": False, "dtype": "float32"}, (_ONE_HOT_3, _SCORES_3)),
    ("BinaryIoU", {}, (_BITS[:, 0], _SCORES[:, 0])),
    ("BinaryIoU", {"target_class_ids": [1], "threshold": 0.3, "dtype": "float32"},
     (_BITS[:, 0], _SCORES[:, 0])),
    ("MeanIoU", {"num_classes": 3}, (_CLASSES, _GUESSED)),
    ("MeanIoU", {"num_classes": 3, "ignore_class": 1, "dtype": "float32"}, (_CLASSES, _GUESSED)),
    ("OneHotIoU", {"num_classes": 3, "target_class_ids": [0, 2], "dtype": "float32"},
     (_ONE_HOT_3, _SCORES_3)),
    ("OneHotMeanIoU", {"num_classes": 3, "dtype": "float32"}, (_ONE_HOT_3, _SCORES_3)),
    ("OneHotMeanIoU", {"num_classes": 3, "sparse_y_pred": True, "dtype": "float32"},
     (_ONE_HOT_3, _GUESSED)),
    ("SparseTopKCategoricalAccuracy", {"k": 1}, (_LABELS, _CHANCES)),
    ("TopKCategoricalAccuracy", {"k": 3}, (_ONE_HOT, _CHANCES)),
    ("AUC", {"multi_label": True, "num_labels": 4, "label_weights": [1.0, 2.0, 0.5, 0.25]},
     (_BITS, _SCORES)),
    ("AUC", {"curve": "PR", "num_thresholds": 11, "multi_label": True, "num_labels": 4},
     (_BITS, _SCORES)),
    ("CosineSimilarity", {"axis": 1}, (_TRUTH, _GUESS)),
    ("Precision", {"thresholds": [0.0, 0.5, 1.0], "class_id": 1}, (_BITS, _SCORES)),
    ("Recall", {"top_k": 1}, (_ONE_HOT, _CHANCES)),
])  # fmt: skip


def weights_of(sample: battery.Sample) -> np.ndarray:
    """Returns a weight an example; whole numbers for metrics that count in integers."""
    whole = "IoU" in sample.name and "dtype" not in sample.settings
    return np.array([2, 1, 0, 3, 1, 1]) if whole else battery.WEIGHTS


_EXTRAS = {"learning_rate": 0.1, "weight_decay": 0.01, "clipnorm": 1.0}
OPTIMIZERS = battery.OPTIMIZERS + samples([
    *((name, settings) for name in ("Lamb", "Adafactor", "ScheduleFreeAdamW", "Muon")
      for settings in ({}, _EXTRAS, {"gradient_accumulation_steps": 3},
                       {"use_ema": True, "ema_overwrite_frequency": 4})),
    ("Lamb", {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3}),
    ("Adafactor", {"relative_step": False, "beta_2_decay": -0.5, "clip_threshold": 0.5}),
    ("ScheduleFreeAdamW", {"warmup_steps": 5, "beta_1": 0.7, "learning_rate": 0.05}),
    ("Muon", {"nesterov": False, "rms_rate": None, "adam_lr_ratio": 0.1, "momentum": 0.8}),
    ("Muon", {"exclude_layers": ["first"], "adam_weight_decay": None}),
    ("Muon", {"weight_decay": None, "ns_steps": 2}),
    *((name, {"global_clipnorm": 0.1}) for name in ("Adam", "RMSprop", "Adagrad", "Ftrl")),
    *((name, {"clipvalue": 0.1}) for name in ("Adam", "Nadam", "Adadelta", "Lion")),
    ("AdamW", {"weight_decay": 0.1, "amsgrad": True}),
    ("Ftrl", {"learning_rate_power": -0.2}),
    ("SGD", {"use_ema": True, "ema_momentum": 0.5, "momentum": 0.9, "nesterov": True}),
])  # fmt: skip
SCHEDULES = battery.SCHEDULES + samples([
    ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 4, "decay_rate": 0.5,
                          "staircase": True}),
    ("PiecewiseConstantDecay", {"boundaries": [5], "values": [0.1, 0.01]}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 10,
                         "end_learning_rate": 0.05, "power": 0.5}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 3, "t_mul": 1.5,
                             "m_mul": 0.8}),
])  # fmt: skip

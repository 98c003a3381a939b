"""The models compared: shapes, random data, and the settings every framework must share."""

from dataclasses import dataclass

import numpy as np

LEARNING_RATE = 1e-3
ADAM_EPSILON = 1e-7
BATCH_NORM_EPSILON = 1e-3
BATCH_NORM_MOMENTUM = 0.9  # share of the old average that is kept
LAYER_NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class Spec:
    """One model: the shape of an example, of its label, and what is asked of it."""

    title: str
    batch: int
    shape: tuple[int, ...]
    label_shape: tuple[int, ...] = ()
    classes: int = 10
    is_image: bool = False
    is_tokens: bool = False
    inference: tuple[int, ...] = ()
    bar: float = 0.7  # ours / best peer that a training step must not exceed


@dataclass(frozen=True)
class Transformer:
    """Sizes of the small GPT."""

    layers: int = 4
    width: int = 256
    heads: int = 4
    sequence: int = 128
    vocabulary: int = 256


GPT = Transformer()
LSTM_UNITS = 128
MLP_UNITS = 512
RESNET_STAGES = (16, 32, 64)
RESNET_BLOCKS = 3

SPECS = {
    "cnn": Spec("MNIST CNN of the seed", 32, (28, 28, 1), is_image=True, inference=(1, 64)),
    "mlp": Spec("MLP 784-512-512-10", 64, (784,), inference=(1, 64)),
    "resnet": Spec("ResNet-20", 64, (32, 32, 3), is_image=True, inference=(1, 64), bar=0.85),
    "gpt": Spec(
        "GPT, 4 layers, width 256, sequence 128",
        8,
        (GPT.sequence,),
        label_shape=(GPT.sequence,),
        classes=GPT.vocabulary,
        is_tokens=True,
    ),
    "lstm": Spec("LSTM 128, sequence 64", 32, (64, 64), bar=0.85),
}


def data(model: str, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns one batch of random examples (images are NHWC) and int32 labels."""
    spec = SPECS[model]
    rng = np.random.default_rng(0)
    shape = (batch, *spec.shape)
    if spec.is_tokens:
        x = rng.integers(0, spec.classes, shape, dtype=np.int32)
    else:
        x = rng.random(shape, dtype=np.float32)
    return x, rng.integers(0, spec.classes, (batch, *spec.label_shape), dtype=np.int32)

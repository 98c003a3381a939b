"""ConvNeXt, tiny to extra large: convolutions arranged as transformers are.

Source: Liu et al. 2022, arXiv:2201.03545.
"""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.keras import initializers, layers, models, registry, settings
from distflow.keras.applications.building import KERAS_FILES, Net, Request, Weights
from distflow.keras.applications.imagenet_utils import decode_predictions
from distflow.keras.applications.kinds import unchanged as preprocess_input

_EPSILON = 1e-6
_FIRST_SCALE = 1e-6
_MEANS = [0.485 * 255, 0.456 * 255, 0.406 * 255]
_VARIANCES = [(0.229 * 255) ** 2, (0.224 * 255) ** 2, (0.225 * 255) ** 2]
# Name -> blocks of the four stages, filters of the first, SHA-256 sums.
_VARIANTS: dict[str, tuple[tuple[int, ...], int, tuple[str, str]]] = {
    "ConvNeXtTiny": ((3, 3, 9, 3), 96, (
        "8ae6e78ce2933352b1ef4008e6dd2f17bc40771563877d156bc6426c7cf503ff",
        "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1")),
    "ConvNeXtSmall": ((3, 3, 27, 3), 96, (
        "ce1277d8f1ee5a0ef0e171469089c18f5233860ceaf9b168049cb9263fd7483c",
        "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab")),
    "ConvNeXtBase": ((3, 3, 27, 3), 128, (
        "52cbb006d3dadd03f6e095a8ca1aca47aecdd75acb4bc74bce1f5c695d0086e6",
        "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45")),
    "ConvNeXtLarge": ((3, 3, 27, 3), 192, (
        "070c5ed9ed289581e477741d3b34beffa920db8cf590899d6d2c67fba2a198a6",
        "96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd")),
    "ConvNeXtXLarge": ((3, 3, 27, 3), 256, (
        "c1f5ccab661354fc3a79a10fa99af82f0fbf10ec65cb894a3ae0815f17a889ee",
        "de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05")),
}  # fmt: skip


@registry.register_keras_serializable("distflow.applications")
class LayerScale(layers.Layer):
    """x times a trainable factor a channel, small at the beginning.

    Source: Touvron et al. 2021, arXiv:2103.17239.
    """

    def __init__(self, init_values: float, projection_dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.init_values = init_values
        self.projection_dim = projection_dim

    def build(self, input_shape: Any) -> None:
        """Makes the factors."""
        self.gamma = self.add_weight(
            (self.projection_dim,), initializers.Constant(self.init_values), name="variable"
        )

    def call(self, inputs: Any) -> Any:
        """Returns the product."""
        return inputs * self.gamma

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        own = {"init_values": self.init_values, "projection_dim": self.projection_dim}
        return super().get_config() | own


def _block(net: Net, filters: int, name: str) -> Net:
    beginning = net.x
    net.conv(filters, 7, padding="same", bias=True, groups=filters, name=f"{name}_depthwise_conv")
    net.put(layers.LayerNormalization(epsilon=_EPSILON, name=f"{name}_layernorm"))
    net.put(layers.Dense(4 * filters, name=f"{name}_pointwise_conv_1"))
    net.act("gelu", f"{name}_gelu")
    net.put(layers.Dense(filters, name=f"{name}_pointwise_conv_2"))
    net.put(LayerScale(_FIRST_SCALE, filters, name=f"{name}_layer_scale"))
    # Blocks are left out at a rate of 0 in all published models.
    net.act("linear", f"{name}_identity")
    net.x = beginning + net.x
    return net


def _smaller(name: str, stage: int, filters: int) -> Any:
    """Returns the layers before a stage, which make images smaller."""
    if stage == 0:
        parts = [
            layers.Conv2D(filters, 4, strides=4, name=f"{name}_stem_conv"),
            layers.LayerNormalization(epsilon=_EPSILON, name=f"{name}_stem_layernorm"),
        ]
        return models.Sequential(parts, name=f"{name}_stem")
    i = stage - 1
    parts = [
        layers.LayerNormalization(epsilon=_EPSILON, name=f"{name}_downsampling_layernorm_{i}"),
        layers.Conv2D(filters, 2, strides=2, name=f"{name}_downsampling_conv_{i}"),
    ]
    return models.Sequential(parts, name=f"{name}_downsampling_block_{i}")


def _top(net: Net, ask: Request, name: str) -> Net:
    if ask.include_top:
        net.put(layers.GlobalAveragePooling2D(name=f"{name}_head_gap"))
        net.put(layers.LayerNormalization(epsilon=_EPSILON, name=f"{name}_head_layernorm"))
        return net.put(layers.Dense(ask.classes, activation=ask.classifier_activation,
                                    name=f"{name}_head_dense"))  # fmt: skip
    return ask.pool(net).put(layers.LayerNormalization(epsilon=_EPSILON))


def _variant(where: str) -> Any:
    blocks, first, (with_top, without) = _VARIANTS[where]
    own_name = f"convnext_{where.removeprefix('ConvNeXt').lower()}"
    files = Weights(f"{KERAS_FILES}convnext/", (
        (f"{own_name}.h5", f"sha256:{with_top}"),
        (f"{own_name}_notop.h5", f"sha256:{without}")))  # fmt: skip

    def make(
        include_top: bool = True, include_preprocessing: bool = True, weights: Any = "imagenet",
        input_tensor: Any = None, input_shape: Any = None, pooling: str | None = None,
        classes: int = 1000, classifier_activation: Any = "softmax", name: str = own_name,
    ) -> Any:  # fmt: skip
        if settings.image_data_format() == "channels_first":
            raise errors.invalid(where, "image_data_format 'channels_last'", "channels_first")
        ask = Request(where, include_top, weights, input_tensor, input_shape, pooling, classes,
                      classifier_activation)  # fmt: skip
        net = ask.start(224)
        beginning = net.x
        if include_preprocessing and net.channels == 3:
            net.put(layers.Normalization(mean=_MEANS, variance=_VARIANCES,
                                         name=f"{name}_prestem_normalization"))  # fmt: skip
        for stage, count in enumerate(blocks):
            filters = first * 2**stage
            net.put(_smaller(name, stage, filters))
            for i in range(count):
                _block(net, filters, f"{name}_stage_{stage}_block_{i}")
        return ask.finish(beginning, _top(net, ask, name), name, files)

    make.__name__ = make.__qualname__ = where
    make.__doc__ = f"Returns {where}; arguments are those of `keras.applications.{where}`."
    return make


ConvNeXtTiny = _variant("ConvNeXtTiny")
ConvNeXtSmall = _variant("ConvNeXtSmall")
ConvNeXtBase = _variant("ConvNeXtBase")
ConvNeXtLarge = _variant("ConvNeXtLarge")
ConvNeXtXLarge = _variant("ConvNeXtXLarge")

__all__ = [*_VARIANTS, "decode_predictions", "preprocess_input"]

"""RandAugment and AugMix: random layers applied in random order."""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.function.control_flow import switch_case
from distflow.keras import random
from distflow.keras.layers.arguments import positive
from distflow.keras.layers.preprocessing.image_layer import (
    ImageLayer,
    factor,
    value_range,
)
from distflow.keras.layers.preprocessing.random_color import (
    RandomBrightness,
    RandomColorDegeneration,
    RandomContrast,
)
from distflow.keras.layers.preprocessing.random_filter import (
    AutoContrast,
    Equalization,
    RandomPosterization,
    RandomSharpness,
    Solarization,
)
from distflow.keras.layers.preprocessing.random_geometry import (
    RandomRotation,
    RandomShear,
    RandomTranslation,
)
from distflow.keras.layers.preprocessing.resampling import check_interpolation
from distflow.ops import array, math
from distflow.ops.reduce import reduce_sum

# Of the largest strength: a turn of a full circle, and one bit fewer than all.
_BITS = 8


class _Choosing(ImageLayer):
    """A layer that applies some of its layers, the same ones to all images of a batch."""

    def __init__(self, value_range_: Any, factor_: Any, interpolation: str, seed: Any,
                 data_format: str | None, **kwargs: Any):  # fmt: skip
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        where = type(self).__name__
        self.value_range = value_range(where, value_range_)
        self.factor = factor(where, factor_, 0, 1, "factor", 0)
        self.interpolation = check_interpolation(where, interpolation, ("nearest", "bilinear"))
        self._choices = self._made()

    def _made(self) -> list[Any]:
        """The layers among which one is chosen."""
        high = self.factor[1]
        common: dict[str, Any] = {
            "data_format": self.data_format,
            "seed": self.seed,
            "dtype": self.dtype_policy,
        }
        moved = {**common, "interpolation": self.interpolation, "fill_mode": "constant"}
        ranged = {**common, "value_range": self.value_range}
        whole = {k: v for k, v in ranged.items() if k != "seed"}
        found: list[Any] = [
            RandomShear(self.factor, self.factor, **moved),
            RandomTranslation(self.factor, self.factor, **moved),
            RandomRotation(self.factor, **moved),
            RandomPosterization((_BITS - int(high * (_BITS - 1)), _BITS), **ranged),
            Solarization(self.factor, self.factor, **ranged),
            AutoContrast(**whole),
            Equalization(**whole),
        ]
        if self._takes_colours():
            found += [
                RandomBrightness(self.factor, **ranged), RandomContrast(self.factor, **ranged),
                RandomColorDegeneration(self.factor, **ranged),
                RandomSharpness(self.factor, **ranged),
            ]  # fmt: skip
        return found

    def _takes_colours(self) -> bool:
        return True

    def _drawn(self, data: Any, seed: Any) -> list[Any]:
        """Returns what each layer would do; {} stands for nothing to draw."""
        return [layer.get_random_transformation(data, True, seed) or {} for layer in self._choices]

    def _choice(self, seed: Any, first: int = 0) -> Any:
        """Returns the index of a layer; `first` = -1 draws "none of them" as well."""
        drawn = self._draw(1, float(first), float(len(self._choices)), seed)[0]
        return math.cast(math.floor(drawn), "int32")

    def _chosen(self, method: str, x: Any, index: Any, drawn: list[Any]) -> Any:
        """Returns x after the layer of that index; x itself for -1."""

        def applied(layer: Any, transformation: Any) -> Any:
            return lambda: math.cast(getattr(layer, method)(x, transformation, True), x.dtype)

        branches = [applied(layer, t) for layer, t in zip(self._choices, drawn)]
        return switch_case(index + 1, [lambda: x + 0, *branches])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {
            "value_range": self.value_range, "factor": self.factor,
            "interpolation": self.interpolation, "seed": self.seed,
        }  # fmt: skip


class RandAugment(_Choosing):
    """Applies `num_ops` layers, drawn among shears, shifts, turns and changes of colour.

    Args:
      num_ops: how many are applied, one after another.
      factor: strength of all of them: f for (0, f), or two in [0, 1].

    Source: Cubuk et al. 2019, arXiv:1909.13719.
    """

    def __init__(self, value_range: Any = (0, 255), num_ops: int = 2, factor: Any = 0.5,
                 interpolation: str = "bilinear", seed: Any = None,
                 data_format: str | None = None, **kwargs: Any):  # fmt: skip
        super().__init__(value_range, factor, interpolation, seed, data_format, **kwargs)
        self.num_ops = positive("RandAugment", "num_ops", num_ops)

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws which layers are applied, and what each of them does."""
        if not training:
            return None
        choices = [self._choice(seed) for _ in range(self.num_ops)]
        return {"choices": choices, "transforms": self._drawn(data, seed)}

    def transform_images(self, images: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the images after the layers."""
        return self._all("transform_images", self._cast(images), transformation)

    def transform_segmentation_masks(self, segmentation_masks: Any, transformation: Any,
                                     training: Any = True) -> Any:  # fmt: skip
        """Returns the masks moved as their images."""
        return self._all("transform_segmentation_masks", segmentation_masks, transformation)

    def _all(self, method: str, x: Any, transformation: Any) -> Any:
        if transformation is None:
            return x
        for index in transformation["choices"]:
            x = self._chosen(method, x, index, transformation["transforms"])
        return x

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"num_ops": self.num_ops}


class AugMix(_Choosing):
    """Mixes images with several chains of changes of themselves.

    Args:
      num_chains: number of chains, mixed by shares of a Dirichlet(alpha) distribution.
      chain_depth: layers of a chain at most; each is left out at times.
      factor: strength of all layers: f for (0, f), or two in [0, 1].
      alpha: of the distributions of shares; the image itself has one of Beta(alpha, alpha).
      all_ops: whether changes of brightness, contrast, colour and sharpness are among them.

    Source: Hendrycks et al. 2019, arXiv:1912.02781.
    """

    def __init__(self, value_range: Any = (0, 255), num_chains: int = 3, chain_depth: int = 3,
                 factor: Any = 0.3, alpha: float = 1.0, all_ops: bool = True,
                 interpolation: str = "bilinear", seed: Any = None,
                 data_format: str | None = None, **kwargs: Any):  # fmt: skip
        self.all_ops = all_ops
        super().__init__(value_range, factor, interpolation, seed, data_format, **kwargs)
        self.num_chains = positive("AugMix", "num_chains", num_chains)
        self.chain_depth = positive("AugMix", "chain_depth", chain_depth)
        if not isinstance(alpha, int | float) or alpha <= 0:
            raise errors.invalid("AugMix", "`alpha` above 0", f"alpha={alpha}")
        self.alpha = alpha

    def _takes_colours(self) -> bool:
        return self.all_ops

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws the shares, and the layers of each chain."""
        if not training:
            return None
        source = seed or self.generator
        heights = random.gamma([self.num_chains], self.alpha, "float32", seed=source)
        chains = [[(self._choice(seed, first=-1), self._drawn(data, seed))
                   for _ in range(self.chain_depth)] for _ in range(self.num_chains)]  # fmt: skip
        return {
            "chain_mixing_weights": heights / math.maximum(reduce_sum(heights), 1e-12),
            "weight_sample": random.beta([1], self.alpha, self.alpha, "float32", seed=source)[0],
            "chains": chains,
        }

    def transform_images(self, images: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the images mixed with their changes."""
        x = self._cast(images)
        if transformation is None:
            return x
        shares = math.cast(transformation["chain_mixing_weights"], x.dtype)
        changed = x * 0
        for i, chain in enumerate(transformation["chains"]):
            y = x
            for index, drawn in chain:
                y = self._chosen("transform_images", y, index, drawn)
            changed = changed + shares[i] * y
        share = array.reshape(math.cast(transformation["weight_sample"], x.dtype), [1, 1, 1, 1])
        return share * x + (1.0 - share) * changed

    def transform_segmentation_masks(self, segmentation_masks: Any, transformation: Any,
                                     training: Any = True) -> Any:  # fmt: skip
        """Returns the masks as they are: what is mixed has no one mask."""
        return segmentation_masks

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {
            "num_chains": self.num_chains, "chain_depth": self.chain_depth, "alpha": self.alpha,
            "all_ops": self.all_ops,
        }  # fmt: skip

"""Weights as integers of eight bits, with a scale for each output: `layer.quantize("int8")`.

The integers of inputs and weights are multiplied exactly; gradients flow to the inputs as if
nothing had been rounded, and to no integers. LoRA can be learned beside them.

Source: Jacob et al. 2018, arXiv:1712.05877; Dettmers et al. 2022, LLM.int8(), arXiv:2208.07339.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.autodiff import custom_gradient
from distflow.base import errors, shapes
from distflow.core.convert import convert_to_tensor
from distflow.keras import dtype_policy
from distflow.keras.layers.lora import LoRA
from distflow.keras.quantizers import configs, rounding
from distflow.ops import array, math

# Sums of this many products of integers of eight bits are exact in float32.
_EXACT = 1 << 10


class Quantized(LoRA):
    """Mixin of layers whose `_main` weight can be made of integers.

    Subclasses define which axes of the weight share a scale (`_scaled_axes`).
    """

    quantization_config: Any = None
    dtype_policy: Any

    @property
    def quantization_mode(self) -> str | None:
        """ "int8", or None for floats."""
        return self.dtype_policy.quantization_mode

    def _set_quantization(self, config: Any) -> None:
        """Keeps a configuration, also as `get_config` described it."""
        if isinstance(config, dict):
            config = configs.Int8QuantizationConfig.from_config(config["config"])
        if config is not None:
            configs.resolve(type(self).__name__, None, config)
        self.quantization_config = config

    def _described_quantization(self) -> dict[str, Any]:
        config = self.quantization_config
        if config is None:
            return {"quantization_config": None}
        return {"quantization_config": {
            "module": "keras.quantizers", "class_name": type(config).__name__,
            "config": config.get_config(), "registered_name": None,
        }}  # fmt: skip

    # -- weights -----------------------------------------------------------------------------------

    def _scaled_axes(self) -> tuple[int, ...]:
        """The axes of the weight along which one scale holds."""
        raise AssertionError("subclasses define _scaled_axes")

    def _scale_of(self, kept: Any) -> Any:
        """The layer's form of a tensor of scales that has ones along those axes."""
        return array.squeeze(kept, list(self._scaled_axes()))

    def _spread_scale(self, scale: Any) -> Any:
        """The form that divides the integers of the weight."""
        return array.reshape(scale, self._kept_shape(self._main_weight.shape))

    def _kept_shape(self, shape: Any) -> list[int]:
        return [1 if i in self._scaled_axes() else int(n) for i, n in enumerate(shape)]

    def _add_integers(self, shape: Any) -> None:
        """Makes the integers and their scale, when the layer is built."""
        layer: Any = self
        setattr(self, f"_{self._main}", layer.add_weight(
            name=self._main, shape=shape, initializer="zeros", dtype="int8", trainable=False,
        ))  # fmt: skip
        scale = self._scale_of(convert_to_tensor(np.ones(self._kept_shape(shape))))
        setattr(self, f"{self._main}_scale", layer.add_weight(
            name=f"{self._main}_scale", shape=tuple(scale.shape), initializer="ones",
            trainable=False,
        ))  # fmt: skip

    @property
    def _scale(self) -> Any:
        return getattr(self, f"{self._main}_scale")

    def quantize(self, mode: str | None = None, type_check: bool = True,
                 config: Any = None) -> None:  # fmt: skip
        """Makes the weight integers; the floats are gone. Possible once, after build.

        Args:
          mode: "int8".
          type_check: refuse classes derived from the layer, whose `call` may be another.
          config: `keras.quantizers.Int8QuantizationConfig`; the default rounds the inputs, too.

        Raises:
          NotImplementedError: for a derived class.
          ValueError: for another mode, before build, or for the second time.
        """
        where = type(self).__name__
        if type_check and "_quantizes" not in type(self).__dict__:
            raise NotImplementedError(
                f"Layer {where} does not have a `quantize` method implemented."
            )
        found = configs.resolve(where, mode, config)
        if not self.built or self.quantization_mode is not None or self.lora_enabled:
            raise errors.invalid(
                where, "quantize: a layer that is built, of floats, and without LoRA",
                f"built={self.built}, mode={self.quantization_mode}, lora={self.lora_enabled}",
                "Call enable_lora after quantize.",
            )  # fmt: skip
        # All that can be refused comes before the first change: the floats stay whole then.
        policy = dtype_policy.get(f"int8_from_{self.dtype_policy.name}")
        floats = self._main_weight
        quantizer = found.weight_quantizer or rounding.AbsMaxQuantizer(axis=self._scaled_axes())
        values, scale = quantizer(floats, to_numpy=True)
        kept = self._kept_shape(floats.shape)
        if list(scale.shape) != kept or tuple(values.shape) != tuple(floats.shape):
            raise errors.invalid(
                where, f"a weight_quantizer of scales {shapes.text(kept)} for its weight",
                f"integers {shapes.text(values.shape)}, scales {shapes.text(scale.shape)}",
                f"Its axis must be {self._scaled_axes()}.",
            )  # fmt: skip
        self.quantization_config = config if not isinstance(config, str) else None
        own: list[Any] = self._own_weights  # type: ignore[attr-defined]
        own[:] = [v for v in own if v is not floats]
        delattr(self, f"_{self._main}")
        self.built = False
        self._add_integers(tuple(floats.shape))
        self.built = True
        self._main_weight.assign(values)
        self._scale.assign(self._scale_of(scale))
        self.dtype_policy = policy

    def _dequantized(self) -> Any:
        """The weight as floats."""
        return math.cast(self._main_weight, self._scale.dtype) / self._spread_scale(self._scale)

    def _with_lora(self) -> Any:
        """The main weight: integers alone, floats together with what LoRA has learned."""
        if self.quantization_mode is None or not self.lora_enabled:
            return super()._with_lora()
        return self._dequantized() + self._learned()

    # -- products ----------------------------------------------------------------------------------

    def _integer_product(self, x: Any, product: Any, turned: Any, axes: Any, spread: Any,
                         terms: int) -> Any:  # fmt: skip
        """Returns product(x, weight), computed with integers.

        Args:
          product: (x, kernel) -> y.
          turned: (gradient of y, kernel) -> gradient of x.
          axes: of x that are summed.
          spread: brings the scale of x, with ones along these axes, to y.
          terms: how many products make one sum.
        """
        config = self.quantization_config
        quantizer = rounding.AbsMaxQuantizer() if config is None else config.activation_quantizer
        integers, scale = self._main_weight, self._scale

        @custom_gradient
        def run(x: Any) -> Any:
            factor = math.cast(scale, x.dtype)
            if quantizer is None:
                y = product(x, math.cast(integers, x.dtype))
            else:
                wide = "float32" if terms <= _EXACT else "float64"
                rounded, by = quantizer(x, axis=axes)
                y = product(math.cast(rounded, wide), math.cast(integers, wide))
                y, factor = math.cast(y, x.dtype), factor * spread(by)

            def gradient(g: Any) -> Any:
                return turned(g, math.cast(self._dequantized(), x.dtype))

            return y / factor, gradient

        return run(x)

    # -- files -------------------------------------------------------------------------------------

    def _in_file(self) -> list[Any]:
        """The variables in Keras's order: the weight, the others, the scale."""
        return [*(v for v in self._stored_variables() if v is not self._scale), self._scale]

    def save_own_variables(self, store: Any) -> None:
        """Puts the variables into a store; what LoRA has learned is rounded into the integers."""
        if self.quantization_mode is None:
            super().save_own_variables(store)
            return
        values = [v.numpy() for v in self._in_file()]
        if self.lora_enabled:
            whole, scale = rounding.abs_max_quantize(
                self._with_lora(), self._scaled_axes(), to_numpy=True
            )
            values[0], values[-1] = whole.numpy(), self._scale_of(scale).numpy()
        for index, value in enumerate(values):
            store[str(index)] = value

    def load_own_variables(self, store: Any) -> None:
        """Takes the variables from a store; what LoRA had learned is forgotten."""
        if self.quantization_mode is None or not self.built:
            super().load_own_variables(store)
            return
        self._load_into(self._in_file(), store)

"""Dense, Embedding, Activation, Lambda, Masking, Identity: layers of one idea each."""

from __future__ import annotations

import inspect
from typing import Any

from distflow.base import dtypes, errors
from distflow.core.convert import convert_to_tensor
from distflow.keras import activations, constraints, initializers, regularizers, serialization
from distflow.keras.engine.input_spec import InputSpec
from distflow.keras.engine.layer import Layer
from distflow.keras.layers.arguments import described, positive
from distflow.keras.layers.quantized import Quantized
from distflow.ops import math
from distflow.ops.embedding import embedding_lookup
from distflow.ops.matmul import tensordot
from distflow.ops.reduce import reduce_any
from distflow.ops.shaping import expand_dims


class Dense(Quantized, Layer):
    """activation(x @ kernel + bias), over the last axis.

    Args:
      units: size of the output's last axis.
      lora_rank, lora_alpha: learn a kernel of this rank beside the given one, see `enable_lora`.
    """

    _quantizes = True

    def __init__(self, units: int, activation: Any = None, use_bias: bool = True,
                 kernel_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
                 kernel_regularizer: Any = None, bias_regularizer: Any = None,
                 activity_regularizer: Any = None, kernel_constraint: Any = None,
                 bias_constraint: Any = None, lora_rank: Any = None, lora_alpha: Any = None,
                 quantization_config: Any = None, **kwargs: Any):  # fmt: skip
        positive("Dense", "units", units)
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self._set_quantization(quantization_config)
        self.units = units
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.input_spec = InputSpec(min_ndim=2)
        self.supports_masking = True
        self._set_lora(lora_rank, lora_alpha)

    @property
    def kernel(self) -> Any:
        """The kernel, with what LoRA has learned."""
        return self._with_lora()

    def build(self, input_shape: Any) -> None:
        """Makes kernel and bias."""
        width = _known_last("Dense", input_shape)
        if self.quantization_mode is not None:
            self._add_integers((width, self.units))
        else:
            self._kernel = self.add_weight(
                name="kernel", shape=(width, self.units), initializer=self.kernel_initializer,
                regularizer=self.kernel_regularizer, constraint=self.kernel_constraint,
            )  # fmt: skip
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.units,), initializer=self.bias_initializer,
                regularizer=self.bias_regularizer, constraint=self.bias_constraint,
            )  # fmt: skip
        self.input_spec = InputSpec(min_ndim=2, axes={-1: width})
        if self.lora_rank:
            self.built = True
            self.enable_lora(self.lora_rank, lora_alpha=self.lora_alpha)

    def call(self, inputs: Any, training: Any = None) -> Any:
        """Returns activation(inputs @ kernel + bias)."""
        x = math.cast(inputs, self.compute_dtype)
        if self.quantization_mode is not None:
            x = self._by_integers(x)
        else:
            x = tensordot(x, self.kernel, 1)
        if self.bias is not None:
            x = x + self.bias
        return self.activation(x)

    def _scaled_axes(self) -> tuple[int, ...]:
        return (0,)

    def _by_integers(self, x: Any) -> Any:
        y = self._integer_product(
            x, lambda x, kernel: tensordot(x, kernel, 1),
            lambda g, kernel: tensordot(g, kernel, [[-1], [1]]), -1, lambda scale: scale,
            int(self._kernel.shape[0]),
        )  # fmt: skip
        if self.lora_enabled:
            y = y + self._lora_scale * tensordot(tensordot(x, self._lora_a, 1), self._lora_b, 1)
        return y

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the input's shape with `units` at its end."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        config = super().get_config()
        config |= {"units": self.units, "activation": activations.serialize(self.activation)}
        config |= described(
            self, "use_bias", "kernel_initializer", "bias_initializer", "kernel_regularizer",
            "bias_regularizer", "kernel_constraint", "bias_constraint",
        )  # fmt: skip
        return config | self._described_quantization() | self._lora_config()


class Embedding(Quantized, Layer):
    """Rows of a table by integer id.

    Args:
      input_dim: number of rows; ids are in [0, input_dim).
      output_dim: size of a row.
      mask_zero: id 0 is padding: the output carries a mask that says so.
      weights: initial value of the table.
      lora_rank, lora_alpha: learn a table of this rank beside the given one, see `enable_lora`.
    """

    _main = "embeddings"
    _quantizes = True

    def __init__(self, input_dim: int, output_dim: int, embeddings_initializer: Any = "uniform",
                 embeddings_regularizer: Any = None, embeddings_constraint: Any = None,
                 mask_zero: bool = False, weights: Any = None, lora_rank: Any = None,
                 lora_alpha: Any = None, quantization_config: Any = None,
                 **kwargs: Any):  # fmt: skip
        positive("Embedding", "input_dim", input_dim)
        positive("Embedding", "output_dim", output_dim)
        input_length = kwargs.pop("input_length", None)
        if input_length is not None and "input_shape" not in kwargs:
            kwargs["input_shape"] = (input_length,)
        super().__init__(**kwargs)
        self._set_quantization(quantization_config)
        self.input_dim = input_dim
        self.output_dim = output_dim
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.embeddings_constraint = constraints.get(embeddings_constraint)
        self.mask_zero = mask_zero
        self.supports_masking = mask_zero
        self.autocast = False
        self._set_lora(lora_rank, lora_alpha)
        if weights is not None:
            self.build()
            values = weights if isinstance(weights, list) else [weights]
            self._embeddings.assign(math.cast(values[0], self._embeddings.dtype))

    @property
    def embeddings(self) -> Any:
        """The table, with what LoRA has learned."""
        return self._with_lora()

    def build(self, input_shape: Any = None) -> None:
        """Makes the table."""
        if self.built:
            return
        if self.quantization_mode is not None:
            self._add_integers((self.input_dim, self.output_dim))
        else:
            self._embeddings = self.add_weight(
                name="embeddings", shape=(self.input_dim, self.output_dim),
                initializer=self.embeddings_initializer, regularizer=self.embeddings_regularizer,
                constraint=self.embeddings_constraint,
            )  # fmt: skip
        if self.lora_rank:
            self.built = True
            self.enable_lora(self.lora_rank, lora_alpha=self.lora_alpha)

    def call(self, inputs: Any) -> Any:
        """Returns the rows of the ids."""
        ids = convert_to_tensor(inputs)
        if not ids.dtype.is_integer:
            ids = math.cast(ids, dtypes.int32)
        rows = embedding_lookup(self._embeddings, ids)
        if self.quantization_mode is not None:
            scale = embedding_lookup(self._scale, ids)
            rows = math.cast(rows, scale.dtype) / expand_dims(scale, -1)
        if self.lora_enabled:
            narrow = embedding_lookup(self._lora_a, ids)
            rows = rows + self._lora_scale * tensordot(narrow, self._lora_b, 1)
        return math.cast(rows, self.compute_dtype)

    def _scaled_axes(self) -> tuple[int, ...]:
        return (1,)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Returns where ids are not padding, or None."""
        return math.not_equal(inputs, 0) if self.mask_zero else None

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the ids' shape with `output_dim` behind it."""
        return (*input_shape, self.output_dim)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        config = super().get_config()
        config |= {"input_dim": self.input_dim, "output_dim": self.output_dim}
        config |= described(self, "embeddings_initializer", "embeddings_regularizer")
        config |= {"activity_regularizer": config.get("activity_regularizer")}
        config |= described(self, "embeddings_constraint", "mask_zero")
        return config | self._described_quantization() | self._lora_config()


class Activation(Layer):
    """Applies an activation, given by name or as a function."""

    def __init__(self, activation: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.activation = activations.get(activation)

    def call(self, inputs: Any) -> Any:
        """Returns activation(inputs)."""
        return self.activation(inputs)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"activation": activations.serialize(self.activation)}


class Identity(Layer):
    """Returns its inputs."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """Returns the inputs."""
        return inputs


class Lambda(Layer):
    """Applies a function; it is saved by name, so saving needs a registered function.

    Args:
      function: of the inputs, and of `mask` and `training` if it has such arguments.
      output_shape: of the result, where tracing the function cannot find it.
      mask: the mask to hand on, or a function of inputs and mask.
      arguments: more keyword arguments of the function.
    """

    def __init__(self, function: Any, output_shape: Any = None, mask: Any = None,
                 arguments: Any = None, **kwargs: Any):  # fmt: skip
        super().__init__(**kwargs)
        self.function = function
        self.arguments = arguments or {}
        self._output_shape = output_shape
        self.mask = mask
        self.supports_masking = mask is not None
        names = inspect.signature(function).parameters
        self._takes = [name for name in ("mask", "training") if name in names]

    def call(self, inputs: Any, mask: Any = None, training: Any = None) -> Any:
        """Returns function(inputs, **arguments)."""
        given = {"mask": mask, "training": training}
        return self.function(inputs, **{n: given[n] for n in self._takes}, **self.arguments)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Returns the mask to hand on."""
        return self.mask(inputs, mask) if callable(self.mask) else self.mask

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        config = super().get_config()
        config["function"] = serialization.serialize_keras_object(self.function)
        if self._output_shape is not None:
            config["output_shape"] = serialization.serialize_keras_object(self._output_shape)
        if self.mask is not None:
            config["mask"] = serialization.serialize_keras_object(self.mask)
        return config | {"arguments": serialization.serialize_keras_object(self.arguments)}

    @classmethod
    def from_config(cls, config: dict[str, Any], **kwargs: Any) -> Any:
        """Returns a layer made from `get_config()`."""
        config = dict(config)
        for key in ("function", "mask", "output_shape"):
            if isinstance(config.get(key), dict):
                config[key] = serialization.deserialize_keras_object(config[key])
        return super().from_config(config)


class Masking(Layer):
    """Leaves out steps whose features all equal `mask_value`: sets them to 0, with a mask."""

    def __init__(self, mask_value: Any = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.mask_value = mask_value
        self.supports_masking = True

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Returns where any feature differs from the mask value."""
        return reduce_any(math.not_equal(inputs, self.mask_value), axis=-1)

    def call(self, inputs: Any) -> Any:
        """Returns the inputs with 0 in what is left out."""
        some = reduce_any(math.not_equal(inputs, self.mask_value), axis=-1, keepdims=True)
        outputs = inputs * math.cast(some, inputs.dtype)
        outputs._keras_mask = self.compute_mask(inputs)
        return outputs

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"mask_value": self.mask_value}


def _known_last(where: str, input_shape: Any) -> int:
    width = input_shape[-1]
    if width is None:
        raise errors.invalid(
            where, "the last dimension of the inputs must be known", f"input shape {input_shape}"
        )
    return int(width)

"""Bidirectional: a recurrent layer along time, and one against it."""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.keras import serialization
from distflow.keras.engine.layer import Layer
from distflow.ops import array, math

_MERGES: dict[Any, Any] = {
    "sum": lambda y, z: y + z,
    "mul": lambda y, z: y * z,
    "ave": lambda y, z: (y + z) / 2,
    "concat": lambda y, z: array.concat([y, z], -1),
    None: lambda y, z: (y, z),
}


class Bidirectional(Layer):
    """The outputs of a recurrent layer and of one that goes the other way, merged.

    Args:
      layer: an RNN, or a layer with `go_backwards`, `return_sequences`, `return_state`, `stateful`;
        a copy of it is used.
      merge_mode: "concat", "sum", "mul", "ave", or None for both outputs.
      weights: values of the weights to start from, those of the forward layer first.
      backward_layer: the other layer; default a copy of `layer` that goes backwards.

    Source: Schuster & Paliwal 1997.
    """

    def __init__(self, layer: Any, merge_mode: str | None = "concat", weights: Any = None,
                 backward_layer: Any = None, **kwargs: Any):  # fmt: skip
        for one in (layer, layer if backward_layer is None else backward_layer):
            if not isinstance(one, Layer):
                raise errors.invalid(
                    "Bidirectional", "Please initialize `Bidirectional` layer with a "
                    "`keras.layers.Layer` instance", repr(one),
                )  # fmt: skip
        if merge_mode not in _MERGES:
            raise errors.invalid(
                "Bidirectional", 'merge_mode must be one of "sum", "mul", "ave", "concat" and None',
                repr(merge_mode),
            )  # fmt: skip
        for name in ("go_backwards", "return_sequences", "return_state", "stateful"):
            if not hasattr(layer, name):
                raise errors.invalid(
                    "Bidirectional", f"`layer` must have `{name}`, as an RNN has", repr(layer)
                )
        super().__init__(**kwargs)
        self.forward_layer = _copy(layer, "forward")
        if backward_layer is None:
            backward_layer = _copy(layer, "backward", go_backwards=True)
        self.backward_layer = backward_layer
        self._verify()
        for one in (self.forward_layer, self.backward_layer):
            # Outputs of steps that are left out must not leak into the merged ones.
            if getattr(one, "zero_output_for_mask", None) is not None:
                one.zero_output_for_mask = one.return_sequences
        self.merge_mode = merge_mode
        self._first_weights = weights
        self.stateful = layer.stateful
        self.return_sequences = layer.return_sequences
        self.return_state = layer.return_state
        self.supports_masking = True
        self.input_spec = layer.input_spec

    def _verify(self) -> None:
        forward, backward = self.forward_layer, self.backward_layer
        if forward.go_backwards == backward.go_backwards:
            raise errors.invalid(
                "Bidirectional", "Forward layer and backward layer should have different "
                "`go_backwards` value", f"{forward.go_backwards} for both",
            )  # fmt: skip
        for name in ("stateful", "return_sequences", "return_state"):
            values = getattr(forward, name), getattr(backward, name)
            if values[0] != values[1]:
                raise errors.invalid(
                    "Bidirectional", "Forward layer and backward layer are expected to have the "
                    f'same value for attribute "{name}"', f"{values[0]} and {values[1]}",
                )  # fmt: skip

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        """Builds both layers."""
        for layer in (self.forward_layer, self.backward_layer):
            if not layer.built:
                layer.build(sequences_shape)
        if self._first_weights:
            half = len(self._first_weights) // 2
            self.forward_layer.set_weights(self._first_weights[:half])
            self.backward_layer.set_weights(self._first_weights[half:])

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None,
             training: Any = None) -> Any:  # fmt: skip
        """Returns the merged output, and the states of both layers with `return_state`."""
        half = 0 if initial_state is None else len(initial_state) // 2
        first, second = (
            (None, None) if initial_state is None else (initial_state[:half], initial_state[half:])
        )
        y = self._output(self.forward_layer, sequences, first, mask, training)
        z = self._output(self.backward_layer, sequences, second, mask, training)
        states: tuple[Any, ...] = ()
        if self.return_state:
            states = (*y[1:], *z[1:])
            y, z = y[0], z[0]
        y, z = (math.cast(t, self.compute_dtype) for t in (y, z))
        if self.return_sequences:
            z = array.reverse(z, [1])
        output = _MERGES[self.merge_mode](y, z)
        if not self.return_state:
            return output
        return (*output, *states) if self.merge_mode is None else (output, *states)

    def _output(self, layer: Any, sequences: Any, state: Any, mask: Any, training: Any) -> Any:
        takes = layer._call_signature.parameters
        given = {"initial_state": state, "mask": mask, "training": training}
        given = {k: v for k, v in given.items() if k in takes and v is not None}
        return layer(sequences, **given)

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        """Returns the shape of the merged output, and of the states with `return_state`."""
        output = self.forward_layer.compute_output_shape(sequences_shape)
        states: tuple[Any, ...] = ()
        if self.return_state:
            output, states = output[0], tuple(output[1:])
        if self.merge_mode == "concat":
            output = (*output[:-1], 2 * output[-1])
        if self.merge_mode is None:
            return (output, output, *states, *states)
        return (output, *states, *states) if self.return_state else output

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Returns the mask of the outputs: that of the inputs with `return_sequences`."""
        mask = mask[0] if isinstance(mask, list) else mask
        mask = mask if self.return_sequences else None
        masks = [mask, mask] if self.merge_mode is None else [mask]
        if self.return_state:
            return [*masks, *[None] * (2 * len(self.forward_layer.state_size))]
        return tuple(masks) if self.merge_mode is None else mask

    @property
    def states(self) -> Any:
        """The state variables of both layers, None unless they are stateful and built."""
        found = (
            getattr(self.forward_layer, "states", None),
            getattr(self.backward_layer, "states", None),
        )
        return (*found[0], *found[1]) if found[0] and found[1] else None

    def reset_state(self) -> None:
        """Sets the states of both layers to zero.

        Raises:
          AttributeError: if they are not stateful.
        """
        if not self.stateful:
            raise AttributeError("Layer must be stateful.")
        self.forward_layer.reset_state()
        self.backward_layer.reset_state()

    def reset_states(self) -> None:
        """The same as `reset_state`."""
        self.reset_state()

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {
            "merge_mode": self.merge_mode,
            "layer": serialization.serialize_keras_object(self.forward_layer),
            "backward_layer": serialization.serialize_keras_object(self.backward_layer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Returns a layer made from `get_config()`."""
        config = dict(config)
        for name in ("layer", "backward_layer"):
            if config.get(name) is not None:
                config[name] = serialization.deserialize_keras_object(config[name], custom_objects)
        return super().from_config(config)


def _copy(layer: Any, prefix: str, **settings: Any) -> Any:
    """Returns a layer like this one, not built, under a name with the prefix."""
    found = serialization.serialize_keras_object(layer)
    name = f"{prefix}_{layer.name.removeprefix(f'{prefix}_')}"
    found["config"] |= {**settings, "name": name}
    found.pop("build_config", None)
    return serialization.deserialize_keras_object(found, {type(layer).__name__: type(layer)})

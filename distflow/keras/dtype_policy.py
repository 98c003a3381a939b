"""Dtype policies: in which dtype a layer computes, and in which it keeps its variables."""

from __future__ import annotations

from typing import Any

from distflow.base import dtypes, errors
from distflow.keras import serialization, settings

_MIXED = {"mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}


class DTypePolicy:
    """A pair of dtypes: "float32" for both, or "mixed_bfloat16" to compute in 16 bits.

    Args:
      name: a dtype's name, "mixed_float16" or "mixed_bfloat16"; default the global policy's.
    """

    def __init__(self, name: str | None = None):
        if name is None:
            name = global_policy().name
        if not isinstance(name, str):
            raise TypeError(
                f"'name' must be a string, such as 'mixed_float16'. Received: name={name} "
                f"(of type {type(name)})"
            )
        self._name = name
        if name in _MIXED:
            self._compute, self._variable = _MIXED[name], "float32"
        else:
            try:
                self._compute = self._variable = dtypes.as_dtype(name).name
            except TypeError as error:
                raise errors.invalid(
                    "DTypePolicy", f"a dtype's name or one of {sorted(_MIXED)}", repr(name)
                ) from error

    @property
    def name(self) -> str:
        """The policy's name."""
        return self._name

    @property
    def compute_dtype(self) -> str:
        """Name of the dtype in which layers compute, and into which inputs are cast."""
        return self._compute

    @property
    def variable_dtype(self) -> str:
        """Name of the dtype of layers' variables."""
        return self._variable

    @property
    def quantization_mode(self) -> str | None:
        """None: weights are floats."""
        return None

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {"name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DTypePolicy:
        """Returns the policy of a configuration."""
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DTypePolicy) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self._name)

    def __repr__(self) -> str:
        return f'<DTypePolicy "{self._name}">'


class QuantizedDTypePolicy(DTypePolicy):
    """A policy of layers whose weights are integers: "int8_from_float32".

    Args:
      mode: "int8".
      source_name: name of the policy before; default the global one's.

    Raises:
      ValueError: for another mode, and for float16, whose sums overflow.
    """

    def __init__(self, mode: str, source_name: str | None = None):
        super().__init__(source_name)
        if mode != "int8":
            raise errors.invalid("QuantizedDTypePolicy", "mode 'int8'", repr(mode))
        if self.compute_dtype == "float16":
            raise ValueError(
                f"Quantization mode='{mode}' doesn't work well with compute_dtype='float16'."
            )
        self._source_name, self._mode = self._name, mode
        self._name = f"{mode}_from_{self._source_name}"

    @property
    def quantization_mode(self) -> str:
        """The kind of integers."""
        return self._mode

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {"mode": self._mode, "source_name": self._source_name}


_global: list[DTypePolicy] = []


def global_policy() -> DTypePolicy:
    """Returns the policy of layers that are given no dtype."""
    return _global[-1] if _global else DTypePolicy(settings.floatx())


def set_global_policy(policy: Any) -> None:
    """Sets the policy of layers that are given no dtype."""
    _global[:] = [get(policy)]


def reset_global_policy() -> None:
    """Makes the global policy that of `floatx` again."""
    _global.clear()


def get(identifier: Any) -> DTypePolicy:
    """Returns a policy for None (the global one), a policy, a dtype, a name or a config."""
    if identifier is None:
        return global_policy()
    if isinstance(identifier, DTypePolicy):
        return identifier
    if isinstance(identifier, dict):
        return _of_config(identifier)
    if isinstance(identifier, str):
        mode, joined, source = identifier.partition("_from_")
        return QuantizedDTypePolicy(mode, source) if joined else DTypePolicy(identifier)
    return DTypePolicy(dtypes.as_dtype(identifier).name)


# Known by their names alone: files of older versions name other modules.
_CLASSES: dict[str, type[DTypePolicy]] = {
    "DTypePolicy": DTypePolicy, "FloatDTypePolicy": DTypePolicy,
    "QuantizedDTypePolicy": QuantizedDTypePolicy,
}  # fmt: skip


def _of_config(config: dict[str, Any]) -> DTypePolicy:
    kind = _CLASSES.get(config.get("class_name", ""))
    if kind is not None:
        return kind.from_config(config["config"])
    # Maps, and classes of the user.
    try:
        found = serialization.deserialize_keras_object(config)
    except TypeError as error:
        raise _no_policy(config) from error
    if not isinstance(found, DTypePolicy):
        raise _no_policy(config)
    return found


def _no_policy(config: Any) -> errors.InvalidArgumentError:
    return errors.invalid(
        "dtype policy", f"a config of a policy, such as one of {sorted(_CLASSES)}", repr(config),
        'The only quantised policy is that of "int8".',
    )  # fmt: skip


def serialize(policy: DTypePolicy) -> dict[str, Any]:
    """Returns a policy as it stands in the configs of Keras 3."""
    described: dict[str, Any] = serialization.serialize_keras_object(policy)
    return described

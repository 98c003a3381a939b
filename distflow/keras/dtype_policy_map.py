"""DTypePolicyMap: policies of layers by their paths."""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping
from typing import Any

from distflow.keras import dtype_policy, serialization
from distflow.keras.dtype_policy import DTypePolicy


class DTypePolicyMap(DTypePolicy, MutableMapping[str, DTypePolicy]):
    """Policies by path, or by a regular expression of the whole path; else a default.

    As a layer's policy it is the default; `layer.get_config` of one's own may keep more in it.

    Args:
      default_policy: policy, its name, or None for the global one.
      policy_map: dict from paths to policies.
    """

    def __init__(self, default_policy: Any = None, policy_map: Any = None):
        if isinstance(default_policy, DTypePolicyMap):
            raise ValueError("`default_policy` cannot be a `DTypePolicyMap`.")
        if policy_map is not None and not isinstance(policy_map, dict):
            raise TypeError(
                "If specified, `policy_map` must be a dict. Received: "
                f"policy_map={policy_map} of type {type(policy_map)}"
            )
        self._given = default_policy
        self._map: dict[str, DTypePolicy] = dict(policy_map or {})
        dtype_policy.get(default_policy)

    @property
    def default_policy(self) -> DTypePolicy:
        """The policy of paths that are not there."""
        return dtype_policy.get(self._given)

    @property
    def name(self) -> str:
        """ "map_" and the default's name."""
        return f"map_{self.default_policy.name}"

    @property
    def compute_dtype(self) -> str:
        """The default's."""
        return self.default_policy.compute_dtype

    @property
    def variable_dtype(self) -> str:
        """The default's."""
        return self.default_policy.variable_dtype

    @property
    def quantization_mode(self) -> str | None:
        """The default's."""
        return self.default_policy.quantization_mode

    def __getitem__(self, key: str) -> DTypePolicy:
        if key in self._map:
            return self._map[key]
        found = [pattern for pattern in self._map if re.fullmatch(pattern, key)]
        if len(found) > 1:
            raise ValueError(
                f"Path '{key}' matches multiple dtype policy specification keys: {found}. Please "
                "make sure each path only matches at most one dtype policy specification key in "
                "the DTypePolicyMap."
            )
        return self._map[found[0]] if found else self.default_policy

    def __setitem__(self, key: str, policy: Any) -> None:
        if key in self._map:
            raise ValueError(
                f"{key} already exist in the DTypePolicyMap with value {self._map[key]}. Please "
                "make sure to not use duplicated keys."
            )
        self._map[key] = dtype_policy.get(policy)

    def __delitem__(self, key: str) -> None:
        del self._map[key]

    def __contains__(self, key: object) -> bool:
        return key in self._map

    def __len__(self) -> int:
        return len(self._map)

    def __iter__(self) -> Iterator[str]:
        return iter(self._map)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, DTypePolicyMap)
            and other.default_policy == self.default_policy
            and other._map == self._map
        )

    def __hash__(self) -> int:
        return hash(self.name)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {
            "default_policy": serialization.serialize_keras_object(self._given),
            "policy_map": {k: serialization.serialize_keras_object(p)
                           for k, p in self._map.items()},
        }  # fmt: skip

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DTypePolicyMap:
        """Returns the map of a configuration."""
        given = config.get("default_policy")
        policies = {k: dtype_policy.get(p) for k, p in (config.get("policy_map") or {}).items()}
        return cls(dtype_policy.get(given) if isinstance(given, dict) else given, policies)

    def __repr__(self) -> str:
        rows = [(key, policy.name) for key, policy in self._map.items()]
        return f"<DTypePolicyMap default_policy={self.default_policy.name}, mapping={rows}>"

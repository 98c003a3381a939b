"""Config: settings as attributes, written to JSON and read again."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any


class Config:
    """A dict whose entries are attributes as well; `freeze()` forbids changes.

    Example:
      config = Config(units=4, rate=0.1); config.units -> 4; config["rate"] -> 0.1
    """

    def __init__(self, **kwargs: Any):
        self.__dict__["_frozen"] = False
        self.__dict__["_config"] = {}
        for name, value in kwargs.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if self._frozen:
            raise ValueError(
                "Cannot mutate attribute(s) because the config is frozen: "
                f"{type(self).__name__}.{name}"
            )
        self._config[name] = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        config = self.__dict__.get("_config", {})
        if name in config:
            return config[name]
        near = difflib.get_close_matches(name, config, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise AttributeError(f"Unknown attribute: '{name}'.{hint}")

    def __delattr__(self, name: str) -> None:
        self.pop(name)

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self, key, value)

    def __delitem__(self, key: str) -> None:
        self.pop(key)

    def __contains__(self, key: str) -> bool:
        return key in self._config

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._config))

    def __len__(self) -> int:
        return len(self._config)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and self._config == other._config

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<Config {self._config}>"

    def keys(self) -> Any:
        """Returns the names."""
        return self._config.keys()

    def values(self) -> Any:
        """Returns the values."""
        return self._config.values()

    def items(self) -> Any:
        """Returns (name, value) pairs."""
        return self._config.items()

    def get(self, key: str, default: Any = None) -> Any:
        """Returns a value, or the default where there is none."""
        return self._config.get(key, default)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Sets several values."""
        for name, value in dict(*args, **kwargs).items():
            setattr(self, name, value)

    def pop(self, key: str, default: Any = None) -> Any:
        """Takes a value out and returns it."""
        if self._frozen:
            raise ValueError("Cannot mutate attribute(s) because the config is frozen.")
        if key not in self._config and default is None:
            raise AttributeError(f"Unknown attribute: '{key}'.")
        return self._config.pop(key, default)

    def as_dict(self) -> dict[str, Any]:
        """Returns the values as a dict."""
        return dict(self._config)

    def to_json(self) -> str:
        """Returns the values as JSON."""
        return json.dumps(self._config)

    @classmethod
    def from_json(cls, json_str: str) -> Config:
        """Returns the config that `to_json` wrote."""
        return cls(**json.loads(json_str))

    def freeze(self) -> None:
        """Forbids changes from now on."""
        self.__dict__["_frozen"] = True

    def unfreeze(self) -> None:
        """Allows changes again."""
        self.__dict__["_frozen"] = False

    @property
    def frozen(self) -> bool:
        """Whether changes are forbidden."""
        return self._frozen

"""LoRA: a layer's large weight stays, and the product of two narrow ones is learned beside it.

Source: Hu et al. 2021, arXiv:2106.09685.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import errors
from distflow.keras import initializers
from distflow.keras.engine.weights import WeightsOfLayer
from distflow.ops import math
from distflow.ops.matmul import tensordot


class LoRA(WeightsOfLayer):
    """Mixin of layers whose `_main` weight can be frozen under a learned product of low rank.

    weight + alpha / rank * a @ b, where a is [..., rank] and b is [rank, last]. Files hold the
    sum, so a layer without LoRA reads them.
    """

    _main = "kernel"
    lora_rank: int | None = None
    lora_alpha: float | None = None
    lora_enabled = False

    def _set_lora(self, rank: Any, alpha: Any) -> None:
        if rank is not None and (not isinstance(rank, int) or rank <= 0):
            raise errors.invalid(
                type(self).__name__, "`lora_rank` must be a positive integer", f"lora_rank={rank}"
            )
        self.lora_rank = rank
        self.lora_alpha = alpha if alpha is not None else rank

    def enable_lora(self, rank: int, a_initializer: Any = "he_uniform",
                    b_initializer: Any = "zeros",
                    lora_alpha: float | None = None) -> None:  # fmt: skip
        """Freezes the main weight and adds the two narrow ones; possible once, after build.

        Raises:
          InvalidArgumentError: before build, for the second time, or beside a constraint.
        """
        where = type(self).__name__
        layer: Any = self
        if getattr(self, f"{self._main}_constraint") is not None:
            raise errors.invalid(
                where, f"Lora is incompatible with {self._main} constraints",
                f"{self._main}_constraint", f"Remove the `{self._main}_constraint` argument.",
            )  # fmt: skip
        if not self.built:
            raise errors.invalid(
                where, "Cannot enable lora on a layer that isn't yet built", repr(self)
            )
        if self.lora_enabled:
            raise errors.invalid(
                where, "lora is already enabled. This can only be done once per layer", repr(self)
            )
        a_initializer, b_initializer = map(initializers.get, (a_initializer, b_initializer))
        self._set_lora(rank, lora_alpha)
        shape = tuple(self._main_weight.shape)
        # The layer is built, and yet gets two weights more.
        self.built = False
        self._lora_a = layer.add_weight(
            name=f"lora_{self._main}_a", shape=(*shape[:-1], rank),
            initializer=a_initializer,
        )  # fmt: skip
        self._lora_b = layer.add_weight(
            name=f"lora_{self._main}_b", shape=(rank, shape[-1]),
            initializer=b_initializer,
        )  # fmt: skip
        self.built = True
        self._freeze(self._main_weight)
        self.lora_enabled = True

    @property
    def _main_weight(self) -> Any:
        return getattr(self, f"_{self._main}")

    @property
    def _lora_scale(self) -> float:
        assert self.lora_alpha is not None
        assert self.lora_rank is not None
        return self.lora_alpha / self.lora_rank

    def _with_lora(self) -> Any:
        """The main weight, plus the learned product if there is one."""
        if f"_{self._main}" not in self.__dict__:
            raise self._lacking(self._main)
        if not self.lora_enabled:
            return self._main_weight
        return self._main_weight + self._learned()

    def _learned(self) -> Any:
        return self._lora_scale * tensordot(self._lora_a, self._lora_b, 1)

    def _lora_config(self) -> dict[str, Any]:
        if not self.lora_rank:
            return {}
        return {"lora_rank": self.lora_rank, "lora_alpha": self.lora_alpha}

    def _stored_variables(self) -> list[Any]:
        extra = (self._lora_a, self._lora_b) if self.lora_enabled else ()
        kept = [v for v in self._own_variables() if not any(v is e for e in extra)]
        main = self._main_weight
        return [main, *(v for v in kept if v is not main)]

    def save_own_variables(self, store: Any) -> None:
        """Puts the variables into a store, the main weight with what was learned beside it."""
        if not self.lora_enabled:
            super().save_own_variables(store)
            return
        for index, variable in enumerate(self._stored_variables()):
            value = self._with_lora() if index == 0 else variable
            store[str(index)] = math.cast(value, variable.dtype).numpy()

    def load_own_variables(self, store: Any) -> None:
        """Takes the variables from a store; what LoRA had learned is forgotten."""
        if not self.lora_enabled:
            super().load_own_variables(store)
            return
        self._load_into(self._stored_variables(), store)

    def _load_into(self, variables: list[Any], store: Any) -> None:
        if len(store.keys()) != len(variables):
            raise errors.invalid(
                type(self).__name__, f"expected {len(variables)} variables",
                f"{len(store.keys())} variables during loading",
            )  # fmt: skip
        for index, variable in enumerate(variables):
            variable.assign(np.asarray(store[str(index)]).astype(variable.dtype.numpy))
        for narrow in (self._lora_a, self._lora_b) if self.lora_enabled else ():
            narrow.assign(np.zeros(tuple(narrow.shape), narrow.dtype.numpy))

"""How strong a regulariser is: an absolute weight, or one measured against the method and frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ddcore.errors import ConfigurationError
from ddcore.runtime.objective import Readings, Regularizer, Step


class WeightedTerm:
    """A regulariser with its strength.

    A relative strength r is turned into an absolute weight w such that, over the first
    ``calibration_steps`` steps, the norms of w dR/dS sum to r times those of the method's gradient.
    Until then each step uses the ratio seen so far. Afterwards w never changes: a scale that keeps
    following the gradients grows without bound as the term succeeds. Steps in which the set rests do
    not count, since the method has no gradient there.
    """

    def __init__(self, regularizer: Regularizer[Any]) -> None:
        self.regularizer = regularizer
        self.config = regularizer.config
        self.name: str = self.config.name
        self.weight: float | None = self.config.weight
        self._steps = 0
        self._norms = torch.zeros(2, dtype=torch.float64)

    def backward(self, step: Step, method_norm: Tensor) -> Readings:
        """Add the weighted gradient of the term to the synthetic set.

        Args:
            step: the step being taken.
            method_norm: scalar norm of the method's own gradient in this step.

        Returns:
            The term's readings, its part of the loss included, and ``weight/<name>``.
        """
        if self.weight is not None:
            weight = self.weight
            readings = self.regularizer.backward(step, weight)
        else:
            weight, readings = self._calibrate(step, method_norm)
        return {**readings, f"weight/{self.name}": torch.tensor(weight)}

    def _calibrate(self, step: Step, method_norm: Tensor) -> tuple[float, Readings]:
        synthetic = step.synthetic
        others = synthetic.take_gradient()
        readings = self.regularizer.backward(step, 1.0)
        norms = torch.stack([method_norm, synthetic.gradient_norm()]).double().cpu()
        own = synthetic.take_gradient()
        if not synthetic.resting:
            self._norms += norms
            self._steps += 1
        of_method, of_term = self._norms.tolist()
        weight = self.config.relative * of_method / of_term if of_term > 0 else 0.0
        synthetic.add_gradient(others)
        synthetic.add_gradient(own, weight)
        if self._steps >= self.config.calibration_steps:
            self.weight = self._frozen(weight)
        return weight, readings

    def _frozen(self, weight: float) -> float:
        named = {"the method": self._norms[0], f"`{self.name}`": self._norms[1]}
        without = [name for name, norm in named.items() if norm == 0]
        if without and self.config.relative > 0:
            raise ConfigurationError(
                f"{' and '.join(without)} had no gradient on the images in the first {self._steps} steps, so the "
                f"relative weight {self.config.relative} of `{self.name}` cannot be turned into an absolute one; drop "
                f"`{self.name}` or give `weight`"
            )
        return weight

    def state(self) -> dict[str, Tensor]:
        """Tensors to save: the term's own, and how far its calibration has come."""
        weight = float("nan") if self.weight is None else self.weight
        calibration = torch.tensor([weight, self._steps, *self._norms.tolist()], dtype=torch.float64)
        return {**{f"term/{k}": v for k, v in self.regularizer.state().items()}, "calibration": calibration}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from saved tensors."""
        weight, steps, *norms = state["calibration"].tolist()
        self.weight = None if weight != weight else weight
        self._steps = int(steps)
        self._norms = torch.tensor(norms, dtype=torch.float64)
        self.regularizer.load_state({k.removeprefix("term/"): v for k, v in state.items() if k.startswith("term/")})

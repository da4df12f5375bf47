"""Says which term drove a run to numbers that are not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from ddcore.errors import DivergedError
from ddcore.synthetic.set import SyntheticSet

METHOD = "the method"
"""How the one term is called whose strength is a learning rate; a regulariser may have the same name as a method."""


class Pulls:
    """How hard the method and each regulariser pull on the images, step by step.

    A term whose gradient overflows shows in its own step. One whose gradient is merely huge throws the images so far
    that whatever looks at them next overflows, innocent or not; so the step before tells which term to name.

    Args:
        steps_path: where in the job the fields of the method stand, see :attr:`Run.steps_path`.
    """

    def __init__(self, steps_path: str = "method") -> None:
        self._steps_path = steps_path
        self._noted: dict[str, tuple[Mapping[str, Tensor], Tensor]] = {}
        self._before: dict[str, float] = {}

    def note(self, term: str, readings: Mapping[str, Tensor], synthetic: SyntheticSet) -> Tensor:
        """Take down what a term reports, right after it has added its gradient; nothing waits for a device here.

        Args:
            term: :data:`METHOD`, or the name of a regulariser.
            readings: of the term in this step.
            synthetic: with the gradient of this term and those before it.

        Returns:
            Norm of the gradient so far, a scalar.
        """
        norm = synthetic.gradient_norm()
        self._noted[term if term == METHOD else f"`{term}`"] = readings, norm
        return norm

    def check(self, step: int) -> None:
        """Look at everything noted in a step, in the order in which it came.

        Args:
            step: number of the step, from 1.

        Raises:
            DivergedError: a reading or a gradient is NaN or infinite; names it, the step, and what to lower.
        """
        norms, last = {}, 0.0
        for term, (readings, norm) in self._noted.items():
            for name, value in readings.items():
                if not math.isfinite(value):
                    thrower = None if name.startswith("weight/") else self._hardest()
                    raise self._diverged(f"`{name}` became {float(value)} at step {step}", term, thrower)
            total = float(norm)
            if not math.isfinite(total):
                raise self._diverged(f"the gradient of {term} on the images became {total} at step {step}", term)
            norms[term], last = abs(total - last), total
        self._noted, self._before = {}, norms

    def _hardest(self) -> str | None:
        """The term that pulled hardest in the step before, if there was one."""
        return max(self._before, key=lambda term: self._before[term], default=None)

    def _diverged(self, what: str, term: str, thrower: str | None = None) -> DivergedError:
        pull = ""
        if thrower is not None:
            pull = (
                f", after {thrower} had pulled hardest (with a gradient of {self._before[thrower]:.1e} on the images)"
            )
        culprit = thrower or term
        remedy = f"`{self._steps_path}.lr_img`" if culprit == METHOD else f"the `weight` or `relative` of {culprit}"
        return DivergedError(
            f"{what}{pull}; the images of the last checkpoint are kept. Lower {remedy}, or use `precision`: 'fp32'"
        )

"""Says which term drove a run to numbers that are not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from ddcore.errors import DivergedError
from ddcore.synthetic.set import SyntheticSet

METHOD = "the method"
"""How the one term is called whose strength is a learning rate; a regulariser may have the same name as a method."""


class NonFiniteGuard:
    """Ends a run at the first number that is NaN or infinite, and names the term that is to blame.

    A term whose gradient overflows shows in its own step. One whose gradient is merely huge moves the images so far
    that another term may overflow in the next step. So the term with the largest gradient of the step before is named.

    Args:
        steps_path: where in the job the fields of the method stand, see :attr:`Run.steps_path`.
        rates: fields of the method to lower where it is to blame, the likeliest first.
    """

    def __init__(self, steps_path: str = "method", rates: Sequence[str] = ("lr_img",)) -> None:
        self._rates = " or ".join(f"`{steps_path}.{rate}`" for rate in rates)
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
                    largest = None if name.startswith("weight/") else self._largest_before()
                    raise self._diverged(f"`{name}` became {float(value)} at step {step}", term, largest)
            total = float(norm)
            if not math.isfinite(total):
                raise self._diverged(f"the gradient of {term} on the images became {total} at step {step}", term)
            norms[term], last = abs(total - last), total
        self._noted, self._before = {}, norms

    def _largest_before(self) -> str | None:
        """The term with the largest gradient in the step before, if there was one."""
        return max(self._before, key=lambda term: self._before[term], default=None)

    def _diverged(self, what: str, term: str, largest: str | None = None) -> DivergedError:
        cause = ""
        if largest is not None:
            cause = f", after {largest} had the largest gradient on the images in the step before"
            cause += f" (norm {self._before[largest]:.1e})"
        culprit = largest or term
        remedy = self._rates if culprit == METHOD else f"the `weight` or `relative` of {culprit}"
        return DivergedError(
            f"{what}{cause}; the images of the last checkpoint are kept. Lower {remedy}, or use `precision`: 'fp32'"
        )

"""BACON's risk as a term beside another method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import NetworkConfig, regularizer_config
from ddcore.spec.errors import Problem
from ddcore.spec.regularizers.base import Weighted
from ddcore.spec.work import TRAINING, Load

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec

BACON_VARIANT = (
    "`released`: likelihood and variation of class means with the deviation exp(std), as in the code that gave the "
    "published figures (its third term is identically zero); `paper`: all three terms as printed, over every pair of "
    "a synthetic and a real image, with the deviation std."
)
BACON_TRADE_OFF = "lambda: weight of the variation, 1 - lambda being that of the clip term (published: 0.8)."


@regularizer_config
class BACONTermConfig(Weighted):
    """Raise the likelihood of the synthetic features under the real ones of their class, and keep them close."""

    classes_apart: ClassVar[bool] = True
    extendable: ClassVar[bool] = True
    title: ClassVar[str] = "Bayesian-risk term"
    citation: ClassVar[str] = "Zhou et al., BACON, 2024 (arXiv 2406.01112)"
    cost: ClassVar[str] = "one forward and backward of the synthetic set; the method's real features are shared"
    compares_features: ClassVar[bool] = True

    name: Literal["bacon"] = "bacon"
    variant: Literal["released", "paper"] = Field("released", description=BACON_VARIANT)
    trade_off: float = Field(0.8, ge=0, le=1, description=BACON_TRADE_OFF)

    def image_passes(self, job: JobSpec, load: Load) -> Iterator[tuple[NetworkConfig, float]]:
        """The synthetic images both ways through the network of the method."""
        yield job.network, TRAINING * load.synthetic

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """A method that draws a single real image."""
        batch_real = getattr(job.method.matcher, "batch_real", None)
        if batch_real == 1:
            yield Problem(self.pointer(job), "batch_without_spread", spread_of_one(self.name, batch_real))


def spread_of_one(name: str, batch_real: int) -> str:
    """Say that a distance divides by a standard deviation that the real batch does not have."""
    return (
        f"`{name}` measures the spread of the real features of a class, but `method.batch_real` is {batch_real}; "
        "use 2 or more"
    )

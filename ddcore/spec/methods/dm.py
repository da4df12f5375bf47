"""Distribution matching. Released code: main_DM.py of github.com/VICO-UoE/DatasetCondensation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import MethodConfig, method_config
from ddcore.spec.errors import Problem
from ddcore.spec.regularizers.bacon import spread_of_one

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec

FeatureComparison = Literal["mean", "bacon", "bacon_paper"]
"""How the features of a class are compared: by their means, or as BACON has it."""

COMPARISON = (
    "How the features of a class are compared: squared distance of the means (`mean`, as published), or in its place "
    "the likelihood and variation of BACON's released code (`bacon`) or the three terms of its paper (`bacon_paper`)."
)


class FeatureMatchingConfig(MethodConfig):
    """What methods share that compare the features of a class's real and synthetic images."""

    extendable: ClassVar[bool] = True
    computes_features: ClassVar[bool] = True
    matches_features: ClassVar[bool] = True
    smoke: ClassVar[Mapping[str, Any]] = {"batch_real": 8}

    batch_real: int = Field(256, ge=1, description="Real images of each class a step; capped at the class size.")

    @property
    def comparison(self) -> FeatureComparison:
        """How the features of a class are compared."""
        return "mean"

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """A single real image, where its spread would be divided by."""
        yield from super().impossible(job)
        if self.comparison != "mean" and self.batch_real < 2:
            yield Problem("/method/batch_real", "batch_without_spread", spread_of_one(self.name, self.batch_real))


@method_config
class DMConfig(FeatureMatchingConfig):
    """Match the class means of the embeddings of real and synthetic images under random networks."""

    classes_apart: ClassVar[bool] = True
    title: ClassVar[str] = "Distribution matching"
    citation: ClassVar[str] = "Zhao & Bilen, WACV 2023 (arXiv 2110.04181)"
    departures: ClassVar[tuple[str, ...]] = (
        "From 100 images a class on the published `lr_img` is 10; the default is 1 throughout.",
    )
    cost: ClassVar[str] = "light: one forward pass of the real batch a step, no second derivatives"
    samplers: ClassVar[tuple[str, ...]] = ("random", "representative")

    name: Literal["dm"] = "dm"
    iterations: int = Field(20_000, ge=1, le=10_000_000, description="Image steps (paper: 20,000).")
    lr_img: float = Field(
        1.0, gt=0, description="Learning rate of the images; 1 presumes losses summed over features and classes."
    )
    momentum: float = Field(0.5, ge=0, lt=1, description="Momentum of the image optimiser (SGD).")
    distance: FeatureComparison = Field("mean", description=COMPARISON)

    @property
    def comparison(self) -> FeatureComparison:
        """How the features of a class are compared."""
        return self.distance

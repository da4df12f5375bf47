"""Accuracy of the images while they are learned: how often, with what, and what follows from it."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, model_validator

from ddcore.spec.catalog import SpecModel

MOST_IMAGES = 5_000
"""Validation images at most."""
MOST_LOOKS = 20
"""Scorings of a run at most, where `every` is not given."""
SHARE_OF_JOB = 0.1
"""Share of the other work of a job that they may take then."""


class DuringConfig(SpecModel):
    """Small networks that are trained on the images as they are, every so many steps.

    They draw from random streams of their own: the images have the same bytes with and without them.
    """

    every: int | None = Field(
        None,
        ge=1,
        description="Steps between two scorings. Default: as often as costs a tenth of the job's other work at most, "
        f"and {MOST_LOOKS} times at most.",
    )
    at: tuple[int, ...] | None = Field(
        None,
        max_length=1000,
        description="Steps after which to score, rising, in place of `every`; 0 is the start. Real images are not "
        "scored beside these.",
    )
    epochs: int = Field(100, ge=1, le=10_000, description="E of these networks, by the schedule of the evaluation.")
    networks: int = Field(1, ge=1, le=10, description="Networks that are averaged, of the first architecture.")
    on: Literal["validation", "test"] = Field(
        "validation",
        description="Images that they are tested on. `validation`: training images of each class, which the images are "
        "learned from too unless they are `held_out`, so that the accuracy compares steps and not jobs. `test`: the "
        "test images; whatever is then chosen by it is chosen by the test set.",
    )
    validation: float = Field(
        0.1, gt=0, le=1, description=f"Share of each class that validates, {MOST_IMAGES:,} images in all at most."
    )
    held_out: bool = Field(
        False,
        description="Whether the validation images are taken out of the training images before anything else is done, "
        "the same ones whatever the seed: neither the method nor a control sees them, so the accuracy compares jobs.",
    )
    stop: Literal["plateau"] | None = Field(
        None, description="`plateau`: end the distillation once `patience` scorings in a row are no better than before."
    )
    patience: int = Field(3, ge=1, le=100, description="Scorings without a gain that make a plateau.")
    checkpoint: Literal["last", "best"] = Field(
        "last", description="Whether the images of the last step, or of the best scoring, are delivered and scored."
    )

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        at = self.at
        if at is not None and self.every is not None:
            raise ValueError("`every` and `at` both say when to score; leave one of them out")
        if at is not None and (not at or at[0] < 0 or any(a >= b for a, b in pairwise(at))):
            raise ValueError(f"`at` lists steps from 0 on, each once and rising, got {list(at)}")
        if self.held_out and self.on == "test":
            raise ValueError("`held_out` keeps validation images apart, but `on` is 'test'; leave one of them out")
        return self

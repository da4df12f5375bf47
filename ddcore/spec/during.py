"""Accuracy of the images while they are learned: how often, with what, and what follows from it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

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
    epochs: int = Field(100, ge=1, le=10_000, description="E of these networks, by the schedule of the evaluation.")
    networks: int = Field(1, ge=1, le=10, description="Networks that are averaged, of the first architecture.")
    on: Literal["validation", "test"] = Field(
        "validation",
        description="Images that they are tested on. `validation`: training images of each class, which the images are "
        "learned from too, so that the accuracy compares steps and not jobs. `test`: the test images; whatever is then "
        "chosen by it is chosen by the test set.",
    )
    validation: float = Field(
        0.1, gt=0, le=1, description=f"Share of each class that validates, {MOST_IMAGES:,} images in all at most."
    )
    stop: Literal["plateau"] | None = Field(
        None, description="`plateau`: end the distillation once `patience` scorings in a row are no better than before."
    )
    patience: int = Field(3, ge=1, le=100, description="Scorings without a gain that make a plateau.")
    checkpoint: Literal["last", "best"] = Field(
        "last", description="Whether the images of the last step, or of the best scoring, are delivered and scored."
    )

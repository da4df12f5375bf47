"""Which real images networks in training see, epoch by epoch."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from ddcore.spec.catalog import SpecModel
from ddcore.spec.teachers import TeacherConfig


def _young() -> TeacherConfig:
    return TeacherConfig(pool=10, epochs=10)


class CurriculumConfig(SpecModel):
    """The real images of each class by their difficulty: easy ones first, then all, then without the easiest.

    Epochs are counted from 0. Source: buffer/buffer_CL.py of github.com/NUS-HPC-AI-Lab/PAD.
    """

    initial: float = Field(0.75, gt=0, le=1, description="Share of each class that epoch 0 takes, the easiest of it.")
    added_by: int = Field(
        20, ge=1, le=1000, description="Epoch at which that share has grown to all (PAD: 20, on CIFAR-100 40)."
    )
    first_removal: int = Field(
        40, ge=1, le=1000, description="Last epoch that takes all; the next one leaves the easiest out."
    )
    second_removal: int = Field(60, ge=1, le=1000, description="Last epoch that leaves `first_share` out.")
    first_share: float = Field(0.1, ge=0, lt=1, description="Share of each class that is left out then.")
    second_share: float = Field(0.2, ge=0, lt=1, description="Share of each class that is left out after that.")
    scorers: TeacherConfig = Field(
        default_factory=_young,
        description="Networks that say how hard an image is: the mean over the pool of the length of their error "
        "||softmax - label|| (EL2N), after a few epochs. All of the pool are trained.",
    )

    def part(self, epoch: int, images: int) -> range:
        """Which of so many images of a class, from the easiest to the hardest, an epoch takes; at least one.

        >>> config = CurriculumConfig(initial=0.5, added_by=2, first_removal=3, second_removal=4)
        >>> [(p.start, p.stop) for p in (config.part(epoch, 20) for epoch in range(6))]
        [(0, 10), (0, 15), (0, 20), (0, 20), (2, 20), (4, 20)]
        """
        if epoch <= self.added_by:
            share = self.initial + (1 - self.initial) * epoch / self.added_by
            return range(max(1, int(share * images)))
        if epoch <= self.first_removal:
            return range(images)
        left_out = self.first_share if epoch <= self.second_removal else self.second_share
        return range(min(int(left_out * images), images - 1), images)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.added_by <= self.first_removal <= self.second_removal:
            raise ValueError(
                f"all images are there from epoch `added_by` = {self.added_by} to `first_removal` = "
                f"{self.first_removal}, and fewer after `second_removal` = {self.second_removal}; choose epochs that "
                "do not fall"
            )
        return self

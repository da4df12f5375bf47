"""What the regularisers share: how their strength is given, and what several of them say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from ddcore.spec.base import RegularizerConfig

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec


class Weighted(RegularizerConfig):
    """Strength of a regulariser: exactly one of ``weight`` and ``relative``."""

    weight: float | None = Field(None, ge=0, description="Absolute weight (lambda of the papers).")
    relative: float | None = Field(
        None, ge=0, description="Gradient size against the method's, measured over the first steps and then frozen."
    )
    calibration_steps: int = Field(20, ge=1, le=1000, description="Steps over which `relative` is measured.")

    @model_validator(mode="after")
    def _one_strength(self) -> Weighted:
        if (self.weight is None) == (self.relative is None):
            raise ValueError(
                f"give `{self.name}` exactly one of `weight` (absolute, as in the papers) "
                "and `relative` (its gradient against the method's)"
            )
        return self


def more_images(job: JobSpec) -> str:
    """Which fields give a step more than one image of each class."""
    stages = len(job.method.shares(job.ipc))
    return f"`ipc` {2 * stages} or more" + (" or fewer `method.stages`" if stages > 1 else "")

"""Images as mixtures of shared bases (addressable memory)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import DecoderConfig, decoder_config
from ddcore.spec.errors import Problem

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec


@decoder_config
class AddressedConfig(DecoderConfig):
    """Every image is a mixture of small bases that all classes share; stored are the bases and the mixtures.

    A budget of ``ipc`` images a class holds as many mixtures of each class as fit beside the bases, a coefficient
    counting as one pixel value.
    """

    title: ClassVar[str] = "Addressable memory"
    citation: ClassVar[str] = "Deng & Russakovsky, Remember the Past, NeurIPS 2022 (arXiv 2206.02916)"
    cost: ClassVar[str] = "many more synthetic images a class, of which a step takes a few"
    smoke: ClassVar[Mapping[str, Any]] = {"bases": 8}

    name: Literal["addressed"] = "addressed"
    bases: int = Field(16, ge=1, le=100_000, description="Bases that all classes share (paper: 16 to 128).")
    factor: int = Field(
        2, ge=1, le=8, description="Bases are so many times smaller along a side; must divide the height and the width."
    )

    def images_per_class(self, ipc: int, shape: tuple[int, int, int], classes: int) -> int:
        """Mixtures of each class: what bases leave of the budget, by what one of every class takes; below 1: none.

        >>> AddressedConfig(bases=16).images_per_class(1, (3, 32, 32), 10)
        115
        """
        channels, height, width = shape
        values = channels * height * width
        return (ipc * values * classes - self.bases * values // self.factor**2) // (classes * self.bases)

    def shortfall(self, ipc: int, shape: tuple[int, int, int], classes: int) -> str | None:
        """Why a budget is too small, in words with what it lacks; nothing where it holds a mixture of each class."""
        if self.images_per_class(ipc, shape, classes) >= 1:
            return None
        channels, height, width = shape
        values = channels * height * width
        budget, needed = ipc * values * classes, self.bases * (values // self.factor**2 + classes)
        most = budget // (values // self.factor**2 + classes)
        return (
            f"`decoder.bases` is {self.bases}: they and one mixture of each of {classes} classes take {needed:,} "
            f"numbers, {needed - budget:,} more than the {budget:,} of `ipc` = {ipc}; use at most {most} bases, "
            "a larger `factor` or a larger `ipc`"
        )

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """A budget that the bases alone exceed, where the size of the images is known."""
        facts = job.facts
        detail = self.shortfall(job.ipc, facts.shape, len(facts.classes)) if facts else None
        if detail is not None:
            yield Problem("/decoder/bases", "budget_exceeded", detail)

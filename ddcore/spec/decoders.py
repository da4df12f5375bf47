"""How stored images become the images that networks train on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import DecoderConfig, decoder_config
from ddcore.spec.datasets import DATASETS
from ddcore.spec.errors import Problem

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec


@decoder_config
class IdentityConfig(DecoderConfig):
    """Stored images are trained on as they are."""

    title: ClassVar[str] = "None"
    citation: ClassVar[str] = "as in most methods, from Wang et al., Dataset Distillation (arXiv 1811.10959), on"
    cost: ClassVar[str] = "none"

    name: Literal["identity"] = "identity"


@decoder_config
class MosaicConfig(DecoderConfig):
    """Each stored image is cut into factor x factor tiles, and each tile is enlarged to an image of full size."""

    title: ClassVar[str] = "Multi-formation"
    citation: ClassVar[str] = "Kim et al., IDC, ICML 2022 (arXiv 2205.14959); Zhao et al., IDM, CVPR 2023"
    cost: ClassVar[str] = "factor squared times as many synthetic images in every pass"

    name: Literal["mosaic"] = "mosaic"
    factor: int = Field(
        2, ge=2, le=8, description="Tiles along a side; where it does not divide a side, mid-grey fills the last tiles."
    )
    scales: Literal["single", "multi", "bound"] = Field(
        "single",
        description="How stored images are cut: all by `factor` (`single`); each by 1, 2 and so on to `factor` "
        "(`multi`); or `single` in the end, but while it is learned only as many of a class as `bound` allows, the "
        "others by less (`bound`; IDC at 20 or more images a class and factor 3).",
    )
    bound: int = Field(
        128, ge=1, description="With `scales` 'bound': images of a class at most; every stored one is seen in any case."
    )

    @property
    def tiles(self) -> int:
        """Images that each stored one is made of at the start."""
        return self.factor**2

    @property
    def views(self) -> int:
        """Images that come out of each stored one."""
        return sum(f**2 for f in range(1, self.factor + 1)) if self.scales == "multi" else self.factor**2


@decoder_config
class AddressedConfig(DecoderConfig):
    """Every image is a mixture of small bases that all classes share; stored are the bases and the mixtures.

    A budget of ``ipc`` images a class holds as many mixtures of each class as fit beside the bases, a coefficient
    counting as one pixel value.
    """

    title: ClassVar[str] = "Addressable memory"
    citation: ClassVar[str] = "Deng & Russakovsky, Remember the Past, NeurIPS 2022 (arXiv 2206.02916)"
    cost: ClassVar[str] = "many more synthetic images a class, of which a step takes a few"

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
        facts = DATASETS.get(job.dataset)
        detail = self.shortfall(job.ipc, facts.shape, len(facts.classes)) if facts else None
        if detail is not None:
            yield Problem("/decoder/bases", "budget_exceeded", detail)

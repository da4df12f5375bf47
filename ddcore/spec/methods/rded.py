"""Mosaics of the real images that a trained network is surest of, as they are or refined.

Released code: github.com/LINs-lab/RDED and github.com/LINs-lab/CIM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import MethodConfig, NetworkConfig, Shrink, method_config
from ddcore.spec.errors import Problem
from ddcore.spec.memory import Batch
from ddcore.spec.methods.coreset import CoresetConfig
from ddcore.spec.teachers import TeacherConfig
from ddcore.spec.work import TRAINING, DataSizes, Load

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec

_RANKED = "Network that ranks the real images. The seed decides on one of the pool; only that is trained."


def too_few_candidates(job: JobSpec, candidates: int) -> Iterator[Problem]:
    """Refuse to choose more images of each class than are looked at."""
    tiles = job.decoder.tiles
    if candidates < job.ipc * tiles:
        most = candidates // tiles
        way_out = f"an `ipc` of at most {most}" if most else "fewer tiles"
        detail = (
            f"`candidates` is {candidates} real images of each class, but {job.ipc} stored images of {tiles} tiles "
            f"take {job.ipc * tiles}; choose at least {job.ipc * tiles}, or {way_out}"
        )
        yield Problem("/method/candidates", "too_few_candidates", detail)


def whitened_tiles(job: JobSpec) -> Iterator[Problem]:
    """Refuse tiles of whitened images, whose pixels depend on those of the other tiles."""
    if job.whitening:
        detail = f"`{job.method.name}` puts images together of pixels, which `whitening` mixes; use false"
        yield Problem("/whitening", "method_without_whitening", detail)


@method_config
class RDEDConfig(CoresetConfig):
    """Put mosaics together of crops of real images, those that a trained network is surest of."""

    title: ClassVar[str] = "Realistic and diverse mosaics"
    citation: ClassVar[str] = "Sun et al., RDED, CVPR 2024 (arXiv 2312.03526)"
    cost: ClassVar[str] = "light: a network trained on the real images, then one forward pass of `crops` crops of some"
    departures: ClassVar[tuple[str, ...]] = (
        "The source scores its sets by labels of each batch (`evaluation.protocol` 'rded'); here a job is scored as it "
        "asks, by default with hard labels.",
        "A class of fewer images than `candidates` gives each of them once.",
    )
    decoders: ClassVar[tuple[str, ...]] = ("mosaic", "identity")
    job_defaults: ClassVar[Mapping[str, Any]] = {"decoder": "mosaic"}
    smoke: ClassVar[Mapping[str, Any]] = {"teacher": TeacherConfig.smoke, "candidates": 20, "crops": 2}

    name: Literal["rded"] = "rded"
    candidates: int = Field(300, ge=1, le=1_000_000, description="Real images of each class to choose from, at random.")
    crops: int = Field(5, ge=1, le=100, description="Random crops of each of them, of which the best one counts.")
    smallest: float = Field(
        0.08, gt=0, le=1, description="Least area of a crop, as a share of the image; the largest is all of it."
    )
    teacher: TeacherConfig = Field(default_factory=TeacherConfig, description=_RANKED)

    def teachers(self) -> Iterator[tuple[TeacherConfig, int]]:
        """One of the pool."""
        yield self.teacher, 1

    def looks(self, job: JobSpec, data: DataSizes) -> Iterator[tuple[NetworkConfig, float]]:  # noqa: ARG002 - any job
        """Every crop."""
        yield self.teacher.network, self.crops * sum(min(self.candidates, count) for count in data.counts)

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """Noise to start from, too few images to choose from, and whitened pixels."""
        yield from super().impossible(job)
        yield from too_few_candidates(job, self.candidates)
        yield from whitened_tiles(job)


@method_config
class CIMConfig(MethodConfig):
    """Refine mosaics until a trained network sees in each tile what it sees in the image that the tile was made of."""

    extendable: ClassVar[bool] = True
    starts_real: ClassVar[bool] = True
    title: ClassVar[str] = "Mosaics refined by their tiles' features"
    citation: ClassVar[str] = "Shang et al., CIM, ECCV 2026"
    cost: ClassVar[str] = "light: a network trained on the real images, then `iterations` first-order steps"
    departures: ClassVar[tuple[str, ...]] = (
        "The source scores its sets by labels of each batch (`evaluation.protocol` 'cim'); here a job is scored as it "
        "asks, by default with hard labels.",
        "A class of fewer images than `candidates` gives each of them once; the source repeats them.",
        "The source also mirrors images, which changes the class of some. The presets of CIFAR name `flip`.",
    )
    decoders: ClassVar[tuple[str, ...]] = ("mosaic",)
    job_defaults: ClassVar[Mapping[str, Any]] = {"decoder": "mosaic", "augmentation": "crop_cutout"}
    shrink: ClassVar[Shrink] = "nearest"
    smoke: ClassVar[Mapping[str, Any]] = {"teacher": TeacherConfig.smoke, "candidates": 20}

    name: Literal["cim"] = "cim"
    iterations: int = Field(200, ge=1, le=10_000_000, description="Image steps of every class (released code: 200).")
    candidates: int = Field(300, ge=1, le=1_000_000, description="Real images of each class to choose from, at random.")
    lr_img: float = Field(0.01, gt=0, description="Learning rate of what is added to the mosaics, in pixel units.")
    weight_decay: float = Field(
        0.01, ge=0, description="Weight decay of what is added (AdamW), which pulls towards the mosaics as they began."
    )
    teacher: TeacherConfig = Field(
        default_factory=TeacherConfig,
        description="Network that ranks the real images, and whose features are compared. The seed decides on one of "
        "the pool; only that is trained.",
    )

    def teachers(self) -> Iterator[tuple[TeacherConfig, int]]:
        """One of the pool."""
        yield self.teacher, 1

    def looks(self, job: JobSpec, data: DataSizes) -> Iterator[tuple[NetworkConfig, float]]:  # noqa: ARG002 - any job
        """Every image to choose from."""
        yield self.teacher.network, float(sum(min(self.candidates, count) for count in data.counts))

    def steps_network(self, job: JobSpec) -> NetworkConfig:  # noqa: ARG002 - it has one of its own
        """That of the teacher."""
        return self.teacher.network

    def image_passes(self, load: Load) -> float:
        """The images that tiles were made of go forward, and the tiles forward and backward."""
        return (1 + TRAINING) * load.synthetic

    def batches(self, job: JobSpec, load: Load) -> Iterator[Batch]:  # noqa: ARG002 - it has a network of its own
        """Images of some classes, and as many tiles with their graphs."""
        yield Batch(self.teacher.network, load.grouped)
        yield Batch(self.teacher.network, load.grouped, 1, whole=True)

    def networks_held(self, load: Load) -> int:  # noqa: ARG002 - its network is a teacher
        """None but that of the teacher."""
        return 0

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """Anything but real images to start from, too few of them, tiles that change, and whitened pixels."""
        if job.init != "real":
            detail = f"`{self.name}` begins with mosaics of real images, but `init` is '{job.init}'; use 'real'"
            yield Problem("/init", "starts_from_mosaics", detail)
        if getattr(job.decoder, "scales", "single") == "bound":
            detail = (
                f"`{self.name}` compares every tile with the image that it was made of, but `decoder.scales` is "
                "'bound', which leaves tiles out; use 'single' or 'multi'"
            )
            yield Problem("/decoder/scales", "tiles_left_out", detail)
        yield from too_few_candidates(job, self.candidates)
        yield from whitened_tiles(job)

"""Images recovered from the statistics that batch normalisation keeps in trained networks.

Released code: github.com/VILA-Lab/SRe2L and github.com/Jiacheng8/FADRM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import MethodConfig, NetworkConfig, method_config
from ddcore.spec.errors import Problem
from ddcore.spec.memory import Batch
from ddcore.spec.networks import ResNet18Config
from ddcore.spec.teachers import TeacherConfig
from ddcore.spec.work import TRAINING, DataSizes, Load

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec

_SCORED_BY_LABELS = (
    "The source scores its sets by labels of each batch (`evaluation.protocol` 'fadrm'); here a job is scored as it "
    "asks, by default with hard labels."
)
_MIRRORED = "The source mirrors images half of the time; here only those of datasets whose classes survive it."
_PATCHES = (
    "The source downloads the crops that it begins with; here they are of `candidates` random crops of each class "
    "those in the middle, from what the first teacher is surest of to what it is least sure of."
)


def _batch_normalised() -> TeacherConfig:
    return TeacherConfig(network=ResNet18Config(norm="batch"))


class RecoveringConfig(MethodConfig):
    """What methods share that recover images from trained networks."""

    decoders: ClassVar[tuple[str, ...]] = ("identity",)
    smoke: ClassVar[Mapping[str, Any]] = {
        "teacher": {"network": {"name": "convnet", "norm": "batch", "width": 4}, "epochs": 1},
        "candidates": 20,
    }

    lr_img: float = Field(
        0.25, gt=0, description="Learning rate of Adam at the start, in normalised units; it falls to 0 by a cosine."
    )
    statistics_weight: float = Field(
        0.01, ge=0, description="Weight of the distance of a batch's statistics from those of the real images."
    )
    first_layer: float = Field(10.0, ge=0, description="Factor of that distance in the first normalisation.")
    batch_classes: int = Field(
        100, ge=2, le=100_000, description="Classes whose images make up a batch, with one image of each."
    )
    smallest: float = Field(
        0.08, gt=0, le=1, description="Least area of the crop that a teacher sees, as a share of the image."
    )
    shift: int = Field(
        4,
        ge=0,
        le=512,
        description="Most pixels by which images are rolled, down and to the right. Default: 4, but an eighth of the "
        "shorter side where that is less than 32.",
    )
    candidates: int = Field(
        300, ge=1, le=1_000_000, description="Random crops of real images of each class to begin with some of."
    )
    teacher: TeacherConfig = Field(
        default_factory=_batch_normalised,
        description="Network with batch normalisation that images are recovered from. The seed decides on one of the "
        "pool; only that is trained.",
    )
    other_teachers: tuple[TeacherConfig, ...] = Field(
        (), max_length=7, description="Further ones; each step takes the next in turn (FADRM+: three)."
    )

    def defaults_in(self, job: JobSpec) -> Mapping[str, Any]:
        """As large a part of a smaller image as 4 pixels are of those of CIFAR, for which 4 was published."""
        if job.facts is None:
            return {}
        _, height, width = job.facts.shape
        return {"shift": min(4, min(height, width) // 8)}

    @property
    def all_teachers(self) -> tuple[TeacherConfig, ...]:
        """In the order in which steps take them."""
        return (self.teacher, *self.other_teachers)

    def teachers(self) -> Iterator[tuple[TeacherConfig, int]]:
        """One of each pool."""
        for teacher in self.all_teachers:
            yield teacher, 1

    def looks(self, job: JobSpec, data: DataSizes) -> Iterator[tuple[NetworkConfig, float]]:
        """Every crop to choose from, where it begins with some."""
        if job.init == "real":
            yield self.teacher.network, float(sum(min(self.candidates, count) for count in data.counts))

    def steps_network(self, job: JobSpec) -> NetworkConfig:  # noqa: ARG002 - it has some of its own
        """That of the first teacher."""
        return self.teacher.network

    def image_passes(self, load: Load) -> float:
        """Every image goes forward and backward."""
        return float(TRAINING * load.synthetic)

    def batches(self, job: JobSpec, load: Load) -> Iterator[Batch]:  # noqa: ARG002 - it has networks of its own
        """One image of each of some classes, with the graph of all of them."""
        for teacher in self.all_teachers:
            yield Batch(teacher.network, min(load.data.classes, self.batch_classes), 1, whole=True)

    def networks_held(self, load: Load) -> int:  # noqa: ARG002 - its networks are teachers
        """None but the teachers."""
        return 0

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """Teachers without batch normalisation, whitened pixels, and fewer crops than images."""
        for index, teacher in enumerate(self.all_teachers):
            norm = getattr(teacher.network, "norm", "none")
            if norm != "batch":
                detail = (
                    f"`{self.name}` recovers images from the statistics of batch normalisation, but the teacher "
                    f"`{teacher.network.name}` has `norm` '{norm}'; use a network with `norm`: 'batch'"
                )
                where = f"other_teachers/{index - 1}" if index else "teacher"
                yield Problem(f"/method/{where}/network", "teacher_without_batch_norm", detail)
        if job.whitening:
            detail = f"`{self.name}` keeps pixels within their range, which `whitening` has none of; use false"
            yield Problem("/whitening", "method_without_whitening", detail)
        if job.init == "real" and self.candidates < job.ipc:
            detail = (
                f"`candidates` is {self.candidates} crops of each class, but `ipc` is {job.ipc}; choose at least "
                f"{job.ipc}"
            )
            yield Problem("/method/candidates", "too_few_candidates", detail)


@method_config
class SRe2LConfig(RecoveringConfig):
    """Images that trained networks recognise, and whose statistics inside them are those of the real images."""

    title: ClassVar[str] = "Squeeze, recover and relabel"
    citation: ClassVar[str] = (
        "Yin, Xing & Shen, SRe2L, NeurIPS 2023 (arXiv 2306.13092); with `init` 'real', SRe2L++ of Cui et al., CV-DD, "
        "2025 (arXiv 2501.07575)"
    )
    cost: ClassVar[str] = "light: a network trained on the real images, then `iterations` first-order steps"
    departures: ClassVar[tuple[str, ...]] = (_SCORED_BY_LABELS, _MIRRORED, _PATCHES)
    job_defaults: ClassVar[Mapping[str, Any]] = {"init": "noise"}

    name: Literal["sre2l"] = "sre2l"
    iterations: int = Field(4000, ge=1, le=10_000_000, description="Steps of every image (released code: 4,000).")

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """Images to begin with that are neither noise nor crops."""
        yield from super().impossible(job)
        if job.init not in ("noise", "real"):
            detail = f"`sre2l` begins with noise or with crops of real images, but `init` is '{job.init}'; use 'noise' "
            yield Problem("/init", "starts_from_noise_or_crops", f"{detail}or 'real'")


@method_config
class FADRMConfig(RecoveringConfig):
    """Images recovered in rounds, each of which brings half of the real crop back that they began with."""

    starts_real: ClassVar[bool] = True
    title: ClassVar[str] = "Data residual matching"
    citation: ClassVar[str] = "Cui et al., FADRM, NeurIPS 2025 (arXiv 2506.24125)"
    cost: ClassVar[str] = "light: a network trained on the real images, then `iterations` first-order steps"
    departures: ClassVar[tuple[str, ...]] = (
        _SCORED_BY_LABELS,
        _MIRRORED,
        _PATCHES,
        "On ImageNet the source changes the size of the images from round to round; here it stays, as it does in the "
        "source on CIFAR-100 and Tiny ImageNet.",
    )

    name: Literal["fadrm"] = "fadrm"
    iterations: int = Field(2000, ge=1, le=10_000_000, description="Steps of every image, all rounds together.")
    rounds: int = Field(4, ge=1, le=100, description="Rounds of equally many steps, each with an Adam of its own.")
    residual: float = Field(
        0.5, ge=0, le=1, description="Share of the crop in the mixture that follows every round but the last."
    )

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """Anything but real images to begin with, and rounds without a step."""
        yield from super().impossible(job)
        if job.init != "real":
            detail = f"`fadrm` begins with crops of real images, but `init` is '{job.init}'; use 'real'"
            yield Problem("/init", "starts_from_crops", detail)
        if self.rounds > self.iterations:
            detail = f"`rounds` is {self.rounds}, but there are {self.iterations} `iterations`; choose at most as many"
            yield Problem("/method/rounds", "rounds_without_steps", detail)

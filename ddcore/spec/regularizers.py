"""Terms that pull on the synthetic images beside the method, and how hard.

The strength is given in one of two ways. ``weight`` is absolute, the lambda of the papers.
``relative`` is the size of the term's gradient on the images against the method's: it is measured
over the first ``calibration_steps`` steps, then frozen into an absolute weight that the job reports
(a scale that keeps following the gradients runs away as the term succeeds).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from ddcore.spec.base import AnyNetwork, MethodConfig, RegularizerConfig, SpecModel, regularizer_config
from ddcore.spec.networks import ConvNetConfig

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec

BACON_VARIANT = (
    "`released`: likelihood and variation of class means with the deviation exp(std), as in the code that gave the "
    "published figures (its third term is identically zero); `paper`: all three terms as printed, over every pair of "
    "a synthetic and a real image, with the deviation std."
)
BACON_TRADE_OFF = "lambda: weight of the variation, 1 - lambda being that of the clip term (published: 0.8)."


class TeacherConfig(SpecModel):
    """A pool of networks trained on the real images: once per content hash, then cached."""

    network: AnyNetwork = Field(default_factory=ConvNetConfig, description="Architecture of every teacher.")
    pool: int = Field(1, ge=1, le=1000, description="How many teachers; one is drawn for each step (papers: 200-1000).")
    epochs: int = Field(4, ge=1, le=1000, description="Training epochs on the real set (papers: 40).")
    lr: float = Field(0.01, gt=0, description="Learning rate (SGD, constant).")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum.")
    weight_decay: float = Field(1e-3, ge=0, description="Weight decay (CMI: 1e-3; IID: 5e-4).")
    batch_size: int = Field(128, ge=1, description="Images a training step (papers: 256).")


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


@regularizer_config
class MIMConfig(Weighted):
    """Raise the mutual information between real and synthetic activations (contrastive bound)."""

    title: ClassVar[str] = "Mutual-information maximisation"
    citation: ClassVar[str] = "Shang, Yuan & Yan, MIM4DD, NeurIPS 2023 (arXiv 2312.16627)"
    cost: ClassVar[str] = "one forward of `batch_real` images a class and one forward and backward of the synthetic set"

    name: Literal["mim"] = "mim"
    objective: Literal["nce", "infonce"] = Field(
        "infonce",
        description="`nce`: the classification loss as printed (eq. 16); `infonce`: its in-batch form, which was "
        "measured to help more (docs/methods.md).",
    )
    layers: Literal["blocks", "last"] = Field(
        "last",
        description="Activations compared: the output of every block, as in the paper, or only the last features, "
        "which was measured to help more.",
    )
    layer_decay: float = Field(
        2.0, ge=1, description="beta of eq. 17: layer k of K weighs beta^-(K-1-k); 1 weighs all alike."
    )
    projection: int = Field(128, ge=1, le=4096, description="Output dimensions of the two heads of a layer.")
    pool_to: int | None = Field(
        4, ge=1, description="Average-pool feature maps to this size before a head; null keeps the whole map."
    )
    temperature: float = Field(0.1, gt=0, description="tau of eq. 15.")
    negatives: int | None = Field(
        None, ge=1, description="N of eq. 16, negatives a positive. Default: as many as the batch holds (classes - 1)."
    )
    population: int | None = Field(None, ge=1, description="M of eq. 15. Default: the number of real training images.")
    critic_bias: Literal["paper", "frozen", "learned"] = Field(
        "learned",
        description="Offset of the logit of `nce`: log(M/N) as printed; the partition function of the first "
        "batch, frozen; or learned with the heads.",
    )
    networks: Literal["auto", "teacher"] = Field(
        "auto",
        description="Whose activations are compared: with a method that trains networks (`mtt`, `tesla`, `bptt`), "
        "those of the step, the real side's and the student's (`auto`, as in the paper); else those of a teacher.",
    )
    path: Literal["detached", "unrolled"] = Field(
        "detached",
        description="How the term reaches the images under such a student: through their own forward pass with the "
        "student fixed, or also through the student's training on them, exactly.",
    )
    batch_real: int = Field(50, ge=1, description="Real images of each class a step.")
    head_lr: float = Field(1e-3, gt=0, description="Learning rate of the heads (Adam).")
    teacher: TeacherConfig = Field(
        default_factory=TeacherConfig, description="Networks whose activations are compared, where the method has none."
    )

    def compares_students(self, method: MethodConfig) -> bool:
        """Whether the networks of each step are compared, so that no teacher is needed."""
        return method.matcher.trains_networks and self.networks == "auto"

    def impossible(self, job: JobSpec) -> Iterator[tuple[str, str]]:
        """A path through training that is not there."""
        if self.path == "unrolled" and not self.compares_students(job.method):
            detail = (
                f"`path` is 'unrolled', but `{job.method.matcher.name}` with `networks` '{self.networks}' compares "
                "the sides under a fixed network; use 'detached', or `networks` 'auto' with `mtt`, `tesla` or `bptt`"
            )
            yield "no_training_to_unroll", detail


@regularizer_config
class CMIConfig(Weighted):
    """Lower the class-conditional mutual information of the synthetic set in a teacher's feature space."""

    title: ClassVar[str] = "Class-aware conditional mutual information"
    citation: ClassVar[str] = "Zhong et al., ICLR 2025 (arXiv 2412.09945)"
    cost: ClassVar[str] = "one forward and backward of the synthetic set through a teacher a step"

    name: Literal["cmi"] = "cmi"
    teacher: TeacherConfig = Field(default_factory=TeacherConfig, description="Pool of pretrained networks.")

    def impossible(self, job: JobSpec) -> Iterator[tuple[str, str]]:
        """One image a class, which has no spread."""
        if job.fewest_images_per_class == 1:
            detail = (
                "CMI is identically zero with one image a class (a class of one has no spread); "
                f"use {_more_images(job)}, the decoder 'mosaic', or drop `cmi`"
            )
            yield "cmi_needs_several_images", detail


@regularizer_config
class IIDConfig(Weighted):
    """Gather the images of a class in a teacher's feature space, and match how channels of features vary together.

    ``weight`` or ``relative`` scales the sum of both parts; at a weight of 1 their coefficients are the two lambdas
    of the paper.
    """

    title: ClassVar[str] = "Inter-sample and inter-feature relations"
    citation: ClassVar[str] = "Deng et al., CVPR 2024 (arXiv 2404.00563)"
    cost: ClassVar[str] = (
        "one forward and backward of the synthetic set through the method's network, and one through a teacher, a step"
    )
    compares_features: ClassVar[bool] = True

    name: Literal["iid"] = "iid"
    covariance: float = Field(
        0.01,
        ge=0,
        description="lambda_CM, coefficient of covariance matching; 0 leaves it out. Default: as published for "
        "CIFAR-10 at 10 images per class, 0.03 beside `idm` and `bacon`, 0.01 (that with DM) beside others.",
    )
    centralization: float = Field(
        0.05,
        ge=0,
        description="lambda_CC, coefficient of class centralisation; 0 leaves it out, and needs no teachers. Default: "
        "as published, 0.01 beside `idm` and `bacon`, 0.05 (that with DM) beside others.",
    )
    teacher: TeacherConfig = Field(default_factory=TeacherConfig, description="Pool of pretrained networks.")

    def defaults_in(self, job: JobSpec) -> Mapping[str, Any]:
        """The coefficients that the authors' commands have with IDM, which BACON is but for its distance."""
        with_idm = job.method.matcher.name in ("idm", "bacon")
        return {"covariance": 0.03, "centralization": 0.01} if with_idm else {}

    @model_validator(mode="after")
    def _some_part(self) -> IIDConfig:
        if not self.covariance and not self.centralization:
            raise ValueError("`iid` has a `covariance` and a `centralization` of 0, which leaves nothing; raise one")
        return self

    def impossible(self, job: JobSpec) -> Iterator[tuple[str, str]]:
        """One image a class, and a network that mixes the images of a batch."""
        if job.fewest_images_per_class == 1:
            detail = (
                "IID does nothing with one image a class (a class of one has neither spread nor covariance); "
                f"use {_more_images(job)}, the decoder 'mosaic', or drop `iid`"
            )
            yield "iid_needs_several_images", detail
        if self.covariance and getattr(job.network, "norm", None) == "batch":
            detail = (
                "`iid` compares covariances class by class, but batch normalisation lets the classes of a batch "
                "influence each other; use `network.norm`: 'instance', or `covariance`: 0"
            )
            yield "iid_needs_single_images", detail


@regularizer_config
class BACONTermConfig(Weighted):
    """Raise the likelihood of the synthetic features under the real ones of their class, and keep them close."""

    title: ClassVar[str] = "Bayesian-risk term"
    citation: ClassVar[str] = "Zhou et al., BACON, 2024 (arXiv 2406.01112)"
    cost: ClassVar[str] = "one forward and backward of the synthetic set; the method's real features are shared"
    compares_features: ClassVar[bool] = True

    name: Literal["bacon"] = "bacon"
    variant: Literal["released", "paper"] = Field("released", description=BACON_VARIANT)
    trade_off: float = Field(0.8, ge=0, le=1, description=BACON_TRADE_OFF)

    def impossible(self, job: JobSpec) -> Iterator[tuple[str, str]]:
        """A method that draws a single real image."""
        batch_real = getattr(job.method.matcher, "batch_real", None)
        if batch_real == 1:
            yield "batch_without_spread", spread_of_one(self.name, batch_real)


def _more_images(job: JobSpec) -> str:
    """Which fields give a step more than one image of each class."""
    stages = len(job.method.shares(job.ipc))
    return f"`ipc` {2 * stages} or more" + (" or fewer `method.stages`" if stages > 1 else "")


def spread_of_one(name: str, batch_real: int) -> str:
    """Say that a distance divides by a standard deviation that the real batch does not have."""
    return (
        f"`{name}` measures the spread of the real features of a class, but `method.batch_real` is {batch_real}; "
        "use 2 or more"
    )

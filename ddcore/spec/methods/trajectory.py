"""Matching of training trajectories.

Released code: github.com/GeorgeCazenavette/mtt-distillation (MTT) and github.com/justincui03/tesla (TESLA).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from ddcore.spec.base import MethodConfig, method_config
from ddcore.spec.catalog import SpecModel
from ddcore.spec.curriculum import CurriculumConfig
from ddcore.spec.errors import Problem
from ddcore.spec.memory import Batch
from ddcore.spec.work import TRAINING, TWICE, WAY_BACK, DataSizes, Load

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec

MAX_MOVE = 0.1
"""Longest step of images whose rate was not given, in deviations of a pixel."""
MAX_CHANGE = 0.5


class ExpertsConfig(SpecModel):
    """Networks of the job's architecture trained on the real images, with a snapshot after every epoch.

    They are found by what they depend on (data, whitening, network, augmentation, this recipe, precision, versions),
    so jobs share them and nobody can mistake those of another dataset or network for them.
    """

    count: int = Field(100, ge=1, le=1000, description="How many experts (papers: 100).")
    epochs: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Epochs of each (papers: 50). Default: as far as a window can reach, `max_start` - 1 + "
        "`expert_epochs`. No window reads later ones. Labels of `datm` and `pad` begin with what the last one says "
        "(their presets: 100).",
    )
    lr: float = Field(0.01, gt=0, description="Learning rate (SGD without momentum or decay, constant).")
    batch_size: int = Field(256, ge=1, description="Real images a training step.")
    rho: float = Field(
        0.0,
        ge=0,
        description="Experts that go to flat minima (FTD): distance, relative to the weights, at which GSAM takes the "
        "slope, with a second pass a step. 0 for plain SGD (FTD, DATM: 0.01).",
    )
    alpha: float = Field(
        0.3, ge=0, description="Share of the disagreeing part of the slope that GSAM takes away; nothing without `rho`."
    )

    @property
    def recipe(self) -> dict[str, Any]:
        """What their weights depend on, apart from how many there are and how long they are trained."""
        flat = set() if self.rho else {"rho", "alpha"}
        return self.model_dump(mode="json", exclude={"count", "epochs"} | flat)

    @model_validator(mode="before")
    @classmethod
    def _recipe(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError(
                f"`experts` is a recipe, not files ('{value}'): experts are trained once for each dataset, whitening, "
                "network, augmentation and recipe, and found by these, so those of another job cannot be handed in; "
                "give an object such as {'count': 100}"
            )
        return value


class TrajectoryConfig(MethodConfig):
    """What trajectory matching can be told, with its exact gradient (``mtt``) and TESLA's (``tesla``)."""

    extendable: ClassVar[bool] = True
    cost: ClassVar[str] = (
        "heavy: experts trained on the real images, then `student_steps` steps of training a step, each with a double "
        "backward pass"
    )
    departures: ClassVar[tuple[str, ...]] = (
        "Published figures for CIFAR are of whitened images (but for CIFAR-10 at 50 images a class and CIFAR-100 at "
        "10); a job is not whitened unless it gives `whitening`: true.",
        "`lr_img`, `lr_lr`, `lr_init`, `student_steps`, `expert_epochs` and `max_start` are published for each dataset "
        "and number of images; the presets `paper/mtt-…` and `paper/tesla-…` hold them. Steps at default rates are "
        "limited (`max_move`, `max_change`), published ones are not.",
        "MNIST, Fashion-MNIST and SVHN have no published setting.",
    )
    trains_networks: ClassVar[bool] = True
    learns_lr: ClassVar[bool] = True
    stageable: ClassVar[bool] = True
    job_defaults: ClassVar[Mapping[str, Any]] = {"evaluation": {"protocol": "mtt", "epochs": 300, "repeats": 3}}
    smoke: ClassVar[Mapping[str, Any]] = {"student_steps": 3, "max_start": 2, "experts": {"count": 2}}

    iterations: int = Field(5000, ge=1, le=10_000_000, description="Image steps (MTT: 5,000; TESLA: 10,000).")
    student_steps: int = Field(
        30, ge=1, le=10_000, description="N: training steps of the student on the synthetic images (papers: 10 to 80)."
    )
    expert_epochs: int = Field(
        2,
        ge=1,
        le=1000,
        description="M: the student shall arrive where the expert is so many epochs on (papers: 2, 3).",
    )
    max_start: int = Field(
        20,
        ge=1,
        le=1000,
        description="The student starts at snapshot 0 to `max_start` - 1 of an expert, at random (papers: 2 to 40).",
    )
    lr_img: float = Field(100.0, gt=0, description="Learning rate of the images (papers: 100 to 10,000).")
    momentum: float = Field(0.5, ge=0, lt=1, description="Momentum of the image optimiser (SGD).")
    lr_init: float = Field(
        0.01,
        gt=0,
        description="Learning rate of the student to start from; it is learned, and stored with the images (papers: "
        "0.01, 0.001). The run stops should it fall below a thousandth of this.",
    )
    lr_lr: float = Field(
        1e-5, ge=0, description="Learning rate of that learning rate (papers: 1e-7 to 1e-4); 0 keeps it as it is."
    )
    momentum_lr: float = Field(0.5, ge=0, lt=1, description="Momentum of its optimiser (SGD).")
    max_move: float | None = Field(
        None,
        gt=0,
        description="Longest step of the images, as the root mean square over their values in normalised units; a "
        "longer one is cut, its momentum too. Default: none where `lr_img` is given, as published, else 0.1.",
    )
    max_change: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Largest share of the learned rate that a step may add to it or take from it, so that it stays "
        "positive. Default: none where `lr_lr` is given, as published, else 0.5.",
    )
    batch_syn: int | None = Field(
        None, ge=1, description="Synthetic images a student step. Default: all (papers: all, or 125 to 300)."
    )
    labels: Literal["hard", "soft"] = Field(
        "hard",
        description="Labels of the synthetic images: their class, or what the expert arrived at says of them, anew "
        "in each step (`soft`, TESLA for ImageNet).",
    )
    gradient: Literal["exact", "unrolled", "tesla"] = Field(
        "exact",
        description="`exact`: of the distance through all student steps, by an adjoint at constant memory; `unrolled`: "
        "the same from one graph of all steps, as published, whose memory grows with them; `tesla`: with every "
        "Hessian taken for zero.",
    )
    experts: ExpertsConfig = Field(
        default_factory=ExpertsConfig, description="Networks trained on the real images whose way is followed."
    )

    def defaults_in(self, job: JobSpec) -> Mapping[str, Any]:  # noqa: ARG002 - they follow what else was given
        """Limits of the steps, where their rates are left to us.

        Published rates are set by set and images by images. On a set of a few batches the expert of a window goes less
        far than the student: the loss begins far above 1, its slopes are as steep, and the plain defaults would turn
        the learned rate negative in the first step.
        """
        limits = {"lr_img": ("max_move", MAX_MOVE), "lr_lr": ("max_change", MAX_CHANGE)}
        return dict(limit for rate, limit in limits.items() if rate not in self.model_fields_set)

    @property
    def expert_curriculum(self) -> CurriculumConfig | None:
        """Which real images each epoch of the experts takes; all of them, by default."""
        return None

    @property
    def reach(self) -> int:
        """Last epoch of an expert that a window can end at."""
        return self.max_start - 1 + self.expert_epochs

    @property
    def trained_to(self) -> int:
        """Last epoch that experts are trained to."""
        return self.experts.epochs or self.reach

    def impossible(self, job: JobSpec) -> Iterator[Problem]:  # noqa: ARG002 - the experts alone tell
        """A window beyond the trajectory."""
        epochs = self.experts.epochs
        if epochs is not None and epochs < self.reach:
            detail = (
                f"experts of {epochs} epochs end before the last window does: one may start at epoch "
                f"{self.max_start - 1} and spans {self.expert_epochs}. Use `experts.epochs` of at least {self.reach} "
                f"or none, or `max_start` of at most {epochs + 1 - self.expert_epochs}"
                if epochs >= self.expert_epochs
                else f"experts of {epochs} epochs are shorter than one window, `expert_epochs` = {self.expert_epochs}; "
                f"use `experts.epochs` of at least {self.reach}, or none"
            )
            yield Problem("/method/experts/epochs", "window_beyond_trajectory", detail)

    @property
    def own_labels(self) -> Literal["soft"] | None:
        """Those of the expert of a step, where they are asked for."""
        return "soft" if self.labels == "soft" else None

    def image_passes(self, load: Load) -> float:
        """The student's steps, forwards and back, and the labels."""
        labelled = load.synthetic if self.labels == "soft" else 0
        return TRAINING * self._images_trained(load) + self.way_back(load) + labelled

    def way_back(self, load: Load) -> float:
        """Through all steps of the student."""
        return TWICE * self._images_trained(load)

    def batches(self, job: JobSpec, load: Load) -> Iterator[Batch]:
        """Of the experts' training, and of the student's, with second derivatives on the way back."""
        yield Batch(job.network, min(self.experts.batch_size, load.data.train), 1, whole=True)
        yield Batch(job.network, self._batch(load), 2)

    def networks_held(self, load: Load) -> int:  # noqa: ARG002 - equally many whatever the images
        """The student after each of its steps, two snapshots of an expert, and what the way back carries."""
        return self.student_steps + 1 + 2 + WAY_BACK

    def _batch(self, load: Load) -> int:
        """Images of a step of the student, at most."""
        return min(self.batch_syn or load.data.classes * load.moving, load.synthetic)

    def _images_trained(self, load: Load) -> int:
        """Those of all steps; batches are cut from one pass over the images after another, the last of it shorter."""
        every, batch = load.synthetic, self._batch(load)
        passes, left = divmod(self.student_steps, -(-every // batch))
        return passes * every + left * batch

    def pretraining_passes(self, job: JobSpec, data: DataSizes) -> float:  # noqa: ARG002 - experts see real images
        """Training of the experts."""
        of_step = TRAINING * (2 if self.experts.rho else 1)
        return of_step * self.experts.count * self._images_of_expert(data)

    def _images_of_expert(self, data: DataSizes) -> int:
        """Real images that an expert sees, all epochs counted."""
        return self.trained_to * data.train

    @property
    def networks_pretrained(self) -> int:
        """Experts."""
        return self.experts.count


@method_config
class MTTConfig(TrajectoryConfig):
    """Move a student that learns from the synthetic images along the way of experts that learned from the real ones."""

    title: ClassVar[str] = "Matching training trajectories"
    citation: ClassVar[str] = "Cazenavette et al., CVPR 2022 (arXiv 2203.11932)"

    name: Literal["mtt"] = "mtt"


@method_config
class TESLAConfig(TrajectoryConfig):
    """Trajectory matching whose gradient leaves out how early steps move later ones; soft labels where asked for."""

    title: ClassVar[str] = "TESLA"
    citation: ClassVar[str] = "Cui, Wang, Si & Hsieh, Scaling up Dataset Distillation, ICML 2023 (arXiv 2211.10586)"

    name: Literal["tesla"] = "tesla"
    iterations: int = Field(10_000, ge=1, le=10_000_000, description="Image steps (paper: 10,000).")
    lr_img: float = Field(
        50.0,
        gt=0,
        description="Learning rate of the images: half of what the released code is given (50 for 100, 500 for 1000, "
        "5,000 for 10,000). That code doubles a tuple instead of the slope in it, so its rates belong to half the "
        "slope of the paper's formula, which is the one here.",
    )
    gradient: Literal["exact", "unrolled", "tesla"] = Field(
        "tesla", description="As for `mtt`; `tesla`, the published one, is not the gradient of the loss it descends."
    )

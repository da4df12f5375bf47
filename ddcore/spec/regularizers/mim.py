"""MIM4DD: mutual information between real and synthetic activations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ddcore.spec.base import MethodConfig, NetworkConfig, regularizer_config
from ddcore.spec.errors import Problem
from ddcore.spec.memory import Batch
from ddcore.spec.regularizers.base import Weighted
from ddcore.spec.teachers import TeacherConfig
from ddcore.spec.work import TRAINING, Load

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec


@regularizer_config
class MIMConfig(Weighted):
    """Raise the mutual information between real and synthetic activations (contrastive bound)."""

    extendable: ClassVar[bool] = True
    title: ClassVar[str] = "Mutual-information maximisation"
    citation: ClassVar[str] = "Shang, Yuan & Yan, MIM4DD, NeurIPS 2023 (arXiv 2312.16627)"
    cost: ClassVar[str] = "one forward of `batch_real` images a class and one forward and backward of the synthetic set"
    departures: ClassVar[tuple[str, ...]] = (
        "The paper has `objective` 'nce' on `layers` 'blocks'; the defaults were measured to help more.",
        "Outside `mtt`, `tesla` and `bptt` nothing is published; a teacher takes the place of networks that "
        "a method does not train.",
    )
    smoke: ClassVar[Mapping[str, Any]] = {"teacher": TeacherConfig.smoke}

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
        description="Whose activations are compared: with a method that trains networks (`mtt`, `tesla`, `datm`, "
        "`pad`, `bptt`, `rat_bptt`), those of the step, the real side's and the student's (`auto`, as in the paper); "
        "else those of a teacher.",
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

    def teachers(self, job: JobSpec) -> Iterator[tuple[TeacherConfig, int]]:
        """The pool, unless the step has networks."""
        if not self.compares_students(job.method):
            yield self.teacher, self.teacher.pool

    def image_passes(self, job: JobSpec, load: Load) -> Iterator[tuple[NetworkConfig, float]]:
        """Real images forward and synthetic ones both ways, and where asked for the way back through a training."""
        network = job.network if self.compares_students(job.method) else self.teacher.network
        yield network, load.data.drawn_evenly(self.batch_real) + TRAINING * load.synthetic
        if self.path == "unrolled":
            yield network, job.method.way_back(load)

    def batches(self, job: JobSpec, load: Load) -> Iterator[Batch]:
        """The real images without a graph, and all synthetic ones with one."""
        network = job.network if self.compares_students(job.method) else self.teacher.network
        yield Batch(network, load.data.drawn_evenly(self.batch_real))
        yield Batch(network, load.synthetic, 1, whole=True)

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """A path through training that is not there."""
        if self.path == "unrolled" and not self.compares_students(job.method):
            detail = (
                f"`path` is 'unrolled', but `{job.method.matcher.name}` with `networks` '{self.networks}' compares "
                "the sides under a fixed network; use 'detached', or `networks` 'auto' with `mtt`, `tesla`, `datm`, "
                "`pad`, `bptt` or `rat_bptt`"
            )
            yield Problem(self.pointer(job), "no_training_to_unroll", detail)

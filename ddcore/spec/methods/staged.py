"""Distillation in stages.

Released code: github.com/shqii1j/seqmatch (SeqMatch) and github.com/VITA-Group/ProgressiveDD (PDD).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from ddcore.spec.base import METHODS, AnyBase, MethodConfig, method_config
from ddcore.spec.decoders import MosaicConfig
from ddcore.spec.errors import Problem
from ddcore.spec.memory import Batch
from ddcore.spec.methods.trajectory import MTTConfig
from ddcore.spec.protocols import Schedule
from ddcore.spec.work import TRAINING, DataSizes, Load

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec

_POOL = 10
_BATCH = 256
"""Images a step of the trainings on the stages so far."""


class StagedConfig(MethodConfig):
    """What staging can be told, whichever way networks are trained on the whole set (``seqmatch``, ``pdd``)."""

    cost: ClassVar[str] = (
        "that of its base, `stages` times, and before every stage but the first `pool` networks trained on the stages "
        "so far and, with a base that follows experts, on the real images after that"
    )
    departures: ClassVar[tuple[str, ...]] = (
        "Published are 2 or 3 stages (SeqMatch) and 5 (PDD), and 1000 `epochs` before a stage (PDD on IDC: 200).",
        "Published figures on trajectories are of whitened images; a job is not whitened unless it gives `whitening`: "
        "true.",
        "With a base that follows no experts a pool of networks serves a whole stage; the released code trains new "
        "ones all the time.",
    )
    smoke: ClassVar[Mapping[str, Any]] = {"stages": 2, "epochs": 2, "base": {"name": "mtt", **MTTConfig.smoke}}

    schedule: ClassVar[Schedule] = "drop_once"
    """How the rate drops half way through the trainings on the stages so far."""

    stages: int = Field(
        2, ge=1, le=1000, description="K: parts of the set, learned one after the other (papers: 2, 3; 5)."
    )
    sizes: tuple[int, ...] | None = Field(
        None,
        description="Stored images of each class of each stage, where they are not to be equally many (SeqMatch at 50: "
        "[17, 17, 16]).",
    )
    base: AnyBase = Field(
        default_factory=MTTConfig,
        description="Method that learns each stage, by name or as an object with its own fields: one whose networks "
        "can start where others have learned the earlier stages.",
    )
    iterations: int = Field(
        10_000,
        ge=1,
        le=100_000_000,
        description="Steps of all stages together, equally many of each. Default: `stages` times `base.iterations`; "
        "either is enough.",
    )
    epochs: int = Field(
        300,
        ge=1,
        le=100_000,
        description="E of the trainings on the stages so far that lead to the networks of a stage: E + 1 passes, with "
        "a tenth of the rate after half of them (papers: 1000; PDD on IDC: 200).",
    )
    pool: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Networks so trained for a stage. Default: as many as `base` has experts (papers: 100), else "
        f"{_POOL} (SeqMatch and PDD on IDC: new ones all the time).",
    )
    lr: float = Field(
        0.01, gt=0, description="Learning rate of these trainings, where `base` learns none to train with."
    )

    @property
    def matcher(self) -> MethodConfig:
        """The base."""
        return self.base

    @property
    def networks(self) -> int:
        """Networks of every stage but the first."""
        return self.pool or self.base.networks_pretrained or _POOL

    def shares(self, ipc: int) -> tuple[int, ...]:
        """Stored images of each class of each stage.

        >>> SeqMatchConfig(stages=3).shares(6), SeqMatchConfig(stages=2, sizes=(3, 2)).shares(5)
        ((2, 2, 2), (3, 2))
        """
        return self.sizes or (ipc // self.stages,) * self.stages

    def ends(self, ipc: int) -> tuple[int, ...]:
        """Stored images of each class up to the end of each stage."""
        return tuple(accumulate(self.shares(ipc)))

    @classmethod
    def defaults_for(cls, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Those of the base, scored as the stages were made."""
        base = fields.get("base", MTTConfig().name)
        name = base.get("name") if isinstance(base, Mapping) else getattr(base, "name", base)
        known = METHODS.get(name) if isinstance(name, str) else None
        usual = {"protocol": cls.model_fields["name"].default, "epochs": 300, "repeats": 3}
        if known is None:
            return {"evaluation": usual}
        rate = {} if known.learns_lr else {"lr": 0.01}
        return {**known.job_defaults, "evaluation": {**usual, **rate}}

    @model_validator(mode="before")
    @classmethod
    def _steps_of_a_stage(cls, data: object) -> object:
        """Fill in the steps of all stages by those of one, or the other way round."""
        if not isinstance(data, Mapping):
            return data
        stages, total = data.get("stages", cls.model_fields["stages"].default), data.get("iterations")
        base = _given(data.get("base", MTTConfig().name))
        known = METHODS.get(base["name"]) if isinstance(base.get("name"), str) else None
        if known is None or not known.stageable or not isinstance(stages, int) or stages < 1:
            return data
        if total is None:
            of_one = base.get("iterations")
            return {**data, "iterations": stages * of_one} if isinstance(of_one, int) else data
        if "iterations" not in base and isinstance(total, int) and total % stages == 0:
            return {**data, "base": {**base, "iterations": total // stages}}
        return data

    @model_validator(mode="after")
    def _steps_of_all_stages(self) -> Self:
        """Count the steps of all stages where neither number was given."""
        if "iterations" not in self.model_fields_set:
            self.__dict__["iterations"] = self.stages * self.base.iterations
        return self

    def defaults_in(self, job: JobSpec) -> Mapping[str, Any]:
        """The steps of all stages of :meth:`suited`'s base."""
        return {"iterations": self.stages * self.base.suited(job).iterations}

    def suited(self, job: JobSpec) -> Self:
        """The base with its defaults in the job, too."""
        return super().suited(job).model_copy(update={"base": self.base.suited(job)})

    @field_validator("sizes")
    @classmethod
    def _of_each_stage(cls, value: tuple[int, ...] | None, info: ValidationInfo) -> tuple[int, ...] | None:
        stages = info.data.get("stages")
        if value is not None and stages is not None and (len(value) != stages or min(value) < 1):
            raise ValueError(
                f"`sizes` is {list(value)}, but there are {stages} `stages`; give each at least one image of each class"
            )
        return value

    def impossible(self, job: JobSpec) -> Iterator[Problem]:
        """Stages that do not divide the images, images that would not stay as they are, and what the base refuses."""
        for problem in self.base.impossible(job):
            pointer = problem.pointer.replace("/method/", "/method/base/", 1)
            yield Problem(pointer, problem.code, problem.detail)
        if self.iterations % self.stages:
            detail = (
                f"`iterations` is {self.iterations}, which {self.stages} stages cannot share equally; choose a "
                f"multiple of {self.stages}"
            )
            yield Problem("/method/iterations", "stages_do_not_divide_iterations", detail)
        elif self.iterations != self.stages * self.base.iterations:
            detail = (
                f"`iterations` is {self.iterations}, but {self.stages} stages of `base.iterations` = "
                f"{self.base.iterations} steps are {self.stages * self.base.iterations}; give one of the two"
            )
            yield Problem("/method/iterations", "iterations_disagree", detail)
        if self.sizes is not None and sum(self.sizes) != job.ipc:
            detail = (
                f"`sizes` is {list(self.sizes)}, {sum(self.sizes)} stored images of each class, but `ipc` is "
                f"{job.ipc}; let them agree"
            )
            yield Problem("/method/sizes", "sizes_are_not_the_ipc", detail)
        elif self.sizes is None and job.ipc % self.stages:
            allowed = ", ".join(str(k) for k in range(1, job.ipc + 1) if job.ipc % k == 0)
            detail = (
                f"`stages` is {self.stages}, which does not divide `ipc` = {job.ipc}; choose one of {allowed}, another "
                "`ipc`, or `sizes` of your own"
            )
            yield Problem("/method/stages", "stages_do_not_divide_ipc", detail)
        if isinstance(job.decoder, MosaicConfig) and job.decoder.scales == "bound":
            detail = (
                "`decoder.scales` 'bound' cuts stored images by factors that change as more of them join, so those of "
                "earlier stages would not stay as they are; use 'single' or 'multi'"
            )
            yield Problem("/decoder/scales", "stages_move_bounded_mosaics", detail)
        if getattr(self.base, "labels", "hard") == "soft":
            detail = (
                "`base.labels` is 'soft', what the expert of a step says of all images, so those of earlier stages "
                "would not keep the labels that networks learned them with; use 'hard'"
            )
            yield Problem("/method/base/labels", "stages_move_soft_labels", detail)

    def loads(self, job: JobSpec, data: DataSizes) -> Iterator[Load]:
        """The base's steps of every stage: with all images so far, of which those of the stage move."""
        for rows, end in zip(self.shares(job.ipc), self.ends(job.ipc), strict=True):
            seen, before = (job.decoder.images_seen(n, data.shape, data.classes) for n in (end, end - rows))
            yield Load(data, self.base.iterations, seen, seen - before)

    def image_passes(self, load: Load) -> float:
        """That of the base."""
        return self.base.image_passes(load)

    def passes(self, load: Load) -> float:
        """That of the base."""
        return self.base.passes(load)

    def way_back(self, load: Load) -> float:
        """That of the base."""
        return self.base.way_back(load)

    def batches(self, job: JobSpec, load: Load) -> Iterator[Batch]:
        """Those of the base, and of the training on the stages so far."""
        yield from self.base.batches(job, load)
        yield Batch(job.network, min(_BATCH, load.synthetic), 1, whole=True)

    def networks_held(self, load: Load) -> int:
        """As many as the base does."""
        return self.base.networks_held(load)

    @property
    def networks_pretrained(self) -> int:
        """Those of the base, and for every later stage those of the pool."""
        return self.base.networks_pretrained + (self.stages - 1) * self.networks

    def pretraining_passes(self, job: JobSpec, data: DataSizes) -> float:
        """Training of the base's experts for every stage, and of the pool on the stages so far."""
        learned = (job.decoder.images_per_class(end, data.shape, data.classes) for end in self.ends(job.ipc)[:-1])
        on_stages = TRAINING * self.networks * (self.epochs + 1) * data.classes * sum(learned)
        experts = self.base.pretraining_passes(job, data)
        if self.base.networks_pretrained:
            experts *= 1 + (self.stages - 1) * self.networks / self.base.networks_pretrained
        return experts + on_stages


def _given(base: object) -> dict[str, Any]:
    """The fields of a base that were given, as an object, by its name alone or as a configuration."""
    if isinstance(base, MethodConfig):
        return {"name": base.name, **{name: getattr(base, name) for name in base.model_fields_set}}
    return dict(base) if isinstance(base, Mapping) else {"name": base}


@method_config
class SeqMatchConfig(StagedConfig):
    """Learn the set in parts, each for networks that have learned the parts before it, to be trained on in turn."""

    title: ClassVar[str] = "Sequential subset matching"
    citation: ClassVar[str] = "Du, Shi & Zhou, SeqMatch, NeurIPS 2023 (arXiv 2311.01570)"

    name: Literal["seqmatch"] = "seqmatch"


@method_config
class PDDConfig(StagedConfig):
    """Learn the set in parts likewise, to be trained on in turn without losing momentum."""

    title: ClassVar[str] = "Progressive dataset distillation"
    citation: ClassVar[str] = "Chen et al., PDD, ICLR 2024 (arXiv 2310.06982)"

    schedule: ClassVar[Schedule] = "drop_once_kept"

    name: Literal["pdd"] = "pdd"
    stages: int = Field(2, ge=1, le=1000, description="K: parts of the set, learned one after the other (paper: 5).")

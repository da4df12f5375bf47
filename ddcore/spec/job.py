"""The job specification: one schema for the REST API, the client, ``ddctl`` and the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from ddcore.spec import presets
from ddcore.spec.augmentation import check_augmentation
from ddcore.spec.base import (
    METHODS,
    AnyDecoder,
    AnyMethod,
    AnyNetwork,
    AnyRegularizer,
    AnySampler,
    MethodConfig,
    features_unmatched,
)
from ddcore.spec.catalog import SpecModel
from ddcore.spec.datasets import DATASETS, DatasetFacts
from ddcore.spec.decoders import IdentityConfig
from ddcore.spec.errors import Problem, SpecError, did_you_mean, problems
from ddcore.spec.evaluation import EvaluationConfig, unscorable
from ddcore.spec.living import classes_mixed
from ddcore.spec.networks import ConvNetConfig
from ddcore.spec.samplers import RandomSamplerConfig
from ddcore.spec.work import DataSizes


class MetricsConfig(SpecModel):
    """How often the losses and the probe are reported."""

    every: int = Field(10, ge=1, description="Steps between two reports of the metrics.")
    probe: Literal["auto", "teacher", "random"] = Field(
        "auto",
        description="Network that `mi_lower_bound` and `cmi` are read with. `auto`, `teacher`: the probe of the "
        "dataset, a small network trained on its real images once and cached, so that jobs compare. `random`: random "
        "weights, which cost nothing and compare among themselves only.",
    )


class SnapshotsConfig(SpecModel):
    """How often the synthetic images are kept for looking at."""

    every: int = Field(100, ge=1, description="Steps between two pictures of the synthetic set.")


class CheckpointsConfig(SpecModel):
    """How often the whole state is saved, by steps or by time."""

    every: int | None = Field(None, ge=1, description="Steps between two checkpoints. Default: by time.")
    seconds: float = Field(60.0, gt=0, description="Seconds between two checkpoints where `every` is not given.")
    keep: int = Field(2, ge=1, le=100, description="How many of the newest checkpoints are kept.")


class JobSpec(SpecModel):
    """Everything that decides the result of a distillation job."""

    dataset: str = Field(
        min_length=1, max_length=200, description="A named dataset, a folder of that name in the data root, or ds_…"
    )
    ipc: int = Field(ge=1, le=10_000, description="Synthetic images per class.")
    method: AnyMethod
    regularizers: tuple[AnyRegularizer, ...] = ()
    network: AnyNetwork = Field(default_factory=ConvNetConfig, description="Network the method matches with.")
    decoder: AnyDecoder = Field(
        default_factory=IdentityConfig,
        description="How stored images become training images. Default: `identity`, but what its paper has for a "
        "method that stores mosaics.",
    )
    sampler: AnySampler = Field(
        default_factory=RandomSamplerConfig,
        description="Which real images a matching method compares with. Default: `random`, but `representative` for "
        "`dream`.",
    )
    augmentation: str = Field(
        "auto",
        description="Operations of differentiable Siamese augmentation joined by `_`, `none`, or `auto` "
        "(all, without flip where a mirrored image changes its class). Default: `auto`, but `none` for `bptt`, "
        "`dc` and `cafe`, `color_crop_cutout` for `idc` and `dream`, and `crop_cutout` for `cim`.",
    )
    init: Literal["real", "noise", "k_means"] = Field(
        "real",
        description="Start from random real images; from noise, N(0, 1), or small and uniform for `bptt`, or of norm 1 "
        "for `rat_bptt`; or from the real images nearest to the centroids of their class's clusters in the features of "
        "a random network. Default: `real`, but `noise` for `bptt`, `rat_bptt`, `dc`, `cafe`, `sre2l` and "
        "`linear_gradient`, and `k_means` for `dream`.",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Everything random follows from it.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Arithmetic of the network passes; losses, statistics and images stay float32."
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether the network passes are compiled. `auto` goes by the work of the job, `off` leaves them to "
        "the operations of PyTorch.",
    )
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$", description="auto, cpu, cuda or cuda:N.")
    metrics: MetricsConfig = MetricsConfig()
    snapshots: SnapshotsConfig = SnapshotsConfig()
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    whitening: bool = Field(
        False,
        description="Learn, train and test in ZCA-whitened pixels (fitted to the training images, eps 0.1) instead of "
        "pixels less the mean over the deviation of their channel.",
    )
    extends: str | None = Field(
        None,
        pattern=r"^job_[0-9a-z]{1,40}$",
        description="A finished job, `job_…`, whose images of the classes that `dataset` has not changed are kept byte "
        "for byte; only new and changed classes are distilled. Needs a method that takes each class for itself.",
    )

    @cached_property
    def facts(self) -> DatasetFacts | None:
        """What is known of the dataset: what :func:`parse` or :meth:`knowing` was told, else what is published."""
        return DATASETS.get(self.dataset)

    def knowing(self, facts: DatasetFacts) -> Self:
        """The same job, where this is known of its dataset."""
        job = self.model_copy()
        job.__dict__["facts"] = facts
        return job

    @property
    def images_per_class(self) -> int:
        """Training images of each class that come out of the decoder, as far as its dataset is known."""
        if self.facts is None:
            return self.ipc * self.decoder.views
        return self.decoder.images_per_class(self.ipc, self.facts.shape, len(self.facts.classes))

    @property
    def fewest_images_per_class(self) -> int:
        """Training images of each class that a step sees at the least: those of the first stage."""
        first, *later = self.method.shares(self.ipc)
        return first * self.decoder.views if later else self.images_per_class

    def finished_images(self, data: DataSizes) -> int:
        """Training images of all classes that come out of the decoder, on a dataset of these sizes."""
        return data.classes * self.decoder.images_per_class(self.ipc, data.shape, data.classes)

    @model_validator(mode="before")
    @classmethod
    def _as_the_method_has_it(cls, data: object) -> object:
        """Fill in what the method's source prescribes where the job says nothing."""
        if not isinstance(data, Mapping):
            return data
        method = data.get("method")
        name = method.get("name") if isinstance(method, Mapping) else method
        if isinstance(method, MethodConfig):
            return _laid_over(method.defaults_for(dict(method)), data)
        if not isinstance(name, str) or name not in METHODS:
            return data
        return _laid_over(METHODS[name].defaults_for(method if isinstance(method, Mapping) else {}), data)

    @field_validator("regularizers", mode="before")
    @classmethod
    def _mapping_or_list(cls, value: object) -> object:
        if isinstance(value, Mapping):
            return tuple(
                {"name": name, **strength} if isinstance(strength, Mapping) else {"name": name, "weight": strength}
                for name, strength in value.items()
            )
        if not isinstance(value, (list, tuple)):
            raise ValueError(
                "`regularizers` is an object of weights by name, such as {'mim': 0.8}, or a list of objects"
            )
        return value

    @field_validator("augmentation")
    @classmethod
    def _operations(cls, value: str) -> str:
        return check_augmentation(value)

    @model_validator(mode="after")
    def _as_the_job_has_it(self, info: ValidationInfo) -> JobSpec:
        """Fill in the defaults of its components that follow the job, so that the specification shows them."""
        if info.context and info.context["facts"] is not None:
            self.__dict__["facts"] = info.context["facts"]
        self.__dict__["method"] = self.method.suited(self)
        self.__dict__["decoder"] = self.decoder.suited(self)
        self.__dict__["regularizers"] = tuple(regularizer.suited(self) for regularizer in self.regularizers)
        return self

    @model_validator(mode="after")
    def _sensible(self) -> JobSpec:
        names = [r.name for r in self.regularizers]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"regulariser `{name}` is listed {names.count(name)} times; list it once")
        return self


def _laid_over(defaults: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """A job's fields over those of its method; over the method's evaluation, unless the job names a protocol."""
    merged = {**defaults, **data}
    usual, asked = defaults.get("evaluation"), data.get("evaluation")
    if usual is not None and isinstance(asked, Mapping) and "protocol" not in asked:
        merged["evaluation"] = {**usual, **asked}
    return merged


def parse(data: object, facts_of: Callable[[str], DatasetFacts | None] = DATASETS.get) -> JobSpec:
    """Read a job specification in its short or full spelling, or as a preset with overrides.

    Args:
        data: a JSON object. ``{"preset": name, …}`` starts from a preset; other fields override it,
            objects field by field.
        facts_of: what is known for certain of a dataset by its name. Default: of the published ones, which are also
            what an uncertain name is presumed to be.

    Returns:
        The normalised specification.

    Raises:
        SpecError: with every fault found: unknown names and fields (with the nearest valid one),
            values out of range (with the range), and combinations that cannot work.

    >>> parse({"dataset": "digits", "ipc": 2, "method": "dm", "regularizers": {"cmi": 10}}).regularizers[0].weight
    10.0
    """
    if not isinstance(data, Mapping):
        raise SpecError([Problem("", "object_type", f"a job is a JSON object, got {type(data).__name__}")])
    expanded = presets.expand(data)
    name = expanded.get("dataset")
    facts = facts_of(name) if isinstance(name, str) else None
    try:
        spec = JobSpec.model_validate(expanded, context={"facts": facts})
    except ValidationError as error:
        raise SpecError(problems(error, (*JobSpec.model_fields, "preset"), JobSpec)) from error
    found = _impossible(spec, facts)
    if found:
        raise SpecError(found)
    return spec


def check_dataset_name(name: str, others: tuple[str, ...] = ()) -> None:
    """Refuse a dataset that is neither built in nor one of ``others`` (folders, uploads).

    Raises:
        SpecError: naming the nearest known datasets.
    """
    known = (*DATASETS, *others)
    if name not in known:
        detail = f"unknown dataset '{name}'{did_you_mean(name, known)}; known: {', '.join(sorted(known))}"
        raise SpecError([Problem("/dataset", "unknown_dataset", detail)])


def _impossible(spec: JobSpec, facts: DatasetFacts | None) -> list[Problem]:
    """Combinations that cannot work, found before anything is queued."""
    found = []
    smallest = None if facts is None else min(spec.evaluation.left_of(DataSizes.of(facts)).counts)
    if smallest is not None and starts_from_more_than(spec, smallest):
        detail = ipc_exceeds_class(spec, f"the smallest class of {spec.dataset}", smallest)
        found.append(Problem("/ipc", "ipc_exceeds_class", detail))
    matcher = spec.method.matcher
    if spec.decoder.name not in matcher.usable_decoders():
        detail = (
            f"`{matcher.name}` cannot learn through the decoder '{spec.decoder.name}'; "
            f"use {' or '.join(repr(name) for name in matcher.usable_decoders())}"
        )
        found.append(Problem("/decoder", "decoder_without_method", detail))
    if spec.sampler.name not in matcher.usable_samplers():
        detail = (
            f"`{matcher.name}` cannot use the sampler '{spec.sampler.name}'; "
            f"use {' or '.join(repr(name) for name in matcher.usable_samplers())}"
        )
        found.append(Problem("/sampler", "sampler_without_method", detail))
    found += spec.decoder.impossible(spec)
    for regularizer in spec.regularizers:
        found += regularizer.impossible(spec)
        if regularizer.compares_features and not matcher.matches_features:
            detail = features_unmatched(regularizer.name, matcher.name)
            found.append(Problem(regularizer.pointer(spec), "no_features_to_compare", detail))
        if spec.method.iterations == 0:
            detail = f"`{spec.method.name}` takes no steps, so `{regularizer.name}` could not act; drop it"
            found.append(Problem(regularizer.pointer(spec), "nothing_to_regularise", detail))
    if spec.extends is not None:
        found += classes_mixed(spec)
    return [*found, *spec.method.impossible(spec), *unscorable(spec)]


def starts_from_more_than(spec: JobSpec, smallest: int) -> bool:
    """Whether a job starts from more real images of a class than the ``smallest`` class has."""
    start = spec.images_per_class if _mixes(spec) else spec.ipc * spec.decoder.tiles
    return spec.init != "noise" and start > smallest


def ipc_exceeds_class(spec: JobSpec, where: str, smallest: int) -> str:
    """Say that a job starts from more real images of a class than there are.

    Args:
        spec: the job.
        where: the class, in words.
        smallest: how many training images it has, without those held out.
    """
    if spec.evaluation.during is not None and spec.evaluation.during.held_out:
        where = f"{where}, without the images held out (`evaluation.during.held_out`),"
    tiles = spec.decoder.tiles
    most = 0 if _mixes(spec) else smallest // tiles
    ipc = f"`ipc` is {spec.ipc}" + (f" of {tiles} tiles" if tiles > 1 else "")
    ipc += f", mixed into {spec.images_per_class} images" if _mixes(spec) else ""
    way_out = [f"choose 1 to {most}"] if most else []
    way_out += ["add images to it"] if spec.method.starts_real else ["use `init`: 'noise'"]
    way_out += [] if most or spec.method.starts_real else ["another decoder"]
    return f"{ipc}, but {where} has {smallest} training images and `init` is '{spec.init}'; {', or '.join(way_out)}"


def _mixes(spec: JobSpec) -> bool:
    """Whether the decoder makes images of a budget rather than of stored images."""
    return spec.images_per_class != spec.ipc * spec.decoder.views

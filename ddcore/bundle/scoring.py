"""Score a distilled set that others made, as a job scores its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddcore.bundle import foreign
from ddcore.bundle.content import DatasetReference, Distilled
from ddcore.bundle.folder import write
from ddcore.bundle.foreign import Foreign, Values
from ddcore.bundle.reproduce import data_root_of
from ddcore.data import sources
from ddcore.data.sampling import check_class_sizes
from ddcore.data.whitening import whitened
from ddcore.machine.compute import Compute
from ddcore.runtime.assembly import assemble
from ddcore.runtime.callback import Callback
from ddcore.spec import JobSpec, Problem, SpecError, parse
from ddcore.spec.cost import Cost
from ddcore.spec.results import Origin, Results
from ddcore.spec.work import DataSizes

if TYPE_CHECKING:
    from ddcore.data.dataset import Dataset
    from ddcore.evaluation.evaluation import Evaluation

FIELDS = ("network", "evaluation", "augmentation", "whitening", "seed", "precision", "compile", "device")
"""Fields of a job that decide how a set is scored; the others say how one is made."""
METHOD = "random"
"""The method of the job that a scored set is written with: nothing was distilled here, and this one takes no steps."""


@dataclass(frozen=True)
class Scored:
    """What scoring comes to.

    Attributes:
        results: accuracies of the set and of its controls, and where the set comes from (``origin``).
        spec: the job that scores alike.
    """

    results: Results
    spec: JobSpec


def score(
    place: str | Path,
    dataset: str,
    fields: Mapping[str, Any] | None = None,
    *,
    values: Values | None = None,
    labels: Path | None = None,
    out: Path | None = None,
    data_root: Path | None = None,
    cache: Path | None = None,
    callback: Callback | None = None,
) -> Scored:
    """Train fresh networks on a distilled set of others, and on real images beside it, under one recipe.

    Args:
        place: a ``.pt``, ``.npz``, ``.safetensors`` or parquet file, or a folder or archive of images by class.
        dataset: name of the dataset that was distilled.
        fields: of a job specification, some of :data:`FIELDS`. Default: those of a job.
        values: units of the pixels. Default: by their range, where that tells.
        labels: ``.pt`` file of the labels, for a ``.pt`` file of images.
        out: folder that receives the set as a bundle.
        data_root: folder of named datasets; default: the environment variable ``DD_DATA_ROOT``.
        cache: folder shared by jobs for decoded datasets, teachers and compiled code.
        callback: told of progress.

    Raises:
        SpecError: a field is wrong, or none of those that decide a score.
        DataError: the set or the dataset cannot be read, or they do not fit each other.
        ConfigurationError: the set cannot be scored so on this dataset or machine.
        DivergedError: a network's loss became NaN or infinite.
    """
    from ddcore.evaluation.evaluation import Evaluation

    asked = fields or {}
    _check_fields(asked)
    observer = callback or Callback()
    observer.on_phase("loading", None)
    real = sources.load(dataset, data_root_of(data_root), cache)
    check_class_sizes(real)
    made = foreign.read(Path(place), real, values, labels)
    spec = _job(real, made, asked)
    seen = whitened(real, cache) if spec.whitening else real
    compute = _compute(spec, seen, cache, observer)
    evaluation = Evaluation(assemble(spec, seen, compute, cache=cache, callback=observer))
    evaluation.prepare()
    content = _scored(_labelled(spec, seen, made, compute, evaluation), evaluation, made.understood(seen))
    if out is not None:
        observer.on_phase("finalizing", None)
        content = write(out, content)
    return Scored(content.results, spec)


def _check_fields(fields: Mapping[str, Any]) -> None:
    """Refuse fields that a score does not depend on."""
    idle = [name for name in fields if name not in FIELDS]
    if idle:
        detail = (
            f"`{idle[0]}` says how a set is made, but this one is only scored; leave it out (allowed: "
            f"{', '.join(FIELDS)})"
        )
        raise SpecError([Problem(f"/{idle[0]}", "nothing_is_made", detail)])


def _job(real: Dataset, made: Foreign, fields: Mapping[str, Any]) -> JobSpec:
    """The job that keeps as many real images, scored as the set is."""
    body = {"dataset": real.name, "ipc": made.ipc, "method": METHOD, **fields}
    try:
        spec = parse(body, lambda _: real.facts)
    except SpecError as error:
        raise SpecError([_of_others(problem) for problem in error.problems]) from error
    faults = []
    if spec.evaluation.repeats == 0:
        detail = "`repeats` is 0, so nothing would be scored; choose 1 to 100"
        faults.append(Problem("/evaluation/repeats", "nothing_to_score", detail))
    if spec.evaluation.audit:
        detail = "`audit` is true, but a set of others is not compared with the real images; leave it out"
        faults.append(Problem("/evaluation/audit", "no_audit", detail))
    if made.soft_labels is not None and spec.evaluation.labels_batches:
        detail = (
            f"`labels` is '{spec.evaluation.labels}', but the set has labels of its own, which its images are to be "
            "learned with; use 'hard' or 'soft', which decide on the labels of the real images, or another protocol"
        )
        faults.append(Problem("/evaluation/labels", "labels_of_the_set", detail))
    if faults:
        raise SpecError(faults)
    return spec.knowing(real.facts)


def _of_others(problem: Problem) -> Problem:
    """What is wrong with the fields, where it is said otherwise of a set that no job made."""
    if problem.code != "no_learned_learning_rate":
        return problem
    detail = (
        "`lr` is null, the learning rate that the set learned, which its file does not say; give `evaluation.lr` as "
        "its authors publish it (0.01 is usual)"
    )
    return Problem(problem.pointer, problem.code, detail)


def _compute(spec: JobSpec, dataset: Dataset, cache: Path | None, callback: Callback) -> Compute:
    """Where and how networks are trained, chosen by the work of scoring."""
    cost = Cost(spec, DataSizes(dataset.shape, dataset.class_counts, len(dataset.test)))
    return Compute.choose(
        spec.device,
        spec.precision,
        spec.compile,
        expected_images_forwarded=cost.passes_without_looks,
        macs_per_image=cost.macs_per_image,
        cache=cache,
        log=callback.on_log,
    )


def _labelled(spec: JobSpec, dataset: Dataset, made: Foreign, compute: Compute, evaluation: Evaluation) -> Distilled:
    """The set as a bundle holds it, with the labels that networks learn, not yet scored."""
    pixels = made.pixels(dataset)
    seen = dataset.normalize(pixels)
    soft_labels = evaluation.soft_labels(seen) if made.soft_labels is None else made.soft_labels
    return Distilled(
        images=pixels,
        labels=made.labels,
        soft_labels=None if soft_labels is None else soft_labels.cpu(),
        teacher=evaluation.controls.stored_teacher,
        epoch_labels=evaluation.label_epochs(seen, made.labels),
        spec=spec,
        dataset=DatasetReference.of(dataset),
        results=Results(accuracy=None, controls={}),
        compute=compute.describe(),
        whitening=dataset.whitening,
    )


def _scored(content: Distilled, evaluation: Evaluation, origin: Origin) -> Distilled:
    results = evaluation.score(
        content.training_images(),
        content.labels,
        soft_labels=content.soft_labels,
        epoch_labels=content.epoch_labels,
    )
    return replace(content, results=results.model_copy(update={"origin": origin}))

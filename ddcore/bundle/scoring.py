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
from ddcore.errors import Interrupted
from ddcore.machine.compute import Compute
from ddcore.machine.failures import named_failures
from ddcore.runtime.assembly import assemble, choose_compute
from ddcore.runtime.callback import Callback
from ddcore.spec import JobSpec
from ddcore.spec.cost import Cost
from ddcore.spec.results import Origin, Results
from ddcore.spec.scoring import check_fields, job_of
from ddcore.spec.weight_files import completed, folder_of_backbones
from ddcore.spec.work import DataSizes

if TYPE_CHECKING:
    from ddcore.data.dataset import Dataset
    from ddcore.evaluation.evaluation import Evaluation


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
    backbones: Path | None = None,
    callback: Callback | None = None,
) -> Scored:
    """Train fresh networks on a distilled set of others, and on real images beside it, under one recipe.

    Args:
        place: a ``.pt``, ``.npz``, ``.safetensors`` or parquet file, or a folder or archive of images by class.
        dataset: name of the dataset that was distilled.
        fields: of a job specification, some of :data:`ddcore.spec.scoring.FIELDS`. Default: those of a job.
        values: units of the pixels. Default: by their range, where that tells.
        labels: ``.pt`` file of the labels, for a ``.pt`` file of images.
        out: folder that receives the set as a bundle.
        data_root: folder of named datasets; default: the environment variable ``DD_DATA_ROOT``.
        cache: folder shared by jobs for decoded datasets, teachers and compiled code.
        backbones: folder of the weights of networks that others trained; default: the environment variable
            ``DD_BACKBONES_DIR``.
        callback: told of progress.

    Raises:
        SpecError: a field is wrong, or none of those that decide a score.
        DataError: the set or the dataset cannot be read, or they do not fit each other.
        ConfigurationError: the set cannot be scored so on this dataset or machine.
        DivergedError: a network's loss became NaN or infinite.
        OutOfMemoryError: device or machine memory ran out.
        CompilerError: a network pass could not be compiled.
    """
    asked, observer = fields or {}, callback or Callback()
    check_fields(asked)
    observer.on_phase("loading", None)
    real = real_images(dataset, data_root, cache)
    made = foreign.read(Path(place), real, values, labels)
    return score_read(made, real, asked, out=out, cache=cache, backbones=backbones, callback=observer)


def real_images(dataset: str, data_root: Path | None, cache: Path | None) -> Dataset:
    """The dataset that a set stands for.

    Args:
        dataset: its name.
        data_root: folder of named datasets; default: the environment variable ``DD_DATA_ROOT``.
        cache: folder shared by jobs.

    Raises:
        DataError: it cannot be read, or is unfit.
    """
    real = sources.load(dataset, data_root_of(data_root), cache)
    check_class_sizes(real)
    return real


@named_failures("lower `evaluation.batch_size` or `network.width`, or use a device with more memory")
def score_read(
    made: Foreign,
    real: Dataset,
    fields: Mapping[str, Any],
    *,
    out: Path | None = None,
    cache: Path | None = None,
    backbones: Path | None = None,
    callback: Callback | None = None,
) -> Scored:
    """Score a set that has been read; see :func:`score`.

    Args:
        made: the set.
        real: the dataset that it fits.
        fields: of a job specification.
        out: folder that receives the set as a bundle.
        cache: folder shared by jobs.
        backbones: see :func:`score`.
        callback: told of progress.

    Raises:
        SpecError: a field is wrong, or none of those that decide a score.
        ConfigurationError: the set cannot be scored so on this dataset or machine.
        DivergedError: a network's loss became NaN or infinite.
        OutOfMemoryError: device or machine memory ran out.
        CompilerError: a network pass could not be compiled.
        Interrupted: the callback asked for an end.
    """
    from ddcore.evaluation.evaluation import Evaluation
    from ddcore.evaluation.full_scores import FullScores

    observer = callback or Callback()

    def check_stop() -> None:
        if observer.should_stop() is not None:
            raise Interrupted(0, None)  # a score keeps no state: it begins anew

    soft = made.soft_labels is not None
    spec = job_of(real.name, made.ipc, fields, lambda _: real.facts, own_labels=soft).knowing(real.facts)
    folder = folder_of_backbones(backbones)
    spec = completed(spec, folder)
    seen = whitened(real, cache) if spec.whitening else real
    cost = Cost(spec, DataSizes(seen.shape, seen.class_counts, len(seen.test)))
    compute = choose_compute(spec, cost, cache, observer)
    run = assemble(spec, seen, compute, cache=cache, backbones=folder, callback=observer, check_stop=check_stop)
    evaluation = Evaluation(run, FullScores(run))
    evaluation.prepare()
    content = _scored(_labelled(spec, seen, made, compute, evaluation), evaluation, made.understood(seen))
    if out is not None:
        observer.on_phase("finalizing", None)
        content = write(out, content)
    return Scored(content.results, spec)


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

"""From a bundle back to its score."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ddcore.bundle.content import Distilled
from ddcore.bundle.folder import read
from ddcore.data import sources
from ddcore.data.dataset import Dataset
from ddcore.errors import DataError
from ddcore.machine.failures import named_failures
from ddcore.runtime.callback import Callback
from ddcore.spec import EvaluationConfig, SpecError
from ddcore.spec.results import Results
from ddcore.spec.weight_files import VARIABLE, filled, folder_of_backbones

if TYPE_CHECKING:
    from ddcore.machine.compute import Compute
    from ddcore.runtime.context import Run


@named_failures(
    "train on it where there is more", compiler="try again; where it stays so, mend the C++ compiler of this machine"
)
def train_on(
    path: str | Path,
    *,
    repeats: int | None = None,
    data_root: Path | None = None,
    cache: Path | None = None,
    backbones: Path | None = None,
    callback: Callback | None = None,
) -> Results:
    """Train fresh networks on a bundle by its own recipe, and score them on the test set it was made for.

    With the seeds, precision and compilation of the run that made the bundle, so on the same machine and
    versions the accuracy is that of the bundle's ``results``.

    Args:
        path: folder of the bundle's files.
        repeats: networks of each architecture; default: as many as the bundle reports, or the default of
            a job where it was not scored. Fewer networks are the first of those.
        data_root: folder of named datasets; default: the environment variable ``DD_DATA_ROOT``.
        cache: folder for decoded datasets and compiled code.
        backbones: folder of the weights of networks that others trained, which no bundle holds; default: the
            environment variable ``DD_BACKBONES_DIR``.
        callback: told of progress.

    Returns:
        Accuracy in percent, controls and recipe, without steps and probe.

    Raises:
        DataError: the bundle is damaged, or the dataset, or the backbone under its classifiers, is absent or not the
            one it was made from.
        OutOfMemoryError: device or machine memory ran out.
        CompilerError: a network pass could not be compiled, as the recipe has it.
    """
    from ddcore.evaluation.evaluation import Evaluation

    content = read(Path(path))
    observer = callback or Callback()
    observer.on_phase("loading", None)
    asked = content.spec.evaluation
    default = EvaluationConfig.model_fields["repeats"].default
    folder = folder_of_backbones(backbones)
    _check_backbone(content, folder)
    count = repeats or asked.repeats or default
    run = _same_run(content, count, data_root=data_root, cache=cache, backbones=folder, callback=observer)
    evaluation = Evaluation(run)
    evaluation.prepare(None if content.teacher is None else dict(content.teacher))
    results = evaluation.score(
        content.training_images(),
        content.labels,
        soft_labels=content.soft_labels,
        epoch_labels=content.epoch_labels,
        learning_rate=content.learning_rate,
        stages=content.stages,
    )
    origin = content.results.origin
    return results if origin is None else results.model_copy(update={"origin": origin})


def _check_backbone(content: Distilled, folder: Path | None) -> None:
    """Say what the bundle needs and does not hold.

    Raises:
        DataError: the file of weights is not there, or another one.
    """
    backbone = content.spec.evaluation.backbone
    if backbone is None:
        return
    try:
        filled(backbone, folder, "/evaluation/backbone")
    except SpecError as error:
        raise DataError(
            f"this set is scored by linear classifiers on the features of a backbone that the bundle does not hold: "
            f"{backbone.weights}.safetensors, SHA-256 {backbone.sha256}. Put that file into the folder that {VARIABLE} "
            f"names ({error.problems[0].detail})"
        ) from error


def _same_run(
    content: Distilled,
    repeats: int,
    *,
    data_root: Path | None,
    cache: Path | None,
    backbones: Path | None,
    callback: Callback,
) -> Run:
    """The circumstances of the run that made a bundle, for so many networks to be scored in."""
    from ddcore.runtime.assembly import assemble

    evaluation = content.spec.evaluation.model_copy(update={"repeats": repeats})
    spec = content.spec.model_copy(update={"evaluation": evaluation})
    dataset = replace(_same_dataset(content, data_root, cache), whitening=content.whitening)
    compute = _same_compute(content, cache, callback)
    return assemble(spec, dataset, compute, cache=cache, backbones=backbones, callback=callback)


def _same_dataset(content: Distilled, data_root: Path | None, cache: Path | None) -> Dataset:
    return sources.same(content.dataset.name, content.dataset.digest, data_root_of(data_root), cache)


def data_root_of(given: Path | None) -> Path | None:
    """Where named datasets are looked for: what is given, else what ``DD_DATA_ROOT`` names, if anything."""
    return given or (Path(os.environ["DD_DATA_ROOT"]) if "DD_DATA_ROOT" in os.environ else None)


def _same_compute(content: Distilled, cache: Path | None, callback: Callback) -> Compute:
    """The precision, compilation and kernels of the run, on whatever device there is."""
    from ddcore.machine.compute import Compute

    chosen = Compute.choose(
        "auto",
        content.compute["precision"],
        "on" if content.compute["compiled"] else "off",
        expected_images_forwarded=0,
        cache=cache,
        log=callback.on_log,
    )
    # Versions before these kernels did not write whether there were any.
    return chosen.with_own_kernels() if content.compute.get("own_kernels", False) else chosen

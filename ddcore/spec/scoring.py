"""The job that a set which others made is scored by: what decides a score, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from ddcore.spec.datasets import DatasetFacts
from ddcore.spec.errors import Problem, SpecError
from ddcore.spec.job import JobSpec, parse

Values = Literal["unit", "byte", "normalised"]
"""Units of pixels: 0 to 1, 0 to 255, or as networks are trained on them (less the mean over the deviation, or
whitened)."""

FIELDS = ("network", "evaluation", "augmentation", "whitening", "seed", "precision", "compile", "device")
"""Fields of a job that decide how a set is scored; the others say how one is made."""
METHOD = "random"
"""The method of the job that a scored set is written with: nothing was distilled here, and this one takes no steps."""

TORCH_FILES = (".pt", ".pth")
"""Endings of files that research code saves tensors in."""


def check_fields(fields: Mapping[str, Any]) -> None:
    """Refuse fields that a score does not depend on.

    Raises:
        SpecError: naming the first of them, and those that are allowed.
    """
    idle = [name for name in fields if name not in FIELDS]
    if idle:
        detail = (
            f"`{idle[0]}` says how a set is made, but this one is only scored; leave it out (allowed: "
            f"{', '.join(FIELDS)})"
        )
        raise SpecError([Problem(f"/{idle[0]}", "nothing_is_made", detail)])


def job_of(
    dataset: str,
    ipc: int,
    fields: Mapping[str, Any],
    facts_of: Callable[[str], DatasetFacts | None],
    *,
    own_labels: bool = False,
) -> JobSpec:
    """The job that keeps as many real images, scored as the set is.

    Args:
        dataset: that was distilled.
        ipc: images of each class of the set.
        fields: some of :data:`FIELDS`.
        facts_of: what is known for certain of a dataset, by its name.
        own_labels: whether the set has a label for each class of its images.

    Raises:
        SpecError: a field is wrong, or none of those that decide a score.

    >>> job_of("digits", 2, {"evaluation": {"protocol": "dm"}}, lambda _: None).evaluation.epochs
    1000
    """
    check_fields(fields)
    try:
        spec = parse({"dataset": dataset, "ipc": ipc, "method": METHOD, **fields}, facts_of)
    except SpecError as error:
        raise SpecError([_of_others(problem) for problem in error.problems]) from error
    faults = [*_unscored(spec), *_of_labels(spec, own_labels=own_labels)]
    if faults:
        raise SpecError(faults)
    return spec


def _unscored(spec: JobSpec) -> Iterator[Problem]:
    if spec.evaluation.repeats == 0:
        detail = "`repeats` is 0, so nothing would be scored; choose 1 to 100"
        yield Problem("/evaluation/repeats", "nothing_to_score", detail)
    if spec.evaluation.audit:
        detail = "`audit` is true, but a set of others is not compared with the real images; leave it out"
        yield Problem("/evaluation/audit", "no_audit", detail)


def _of_labels(spec: JobSpec, *, own_labels: bool) -> Iterator[Problem]:
    if own_labels and spec.evaluation.labels_batches:
        detail = (
            f"`labels` is '{spec.evaluation.labels}', but the set has labels of its own, which its images are to be "
            "learned with; use 'hard' or 'soft', which decide on the labels of the real images, or another protocol"
        )
        yield Problem("/evaluation/labels", "labels_of_the_set", detail)


def _of_others(problem: Problem) -> Problem:
    """What is wrong with the fields, where it is said otherwise of a set that no job made."""
    if problem.code != "no_learned_learning_rate":
        return problem
    detail = (
        "`lr` is null, the learning rate that the set learned, which its file does not say; give `evaluation.lr` as "
        "its authors publish it (0.01 is usual)"
    )
    return Problem(problem.pointer, problem.code, detail)


def labels_beside(file: Path) -> Path | None:
    """The labels that lie beside a file of images under the same name: ``labels_best.pt`` beside ``images_best.pt``.

    Args:
        file: any file; one of another kind than :data:`TORCH_FILES` holds its labels itself.
    """
    for images, labels in (("images", "labels"), ("image", "label")):
        other = file.with_name(file.name.replace(images, labels))
        if file.suffix.lower() in TORCH_FILES and images in file.name and other.is_file():
            return other
    return None

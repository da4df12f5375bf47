"""Sets that grow: which jobs can keep the images of some classes and distil others beside them.

The images of a class can stay only where those of the other classes have no part in them. A configuration that promises
so has ``classes_apart``; one that does not say is taken to mix them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ddcore.spec.base import DECODERS, METHODS, REGULARIZERS, SAMPLERS
from ddcore.spec.catalog import Component
from ddcore.spec.errors import Problem

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec

_ANEW = "or leave out `extends`, and all classes are distilled anew"


def apart(catalog: Mapping[str, type[Component]]) -> tuple[str, ...]:
    """Names of a catalog whose components take each class for itself."""
    return tuple(name for name, known in catalog.items() if getattr(known, "classes_apart", False))


def classes_mixed(job: JobSpec) -> list[Problem]:
    """Why a job cannot keep some classes and distil others; nothing where it can."""
    return [*_components(job), *_fields(job)]


def _components(job: JobSpec) -> Iterator[Problem]:
    """Parts of a job that let the classes of a set influence each other."""
    method, decoder, sampler = job.method, job.decoder, job.sampler
    if not method.classes_apart:
        yield _mixed("/method", "method", method.name, apart(METHODS))
    if not decoder.classes_apart:
        yield _mixed("/decoder", "decoder", decoder.name, apart(DECODERS))
    if not sampler.classes_apart:
        yield _mixed("/sampler", "sampler", sampler.name, apart(SAMPLERS))
    for term in job.regularizers:
        if not term.classes_apart:
            yield _mixed(term.pointer(job), "regulariser", term.name, apart(REGULARIZERS))


def _mixed(pointer: str, kind: str, name: str, able: Sequence[str]) -> Problem:
    detail = (
        f"the {kind} `{name}` lets the classes of a set influence each other, so some cannot be kept while others are "
        f"distilled; use {' or '.join(map(repr, able))}, {_ANEW}"
    )
    return Problem(pointer, "classes_mixed", detail)


def _fields(job: JobSpec) -> Iterator[Problem]:
    """Settings of a job that do so."""
    if getattr(job.network, "norm", None) == "batch" and job.method.iterations:
        detail = (
            f"the `batch` normalisation of `{job.network.name}` lets the classes of a set influence each other; use "
            f"`norm`: 'instance', {_ANEW}"
        )
        yield Problem("/network/norm", "classes_mixed", detail)
    if job.evaluation.labels == "soft" or job.method.own_labels == "soft":
        detail = f"soft labels of the kept images would be those of fewer classes; use `labels`: 'hard', {_ANEW}"
        yield Problem("/evaluation/labels", "classes_mixed", detail)
    if job.whitening:
        detail = f"`whitening` is fitted to the images of all classes, kept ones included; use false, {_ANEW}"
        yield Problem("/whitening", "classes_mixed", detail)
    if job.evaluation.during is not None:
        detail = f"scores on the way would be of the classes that are distilled anew alone; drop it, {_ANEW}"
        yield Problem("/evaluation/during", "classes_mixed", detail)


def unlike(job: JobSpec, parent: JobSpec) -> list[Problem]:
    """What must be alike in a job and in the one that it extends, and is not."""
    found = []
    for name, new, old in (
        ("ipc", job.ipc, parent.ipc),
        ("method", job.method.name, parent.method.name),
        ("decoder", job.decoder.model_dump(mode="json"), parent.decoder.model_dump(mode="json")),
    ):
        if new != old:
            detail = (
                f"`{name}` is {new!r}, but {old!r} in the job that is extended, whose images stay; use the same, "
                f"{_ANEW}"
            )
            found.append(Problem(f"/{name}", "unlike_the_extended_job", detail))
    found += [Problem("/extends", one.code, f"of the job that is extended: {one.detail}") for one in _kept(parent)]
    return found


def _kept(parent: JobSpec) -> Iterator[Problem]:
    """What in a finished job keeps its images from staying beside others."""
    yield from (one for one in classes_mixed(parent) if one.pointer != "/evaluation/during")


def lost(before: Sequence[str], now: Sequence[str]) -> Problem | None:
    """Classes that a set has lost since; they would have to be taken out of the images, which are kept.

    Args:
        before: classes of the job that is extended.
        now: those of the dataset.
    """
    gone = [name for name in before if name not in set(now)]
    if not gone:
        return None
    named = ", ".join(f"'{name}'" for name in gone[:5]) + (f" and {len(gone) - 5} more" if len(gone) > 5 else "")
    detail = (
        f"the job that is extended has classes that `dataset` has not: {named}; add their images to the set, {_ANEW}"
    )
    return Problem("/extends", "classes_lost", detail)


def other_shape(now: Sequence[int], before: Sequence[int]) -> Problem | None:
    """Images of another size than those that are kept.

    Args:
        now: (channels, height, width) of the dataset.
        before: of the job that is extended.
    """
    if tuple(now) == tuple(before):
        return None
    new, old = (f"{width} x {height} pixels in {channels} channels" for channels, height, width in (now, before))
    detail = (
        f"the images of `dataset` have {new}, those of the job that is extended {old}; take the set in at the same "
        f"`size`, {_ANEW}"
    )
    return Problem("/extends", "other_image_size", detail)


NOTHING_TO_DO = (
    "no class has other training images than in the job that is extended, and none is new, so there is nothing to do; "
    "use its bundle, or leave out `extends`"
)
NO_DIGESTS = (
    "the bundle of the job that is extended does not say what its classes were made of: an earlier version wrote it; "
    "clone that job, and extend the copy"
)

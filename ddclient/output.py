"""What a command prints: text for people, or one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console, Group
from rich.table import Table

from ddclient.errors import Exit
from ddclient.live import duration
from ddclient.models import JobDocument
from ddcore.spec.differences import scored_controls, verdicts, worst
from ddcore.spec.naming import method_with_regularizers
from ddcore.spec.results import Lineage, Results
from ddcore.spec.words import size
from ddcore.spec.worth import in_words

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output, nothing else.")]
OutOption = Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the bundle.")]

_CONTROLS = {
    "random": "random real images of the same number",
    "herding": "real images of the same number chosen by herding",
    "best_coreset": "best coreset of real images",
    "full": "all real images",
}

PIPE_WIDTH = 10_000
"""Nothing is cut off where nobody looks at it."""

OUTCOMES = {
    "succeeded": Exit.SUCCEEDED,
    "failed": Exit.FAILED,
    "expired": Exit.FAILED,
    "cancelled": Exit.CANCELLED,
    "paused": Exit.RESUMABLE,
}


def emit(document: object, text: str | Table | Group, *, as_json: bool) -> None:
    """Print ``document`` as JSON, or ``text``."""
    if as_json:
        sys.stdout.write(json.dumps(document, default=_plain, indent=2) + "\n")
    elif isinstance(text, (Table, Group)):
        Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, markup=False).print(text)
    else:
        sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Tell the user something that is not the command's result."""
    sys.stderr.write(text.rstrip() + "\n")


def outcome(document: JobDocument) -> Exit:
    """Exit status for a job as it stands; a job under way is no failure."""
    return OUTCOMES.get(document.status, Exit.SUCCEEDED)


def describe(document: JobDocument) -> str:
    """A job in a few lines."""
    spec = document.spec
    lines = [
        f"{document.id}  {document.status}"
        + (f" ({document.phase})" if document.phase and not document.finished else "")
    ]
    if document.name:
        lines.append(f"  name      {document.name}")
    lines.append(f"  spec      {summary(spec)}")
    progress = document.progress
    if progress and progress.total_steps:
        lines.append(f"  progress  {progress.step}/{progress.total_steps} steps")
    if document.results:
        lines.append(f"  accuracy  {accuracy(document.results, document.runtime_s)}")
        if document.results.lineage is not None:
            lines.append(f"  extends   {lineage(document.results.lineage)}")
    if document.error:
        lines.append(f"  error     {document.error.message} ({document.error.code})")
    if document.actions:
        lines.append(f"  possible  {', '.join(document.actions)}")
    return "\n".join(lines)


def summary(spec: Mapping[str, Any]) -> str:
    """A specification in one line.

    >>> summary({"dataset": "digits", "ipc": 2, "method": {"name": "dm"}, "regularizers": [{"name": "cmi"}]})
    'digits, 2 images a class, dm + cmi'
    """
    return f"{spec.get('dataset')}, {spec.get('ipc')} images a class, {method_with_regularizers(spec)}"


def accuracy(results: Results | None, runtime_s: float | None = None) -> str:
    """The score beside those of its controls, in percent, what that says, what the set costs, and what else was scored.

    Args:
        results: of a job.
        runtime_s: seconds that it ran, where they are known.

    >>> from ddcore.spec.results import Score
    >>> score = Score(mean=71.25, std=0.5, networks=3)
    >>> scored = Results(accuracy=score, controls={"random": Score(mean=60, std=1, networks=3)}, bytes=25_600)
    >>> accuracy(scored, 90).split("; ")[1:3]
    ['random real images of the same number: 60.0 % ± 1.0', 'the set beats random real images: +11.2 ± 0.8 points']
    >>> accuracy(scored, 90).split("; ")[3:]
    ['25.0 KiB', '1 min 30 s of running', 'images of the last checkpoint']
    """
    if results is None or results.accuracy is None:
        return "not scored"
    scored = results.accuracy
    parts = [f"{scored.mean:.1f} % ± {scored.std:.1f} over {scored.networks} networks"]
    controls = scored_controls(results).items()
    parts += [f"{_CONTROLS.get(name, name)}: {found.mean:.1f} % ± {found.std:.1f}" for name, found in controls]
    parts += [f"the set {text}" for text in verdicts(results)]
    parts += [] if results.bytes is None else [size_of_set(results)]
    parts += [] if runtime_s is None else [f"{duration(runtime_s)} of running"]
    parts.append(f"images of {results.moment}")
    least = worst(results)
    if least is not None and least.accuracy is not None:
        parts.append(
            f"worst of {len(results.architectures)} architectures: {_architecture(least.network)} "
            f"{least.accuracy.mean:.1f} %"
        )
    if results.worth is not None:
        parts.append(f"the set {in_words(results.worth)}")
    if results.eight_bit is not None:
        parts.append(f"from 8-bit PNGs: {results.eight_bit.mean:.1f} % ± {results.eight_bit.std:.1f}")
    parts += [f"{name.replace('_', '-')} score: {found.score:.1f}" for name, found in results.scores.items()]
    return "; ".join(parts)


def architectures(results: Results) -> list[str]:
    """The score with each architecture and those of its controls, a line each; none where there is one architecture.

    >>> from ddcore.spec.results import ArchitectureScores, Score
    >>> entry = ArchitectureScores(network={"name": "mlp"}, accuracy=Score(mean=30, std=1, networks=2),
    ...                            controls={"random": Score(mean=25, std=1, networks=2)})
    >>> architectures(Results(architectures=(entry,)))
    ['mlp: 30.0 % ± 1.0, random 25.0 % ± 1.0']
    """
    return [
        f"{_architecture(entry.network)}: "
        + ", ".join(
            f"{name}{found.mean:.1f} % ± {found.std:.1f}"
            for name, found in (
                ("", entry.accuracy),
                *((f"{key} ", value) for key, value in scored_controls(entry).items()),
            )
            if found is not None
        )
        for entry in results.architectures
    ]


def lineage(found: Lineage) -> str:
    """What a set has of the one that it extends, in a line.

    >>> lineage(Lineage(job="job_1", kept=("a", "b"), new=("c",)))
    'job_1: 2 classes kept, 0 changed, 1 new'
    """
    counts = f"{len(found.kept)} classes kept, {len(found.changed)} changed, {len(found.new)} new"
    before = found.accuracy
    scored = "" if before is None else f"; it reached {before.mean:.1f} % ± {before.std:.1f} on its own classes"
    other = ", scored otherwise than this set" if found.same_evaluation is False else ""
    return f"{found.job or 'a bundle'}: {counts}{scored}{other}"


def size_of_set(results: Results) -> str:
    """Bytes of the images, and of the teacher or the labels that networks learn with them, where there are any.

    >>> from ddcore.spec.results import TeacherReport
    >>> size_of_set(Results(bytes=25_600, teacher=TeacherReport(bytes=2048)))
    '25.0 KiB and 2.0 KiB of teacher'
    >>> from ddcore.spec.results import LabelsReport
    >>> size_of_set(Results(bytes=25_600, labels=LabelsReport(bytes=4096)))
    '25.0 KiB and 4.0 KiB of labels'
    """
    teacher = None if results.teacher is None else results.teacher.bytes
    labels = None if results.labels is None else results.labels.bytes
    beside = "".join(
        f" and {size(bytes_)} of {what}" for what, bytes_ in (("teacher", teacher), ("labels", labels)) if bytes_
    )
    return size(results.bytes or 0) + beside


def _architecture(network: Mapping[str, Any]) -> str:
    return str(network.get("name", "network"))


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def facts(document: Mapping[str, Any]) -> Table:
    """The fields of a document, a line each."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in document.items():
        if name != "object":
            table.add_row(name, "" if value is None else str(value))
    return table

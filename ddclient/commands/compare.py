"""The command that puts jobs side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from ddclient import figure, output
from ddclient.client import Client
from ddclient.comparison import ComparedJob, Comparison
from ddclient.errors import BadInputError
from ddclient.output import JsonOption

JobIds = Annotated[list[str], typer.Argument(metavar="ID...", help="Jobs, job_…; 1 to 50.", show_default=False)]
Plot = Annotated[
    Path | None, typer.Option(help="Write the curves, seeds as bands, into this .svg, .png or .pdf.", metavar="FILE")
]
ABSENT = "–"


def compare(
    job_ids: JobIds,
    plot: Plot = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print a table for spreadsheets, a row for each job.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Put jobs side by side: what differs, what came of it, and curves with seeds averaged."""
    if csv and as_json:
        raise BadInputError("`--csv` and `--json` are two formats of one output; choose one")
    if plot is not None:
        figure.check(plot)
    with Client() as client:
        found = client.compare(job_ids)
        if plot is not None:
            _plot(client, found, job_ids, plot)
        if csv:
            sys.stdout.write(client.compare_csv(job_ids))
        else:
            output.emit(found, tables(found), as_json=as_json)


def tables(found: Comparison) -> Group:
    """What differs, what came of each job, and what came of those together that differ in the seed only."""
    return Group(_differences(found), Text(""), _jobs(found), Text(""), _kinds(found), *_notes(found))


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(compare)


def _plot(client: Client, found: Comparison, job_ids: list[str], path: Path) -> None:
    for curve in found.curves:
        if curve.comparable == "different":
            output.note(f"{curve.title} is not drawn: {curve.note}")
    shown = [curve.key for curve in found.curves if curve.comparable != "different"]
    figure.draw(found, [client.bands(job_ids, key) for key in shown], path)
    output.note(f"the figure is in {path}")


def _differences(found: Comparison) -> Table | Text:
    if not found.differences:
        return Text("all specifications are the same")
    table = _table("differs", *(job.id for job in found.jobs))
    for field in found.differences:
        table.add_row(field.path, *(str(field.values.get(job.id, ABSENT)) for job in found.jobs))
    return table


def _jobs(found: Comparison) -> Table:
    table = _table("id", "kind", "seed", "status", "accuracy", "random", "best coreset", "minutes", "bytes")
    for job in found.jobs:
        table.add_row(job.id, found.kinds[job.kind].label, str(job.seed), job.status, *_outcome(job))
    return table


def _outcome(job: ComparedJob) -> list[str]:
    scores = [f"{score.mean:.1f} ± {score.std:.1f}" if score else ABSENT for score in (job.accuracy, job.random)]
    best = job.best_coreset
    coreset = f"{best.score.mean:.1f} ({best.name})" if best else ABSENT
    minutes = ABSENT if job.minutes is None else f"{job.minutes:.1f}"
    taken = ABSENT if job.bytes is None else str(job.bytes)
    beside = "".join(f" + {size}" for size in (job.teacher_bytes, job.label_bytes) if size is not None)
    return [*scores, coreset, minutes, taken + beside]


def _kinds(found: Comparison) -> Table:
    table = _table("kind", "jobs", "accuracy", "random", "best coreset")
    for kind in found.kinds:
        scores = (kind.accuracy, kind.random, kind.best_coreset)
        table.add_row(kind.label, str(len(kind.job_ids)), *(str(score) if score else ABSENT for score in scores))
    return table


def _notes(found: Comparison) -> list[Text]:
    notes = [Text(f"{curve.title}: {curve.note}") for curve in found.curves if curve.note]
    if found.recipes > 1:
        notes.append(Text(f"accuracies are those of {found.recipes} recipes of evaluation, and compare within one"))
    return notes


def _table(*names: str) -> Table:
    return Table(*(Column(name, no_wrap=True) for name in names), box=None, pad_edge=False)

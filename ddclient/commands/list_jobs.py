"""``ddctl list``: the jobs that words and labels find, in the order and with the columns that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

import typer
from rich.table import Column, Table

from ddclient import output
from ddclient.client import Client
from ddclient.errors import BadInputError
from ddclient.live import duration
from ddclient.models import JobDocument
from ddclient.output import JsonOption
from ddcore.spec import did_you_mean

USUAL = "id,status,job,progress,seed,accuracy,duration,age"


def list_(
    status: Annotated[list[str] | None, typer.Option(help="Only jobs in this status; repeatable.")] = None,
    method: Annotated[str | None, typer.Option(help="Only jobs of this method.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only jobs on this dataset.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Only jobs with this label, name=value; repeatable.")] = None,
    search: Annotated[
        str | None, typer.Option(help="Only jobs with these words in name, id, dataset, method or labels.")
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(help="Column to sort by, - before it: largest first, such as -gain. Default: -created."),
    ] = None,
    columns: Annotated[str, typer.Option(help="Columns to print, separated by commas.")] = USUAL,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first unless sorted otherwise."""
    names = _chosen(columns)
    with Client() as client:
        found = client.jobs(
            status=status, method=method, dataset=dataset, label=list(map(_asked, label or ())) or None,
            search=search, sort=sort,
        )  # fmt: skip
        jobs = [job.document for job in islice(found, limit)]
    table = Table(*(_heading(name) for name in names), box=None, pad_edge=False)
    now = datetime.now(UTC)
    for job in jobs:
        table.add_row(*(COLUMNS[name](job, now) for name in names))
    output.emit(jobs, table if jobs else "no jobs", as_json=as_json)


def _asked(label: str) -> str:
    """A label as the service is asked for it: ``name:value`` for ``name=value``, as labels are given to jobs."""
    name, equals, value = label.partition("=")
    return f"{name}:{value}" if equals and ":" not in name else label


def _chosen(columns: str) -> list[str]:
    names = [name.strip() for name in columns.split(",") if name.strip()]
    for name in names:
        if name not in COLUMNS:
            hint = did_you_mean(name, COLUMNS)
            raise BadInputError(f"--columns: there is no column '{name}'{hint}; known: {', '.join(COLUMNS)}")
    if not names:
        raise BadInputError(f"--columns names none; known: {', '.join(COLUMNS)}")
    return names


def _heading(name: str) -> Column:
    right = name in ("seed", "ipc", "gain", "priority", "duration", "age")
    if name == "id":
        return Column(name, no_wrap=True, min_width=len("job_") + 26)
    return Column(name, justify="right" if right else "left")


def _progress(job: JobDocument) -> str:
    progress = job.progress
    return f"{100 * progress.step / progress.total_steps:.0f} %" if progress and progress.total_steps else ""


def _accuracy(job: JobDocument) -> str:
    scored = job.results.accuracy if job.results else None
    gain = _gain(job)
    return "" if scored is None else f"{scored.mean:.1f} %" + (f" ({gain} over random)" if gain else "")


def _gain(job: JobDocument) -> str:
    """Percentage points above random real images; empty where one of the two is not scored."""
    random = job.results.controls.get("random") if job.results else None
    scored = job.results.accuracy if job.results else None
    return "" if scored is None or random is None else f"{scored.mean - random.mean:+.1f}"


def _duration(job: JobDocument, now: datetime) -> str:
    return "" if job.started_at is None else duration(((job.finished_at or now) - job.started_at).total_seconds())


def _field(job: JobDocument, name: str) -> str:
    return str(job.spec.get(name, ""))


def _method(job: JobDocument) -> str:
    method = job.spec.get("method")
    return str(method.get("name", "") if isinstance(method, Mapping) else method or "")


COLUMNS: Mapping[str, Callable[[JobDocument, datetime], str]] = {
    "id": lambda job, _: job.id,
    "status": lambda job, _: job.status,
    "name": lambda job, _: job.name or "",
    "job": lambda job, _: output.summary(job.spec),
    "dataset": lambda job, _: _field(job, "dataset"),
    "method": lambda job, _: _method(job),
    "ipc": lambda job, _: _field(job, "ipc"),
    "seed": lambda job, _: _field(job, "seed"),
    "labels": lambda job, _: " ".join(f"{name}:{value}" for name, value in job.labels.items()),
    "priority": lambda job, _: str(job.priority),
    "progress": lambda job, _: _progress(job),
    "accuracy": lambda job, _: _accuracy(job),
    "gain": lambda job, _: _gain(job),
    "duration": _duration,
    "age": lambda job, now: "" if job.created_at is None else duration((now - job.created_at).total_seconds()),
}
"""What each column prints of a job; the time is that of the list."""


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("list")(list_)

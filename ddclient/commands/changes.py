"""Commands that change jobs: copies, names, removal."""

from __future__ import annotations

from typing import Annotated

import typer

from ddclient import output, submission
from ddclient.client import Client
from ddclient.commands.jobs import JobId, Set
from ddclient.errors import BadInputError
from ddclient.output import JsonOption


def clone(job_id: JobId, set_: Set = None, as_json: JsonOption = False) -> None:
    """Submit a copy of a job, with some fields changed, and print its id."""
    overrides = submission.overrides(set_ or ())
    with Client() as client:
        job = client.clone(job_id, overrides)
        output.emit(job.document, job.id, as_json=as_json)


def rerun(job_id: JobId, as_json: JsonOption = False) -> None:
    """Make the result of an ended job once more, with the same specification and seed, and print the new job's id."""
    with Client() as client:
        job = client.rerun(job_id)
        output.emit(job.document, job.id, as_json=as_json)


def extend(
    job_id: JobId,
    iterations: Annotated[int, typer.Option(min=1, help="Steps to take beyond those of the job.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Submit a job that goes on where a finished one has ended, and print its id."""
    with Client() as client:
        job = client.extend(job_id, iterations)
        output.emit(job.document, job.id, as_json=as_json)


def edit(
    job_id: JobId,
    name: Annotated[str | None, typer.Option(help="What to call the job.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="name=value; takes the place of all labels.")] = None,
    priority: Annotated[int | None, typer.Option(help="0 (last) to 9 (first).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Change a job's name, labels or priority."""
    labels = dict(submission.assignment("--label", text) for text in label or ()) or None
    if (name, labels, priority) == (None, None, None):
        raise BadInputError("nothing to change; give --name, --label or --priority")
    with Client() as client:
        job = client.amend(job_id, name=name, labels=labels, priority=priority)
        output.emit(job.document, output.describe(job.document), as_json=as_json)


def delete(
    job_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Jobs, which have ended.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove jobs that have ended, with their logs, results and files."""
    if not yes and not as_json:
        typer.confirm(f"remove {', '.join(job_ids)} with all files?", abort=True, err=True)
    with Client() as client:
        for job_id in job_ids:
            client.delete(job_id)
    output.emit({"deleted": job_ids}, "\n".join(f"{job_id} deleted" for job_id in job_ids), as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (clone, rerun, extend, edit, delete):
        app.command()(command)

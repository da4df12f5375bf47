"""Commands on jobs: submit, follow, fetch, stop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ddclient import estimates, output, submission
from ddclient.client import Client
from ddclient.commands import ingest_options as own
from ddclient.commands.acting import act
from ddclient.commands.sending import reference_of
from ddclient.errors import BadInputError, Exit
from ddclient.formats import Format
from ddclient.images import is_path
from ddclient.job import Job
from ddclient.live import watch as follow
from ddclient.models import Event
from ddclient.output import JsonOption

JobId = Annotated[str, typer.Argument(metavar="ID", help="Identifier of the job, job_….", show_default=False)]
Dataset = Annotated[
    str | None,
    typer.Argument(metavar="[DATASET|PATH]", help="Name of a dataset, such as digits, or images: a path with a /."),
]
Method = Annotated[str | None, typer.Option(help="Name of the method (`ddctl methods`). Default: dm.")]
Ipc = Annotated[int | None, typer.Option(help="Synthetic images per class.")]
Iterations = Annotated[int | None, typer.Option(help="Steps of the method.")]
Seed = Annotated[int | None, typer.Option(help="Seed.")]
Reg = Annotated[list[str] | None, typer.Option(help="Regulariser: name=weight or name=relative:0.2; may be repeated.")]
Preset = Annotated[str | None, typer.Option(help="Start from a preset (`ddctl presets`).")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Any field: path=value, such as evaluation.epochs=300; repeatable.")
]
SpecFile = Annotated[Path | None, typer.Option("--spec", help="JSON or TOML file with the job; - for standard input.")]


def submit(
    dataset: Dataset = None,
    method: Method = None,
    ipc: Ipc = None,
    iterations: Iterations = None,
    seed: Seed = None,
    reg: Reg = None,
    preset: Preset = None,
    set_: Set = None,
    spec: SpecFile = None,
    extends: Annotated[
        str | None,
        typer.Option(metavar="JOB", help="Keep the images of this finished job where a class has not changed."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call the job.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="name=value to find the job by; repeatable.")] = None,
    priority: Annotated[int | None, typer.Option(help="0 (last) to 9 (first).")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="Submitting twice with one key makes one job.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the job; Ctrl-C detaches.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Follow the job, and fetch its bundle into this folder.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the job, print what it should cost, and stop there.")
    ] = False,
    size: own.Size = None,
    fit: own.Fit = None,
    test_split: own.TestSplit = None,
    label_column: own.LabelColumn = None,
    skip_unreadable: own.SkipUnreadable = False,
    as_json: JsonOption = False,
) -> None:
    """Submit a job and print its id; images of your own are sent first (see `ddctl datasets add` for all options)."""
    chosen = own.options(
        size=size, fit=fit, test_split=test_split, label_column=label_column, skip_unreadable=skip_unreadable
    )
    body = submission.build(
        dataset=dataset, method=method, ipc=ipc, iterations=iterations, seed=seed,
        regularizers=reg or (), preset=preset, spec=spec, extends=extends, settings=set_ or (),
    )  # fmt: skip
    labels = dict(submission.assignment("--label", text) for text in label or ()) or None
    with Client() as client:
        if is_path(body.get("dataset")):
            if dry_run:
                raise BadInputError(
                    f"--dry-run sends nothing, so the size of {body['dataset']} is not known; send it with "
                    "`ddctl datasets add`, then name the set"
                )
            body["dataset"] = reference_of(client, Path(body["dataset"]), chosen)
        elif chosen.model_fields_set:
            raise BadInputError(own.without_images(chosen))
        found = client.validate(body)
        if dry_run:
            output.emit(found, estimates.report(found), as_json=as_json)
            return
        if not as_json:
            output.note(estimates.text_of(found))
        job = client.submit(body, name=name, labels=labels, priority=priority, idempotency_key=idempotency_key)
        if watch or out is not None:
            output.note(job.id)
            _follow(job, as_json=as_json, out=out)
        output.emit(job.document, job.id, as_json=as_json)


def watch(job_id: JobId, as_json: JsonOption = False) -> None:
    """Follow a job until it ends; Ctrl-C detaches."""
    with Client() as client:
        _follow(client.job(job_id), as_json=as_json)


def get(
    job_id: JobId,
    out: output.OutOption = None,
    format_: Annotated[
        Format, typer.Option("--format", help="What of it: the bundle, an .npz, a folder a class of PNGs, or parquet.")
    ] = Format.BUNDLE,
    as_json: JsonOption = False,
) -> None:
    """Print a job, or fetch its distilled set into a folder."""
    if out is None and format_ is not Format.BUNDLE:
        raise BadInputError(f"--format {format_.value} needs a folder to write to: add --out DIR")
    with Client() as client:
        if out is None:
            document = client.job(job_id).document
            output.emit(document, output.describe(document), as_json=as_json)
        else:
            path = client.export(job_id, out, format_)
            output.emit({"job_id": job_id, "path": str(path)}, str(path), as_json=as_json)


def report(
    job_id: JobId,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write. Default: standard output.", dir_okay=False)
    ] = None,
) -> None:
    """Print the result of a job as one HTML file that needs no network (`ddctl report ID > report.html`)."""
    with Client() as client:
        page = client.report(job_id)
    if out is None:
        output.emit(None, page, as_json=False)
    else:
        out.write_text(page, "utf-8")
        output.note(f"the report is in {out}")


def cancel(
    job_id: JobId,
    keep_result: Annotated[
        bool, typer.Option("--keep-result", help="Make a bundle of the images as they are.")
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Stop a job for good."""
    act(lambda client: client.cancel(job_id, keep_result=keep_result, reason=reason), as_json=as_json)


def pause(job_id: JobId, as_json: JsonOption = False) -> None:
    """Save a job's state and free its worker."""
    act(lambda client: client.pause(job_id), as_json=as_json)


def resume(job_id: JobId, as_json: JsonOption = False) -> None:
    """Queue a paused job again, from its checkpoint."""
    act(lambda client: client.resume(job_id), as_json=as_json)


def retry(
    job_id: JobId,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Forget the checkpoints.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Queue a failed or expired job again."""
    act(lambda client: client.retry(job_id, from_scratch=from_scratch), as_json=as_json)


def events(
    job_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Of this job. Without it, new events of all jobs are followed.")
    ] = None,
    after: Annotated[int, typer.Option(min=0, help="Only events after this number.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for new events until the job ends.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the events of a job, or follow those of all jobs until Ctrl-C."""
    if job_id is None and (after or as_json):
        raise BadInputError("--after and --json are for the events of one job: name it")
    with Client() as client:
        found = client.all_events() if job_id is None else client.events(job_id, after=after, follow=follow)
        if as_json:
            output.emit(list(found), "", as_json=True)
        else:
            _print_events(found, named=job_id is None)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (submit, watch, get, report, cancel, pause, resume, retry, events):
        app.command()(command)


def _follow(job: Job, *, as_json: bool, out: Path | None = None) -> None:
    """Watch a job, fetch its bundle where that is wanted, print how it stands and end with its outcome."""
    status: int
    try:
        follow(job)
        status = output.outcome(job.document)
        if out is not None and job.document.status == "succeeded":
            output.note(f"its bundle is in {job.download(out).path}")
    except KeyboardInterrupt:
        output.note(
            f"detached; the job goes on. `ddctl watch {job.id}` returns to it, `ddctl cancel {job.id}` stops it"
        )
        status = Exit.DETACHED
    output.emit(job.document, output.describe(job.document), as_json=as_json)
    raise typer.Exit(status)


def _print_events(found: Iterator[Event], *, named: bool) -> None:
    for event in found:
        job = f"{event.job_id}  " if named else ""
        at = event.at.isoformat(timespec="seconds") if event.at else ""
        extra: dict[str, Any] = event.data
        text = event.message or ", ".join(f"{name} {value}" for name, value in extra.items())
        output.emit(None, f"{job}{event.seq:>4}  {at}  {event.level:<7}  {event.type}  {text}", as_json=False)

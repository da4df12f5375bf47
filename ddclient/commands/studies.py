"""Commands on studies: searches for the job that does best."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from ddclient import output, study_request, study_text, submission
from ddclient.client import Client
from ddclient.commands import ingest_options as own
from ddclient.commands.acting import act
from ddclient.commands.groups import add_group
from ddclient.commands.jobs import Dataset, Ipc, Iterations, Method, Preset, Reg, Set
from ddclient.commands.sending import reference_of
from ddclient.commands.study_following import follow
from ddclient.errors import BadInputError
from ddclient.images import is_path
from ddclient.output import JsonOption
from ddcore.spec.ingest import IngestOptions

StudyId = Annotated[str, typer.Argument(metavar="ID", help="Identifier of the study, study_….", show_default=False)]
Jobs = Annotated[int | None, typer.Option(min=1, help="Budget: at most so many jobs.")]
Minutes = Annotated[float | None, typer.Option(min=0, help="Budget: about so many minutes.")]
Objective = Literal["accuracy", "accuracy_per_minute", "accuracy_per_byte"]
By = Annotated[Objective | None, typer.Option("--objective", help="What the best is. Default: accuracy.")]
Name = Annotated[str | None, typer.Option(help="What to call the study.")]
Label = Annotated[list[str] | None, typer.Option(help="name=value to find the study by; repeatable.")]
Priority = Annotated[int | None, typer.Option(help="0 (last) to 9 (first), of its jobs.")]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Follow the study, and fetch the winner's bundle into this folder.")
]


def create(
    dataset: Dataset = None,
    space: Annotated[
        list[str] | None,
        typer.Option(help="What to try: path=values, such as method=dm,idm or ipc=1..10:3 (:log); repeatable."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="JSON or TOML file with the whole study; - for standard input.")
    ] = None,
    jobs: Jobs = None,
    minutes: Minutes = None,
    objective: By = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds of each trial, a job for each: 0,1,2.")] = None,
    sampler: Annotated[
        Literal["grid", "random", "tpe"] | None,
        typer.Option(help="All points of the space, some drawn at random, or some proposed by Optuna."),
    ] = None,
    sampler_seed: Annotated[int | None, typer.Option(help="Seed of the random sampler and of tpe.")] = None,
    rungs: Annotated[int | None, typer.Option(min=0, help="Times that the worse trials are left behind.")] = None,
    reduction: Annotated[int | None, typer.Option(min=2, help="One in so many trials goes on.")] = None,
    scoring: Annotated[
        list[str] | None, typer.Option(help="How trials are scored: networks=2, epochs=50, validation=0.1; repeatable.")
    ] = None,
    method: Method = None,
    ipc: Ipc = None,
    iterations: Iterations = None,
    reg: Reg = None,
    preset: Preset = None,
    set_: Set = None,
    name: Name = None,
    label: Label = None,
    priority: Priority = None,
    idempotency_key: Annotated[str | None, typer.Option(help="Beginning twice with one key makes one study.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the study; Ctrl-C detaches.")] = False,
    out: Out = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the study, print what it should cost, and stop there.")
    ] = False,
    size: own.Size = None,
    fit: own.Fit = None,
    test_split: own.TestSplit = None,
    label_column: own.LabelColumn = None,
    skip_unreadable: own.SkipUnreadable = False,
    as_json: JsonOption = False,
) -> None:
    """Begin a study and print its id. Without --space, method and settings are chosen by themselves (see `auto`)."""
    ingest = own.options(
        size=size, fit=fit, test_split=test_split, label_column=label_column, skip_unreadable=skip_unreadable
    )
    job = {
        "dataset": dataset, "method": method, "ipc": ipc, "iterations": iterations, "regularizers": reg,
        "preset": preset, "settings": set_,
    }  # fmt: skip
    request = study_request.build(
        file=file, job=job, space=space or (), jobs=jobs, minutes=minutes, seeds=seeds, scoring=scoring or (),
        objective=objective, sampler=sampler, seed=sampler_seed, rungs=rungs, reduction=reduction,
        name=name, labels=labels_of(label), priority=priority,
    )  # fmt: skip
    with Client() as client:
        send_images(client, request, ingest, dry_run=dry_run)
        found = client.validate_study(request)
        if dry_run:
            output.emit(found, study_text.validated(found), as_json=as_json)
            return
        if not as_json:
            output.note(study_text.validated(found))
        study = client.submit_study(request, idempotency_key=idempotency_key)
        if watch or out is not None:
            output.note(study.id)
            follow(study, as_json=as_json, out=out)
        output.emit(study.document, study.id, as_json=as_json)


def validate(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON or TOML file with the study; - for standard input.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Check a study without beginning it: faults, what it would try, and what that should cost."""
    request = submission.read_spec(file, "a study")
    with Client() as client:
        found = client.validate_study(request)
    output.emit(found, study_text.validated(found), as_json=as_json)


def watch(study_id: StudyId, out: Out = None, as_json: JsonOption = False) -> None:
    """Follow a study until it ends, a line for each rung; Ctrl-C detaches."""
    with Client() as client:
        follow(client.get_study(study_id), as_json=as_json, out=out)


def list_(
    status: Annotated[list[str] | None, typer.Option(help="Only studies in this status; repeatable.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List studies, newest first."""
    with Client() as client:
        found = [study.document for study in islice(client.studies(status=status), limit)]
    table = Table("id", "status", "name", "search", "cost", "winner", box=None, pad_edge=False)
    for one in found:
        won = study_text.winner_line(one)
        table.add_row(one.id, one.status, one.name or "", study_text.searched(one.spec), study_text.cost(one), won)
    output.emit(found, table if found else "no studies", as_json=as_json)


def show(
    study_id: StudyId,
    trials: Annotated[bool, typer.Option("--trials", help="A row for each trial as well.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print a study: its rungs, its cost, its winner with the evidence."""
    with Client() as client:
        document = client.get_study(study_id).document
    if trials and not as_json:
        table = Table(*study_text.TRIAL_COLUMNS, box=None, pad_edge=False)
        for one in document.trials:
            table.add_row(*study_text.trial_row(one))
        output.emit(None, table, as_json=False)
    output.emit(document, study_text.describe(document), as_json=as_json)


def pause(study_id: StudyId, as_json: JsonOption = False) -> None:
    """Have the jobs of a study save their state and free their workers."""
    act(lambda client: client.act_on_study(study_id, "pause"), as_json=as_json)


def resume(study_id: StudyId, as_json: JsonOption = False) -> None:
    """Go on with a paused study."""
    act(lambda client: client.act_on_study(study_id, "resume"), as_json=as_json)


def cancel(study_id: StudyId, as_json: JsonOption = False) -> None:
    """Stop a study and its jobs for good."""
    act(lambda client: client.act_on_study(study_id, "cancel"), as_json=as_json)


def delete(
    study_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Studies, which have ended.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove studies that have ended, with their jobs and all files of these."""
    if not yes and not as_json:
        typer.confirm(f"remove {', '.join(study_ids)} with all jobs and files?", abort=True, err=True)
    with Client() as client:
        for study_id in study_ids:
            client.delete_study(study_id)
    output.emit({"deleted": study_ids}, "\n".join(f"{one} deleted" for one in study_ids), as_json=as_json)


def labels_of(given: list[str] | None) -> dict[str, str] | None:
    """The labels that ``--label`` gives, if it does."""
    return dict(submission.assignment("--label", text) for text in given or ()) or None


def send_images(client: Client, request: dict[str, Any], ingest: IngestOptions, *, dry_run: bool = False) -> None:
    """Put the reference of a set in the place of a path of images, once these are taken in.

    Raises:
        BadInputError: nothing may be sent, or there are no images for the options.
    """
    dataset = request["base"].get("dataset")
    if not is_path(dataset):
        if ingest.model_fields_set:
            raise BadInputError(own.without_images(ingest))
        return
    if dry_run:
        raise BadInputError(
            f"--dry-run sends nothing, so the size of {dataset} is not known; send it with `ddctl datasets add`, then "
            "name the set"
        )
    request["base"]["dataset"] = reference_of(client, Path(dataset), ingest)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add_group(
        app,
        "study",
        "Searches for the job that does best.",
        {
            "create": create,
            "validate": validate,
            "watch": watch,
            "show": show,
            "pause": pause,
            "resume": resume,
            "cancel": cancel,
            "delete": delete,
            "list": list_,
        },
    )

"""Commands on scores in the service: send a set that others made, list, show, stop, delete, rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.table import Table

from ddclient import output
from ddclient.client import Client
from ddclient.commands.acting import act
from ddclient.commands.groups import add_group
from ddclient.output import JsonOption
from ddclient.progress import bar
from ddclient.score_models import Board, Entry, Leaderboard, ScoreDocument
from ddcore.spec.results import Results
from ddcore.spec.worth import in_words

ScoreArgument = Annotated[str, typer.Argument(metavar="ID", help="Identifier, score_….", show_default=False)]
DatasetOption = Annotated[str | None, typer.Option(help="Only those on this dataset.")]


@dataclass(frozen=True)
class Wanted:
    """A set that the service is to score.

    Attributes:
        file: where it is.
        dataset: that it stands for.
        recipe: fields of a job that decide the score.
        values: units of the pixels, where they were given.
        labels: file of the labels, where one was given.
        ipc: images of each class, where they were given.
        name: what to call it.
    """

    file: Path
    dataset: str
    recipe: Mapping[str, Any]
    values: str | None
    labels: Path | None
    ipc: int | None
    name: str | None


def send(wanted: Wanted, *, detach: bool, as_json: bool) -> None:
    """Send a set to the service, and wait until it is scored unless that is not wanted.

    Raises:
        ScoreFailedError: it could not be scored.
    """
    with Client() as client, bar() as told:
        score = client.scores.add(
            wanted.file, wanted.dataset, wanted.recipe, values=wanted.values, labels=wanted.labels, ipc=wanted.ipc,
            name=wanted.name, wait=False, progress=told,
        )  # fmt: skip
        try:
            score = score if detach else score.wait(tell=told)
        except KeyboardInterrupt:
            output.note(f"detached; the service goes on, `ddctl scores show {score.id}` tells how far it is")
            raise
    if score.document.results is not None and not as_json:
        output.note(understood(score.document.results))
    output.emit(score.document, _described(score.document), as_json=as_json)


def understood(results: Results) -> str:
    """How a file was read, in a line."""
    origin = results.origin
    return "" if origin is None else f"{origin.file}, {origin.layout}: {'; '.join(origin.remarks)}"


def text_of(results: Results) -> str:
    """The scores as those of a job, then each architecture where there are several."""
    lines = [f"accuracy  {output.accuracy(results)}"]
    return "\n".join([*lines, *(f"network   {text}" for text in output.architectures(results))])


def list_(dataset: DatasetOption = None, as_json: JsonOption = False) -> None:
    """List the sets of others that were sent to be scored, newest first."""
    with Client() as client:
        found = [score.document for score in client.scores.list(dataset)]
    table = Table("id", "file", "dataset", "ipc", "status", "accuracy", box=None, pad_edge=False)
    for one in found:
        file = "" if one.upload is None else one.upload.file
        table.add_row(one.id, one.name or file, one.dataset, _number(one.ipc), one.status, _accuracy(one.results))
    nothing = "there are none; `ddctl score FILE --dataset NAME` sends one"
    output.emit(found, table if found else nothing, as_json=as_json)


def show(score: ScoreArgument, as_json: JsonOption = False) -> None:
    """Show a score: how far it is, or what the set comes to."""
    with Client() as client:
        found = client.scores.get(score).document
    output.emit(found, _described(found), as_json=as_json)


def cancel(score: ScoreArgument, as_json: JsonOption = False) -> None:
    """Stop scoring a set."""
    act(lambda client: client.scores.get(score).cancel(), as_json=as_json)


def delete(score: ScoreArgument, as_json: JsonOption = False) -> None:
    """Delete a score, with its place on the leaderboard."""
    with Client() as client:
        client.scores.delete(score)
    output.emit({"id": score, "deleted": True}, f"{score} deleted", as_json=as_json)


def leaderboard(
    dataset: Annotated[str | None, typer.Argument(help="Default: that on which something was scored last.")] = None,
    ipc: Annotated[int | None, typer.Option(help="Images of each class. Default: those scored last.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Rank all that is scored, jobs' sets and those of others, within each recipe."""
    with Client() as client:
        found = client.scores.leaderboard(dataset, ipc)
    output.emit(found, _ranking(found), as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add_group(
        app,
        "scores",
        "Sets that others made, scored by the service.",
        {"list": list_, "show": show, "cancel": cancel, "delete": delete},
    )
    app.command()(leaderboard)


def _described(found: ScoreDocument) -> str:
    file = "" if found.upload is None else found.upload.file
    lines = [f"{found.id}  {found.status}", f"file      {found.name or file}, on {found.dataset}"]
    if found.job is not None and not found.finished and found.job.phase is not None:
        of = "" if found.job.total is None else f" {found.job.done:,} of {found.job.total:,}"
        lines.append(f"phase     {found.job.phase}{of}")
    if found.results is not None:
        lines.append(text_of(found.results))
    if found.error is not None:
        lines.append(f"error     {found.error.message}")
    return "\n".join(lines)


def _ranking(found: Leaderboard) -> Any:
    if not found.boards:
        others = ", ".join(f"{one.dataset} with {one.ipc}" for one in found.choices)
        if others:
            return f"nothing is scored so; there is something on {others} images of each class"
        return "nothing is scored yet; `ddctl submit digits --ipc 1 --watch` does, or `ddctl score FILE --dataset NAME`"
    head = f"{found.dataset}, {found.ipc} images of each class; accuracies of two recipes do not compare"
    left = [] if not found.left_out else [f"{found.left_out} with lower accuracies are not listed"]
    return Group(head, *(part for board in found.boards for part in _board(board)), *left)


def _board(board: Board) -> list[Any]:
    table = Table("", "accuracy", "random", "worth", "scores", "made by", "id", box=None, pad_edge=False)
    for entry in board.entries:
        made_by = entry.made_by if entry.name is None else f"{entry.name} ({entry.made_by})"
        table.add_row(str(entry.rank), *_cells(entry), made_by, entry.id)
    for figure in board.published:
        deviation = "" if figure.std is None else f" ± {figure.std:.1f}"
        table.add_row("", f"{figure.accuracy:.1f} %{deviation}", "", "", "", f"published: {figure.title}", "")
    return [f"\n{board.protocol}: {board.words}", table]


def _cells(entry: Entry) -> tuple[str, str, str, str]:
    random = entry.controls.get("random")
    worth = "" if entry.worth is None else in_words(entry.worth)
    scores = ", ".join(f"{name.replace('_', '-')} {one.score:.1f}" for name, one in entry.scores.items())
    beside = "" if random is None else f"{random.mean:.1f} %"
    return f"{entry.accuracy.mean:.1f} % ± {entry.accuracy.std:.1f}", beside, worth, scores


def _accuracy(results: Results | None) -> str:
    return "" if results is None or results.accuracy is None else f"{results.accuracy.mean:.1f} %"


def _number(value: int | None) -> str:
    return "" if value is None else str(value)

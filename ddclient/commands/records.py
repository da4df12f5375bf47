"""Commands that read what a job leaves: its log, its metrics, its files."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ddclient import output
from ddclient.client import Client
from ddclient.commands.jobs import JobId
from ddclient.errors import BadInputError
from ddclient.metrics import Metrics
from ddclient.models import Artifact
from ddclient.output import JsonOption
from ddcore.spec import did_you_mean
from ddcore.spec.printable import printable


def logs(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for new lines until the job ends.")] = False,
    tail: Annotated[int | None, typer.Option(min=1, max=10_000, help="Only so many lines, the last ones.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print a job's log over all attempts: what its engine said and printed, with time and attempt."""
    with Client() as client:
        pieces = client.follow_log(job_id, tail=tail) if follow else iter([client.log(job_id, tail=tail)])
        lines = (printable(line) for piece in pieces for line in piece.splitlines())
        if as_json:
            output.emit({"job_id": job_id, "lines": list(lines)}, "", as_json=True)
            return
        for line in lines:
            output.emit(None, line, as_json=False)


def metrics(
    job_id: JobId,
    key: Annotated[list[str] | None, typer.Option(help="Only this metric, such as loss; repeatable.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print every point as CSV.")] = False,
    max_points: Annotated[int, typer.Option(min=2, max=5000, help="Points of a metric at most.")] = 500,
    as_json: JsonOption = False,
) -> None:
    """Print a job's metrics: the last reading of each, or every point as CSV."""
    if csv and as_json:
        raise BadInputError("--csv and --json exclude each other; leave one of them out")
    with Client() as client:
        found = client.metrics(job_id, max_points=max_points)
    for name in key or ():
        if name not in found:
            raise BadInputError(
                f"{job_id} has no metric '{name}'{did_you_mean(name, found)}; it has: {', '.join(found)}"
            )
    chosen = Metrics({name: series for name, series in found.items() if not key or name in key})
    output.emit(chosen, chosen.to_csv().rstrip() if csv else _last_readings(chosen), as_json=as_json)


def artifacts(
    job_id: JobId,
    kind: Annotated[str | None, typer.Option(help="Only files of this kind, such as preview.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Fetch them into this folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the files that a job has made so far, or fetch them."""
    with Client() as client:
        found = client.artifacts(job_id)
        kinds = sorted({artifact.kind for artifact in found})
        if kind is not None and kind not in kinds:
            there = ", ".join(kinds) or "none yet"
            raise BadInputError(f"{job_id} has no file of kind '{kind}'{did_you_mean(kind, kinds)}; it has: {there}")
        chosen = [artifact for artifact in found if kind in (None, artifact.kind)]
        if out is not None:
            for artifact in chosen:
                client.fetch(artifact, out / Path(artifact.name).name)
    output.emit(chosen, _files(chosen) if chosen else "no files yet", as_json=as_json)


def alerts(
    since: Annotated[str, typer.Option(help="How far back: 90s, 15m, 1h, 2d.")] = "1d", as_json: JsonOption = False
) -> None:
    """List what you should hear of: diverging losses, plateaus, low scores, late or finished jobs and studies."""
    with Client() as client:
        found = client.alerts(datetime.now(UTC) - span(since))
    table = Table("at", "of", "rule", "what", box=None, pad_edge=False)
    for one in found:
        table.add_row(one.at.isoformat(timespec="seconds"), one.study_id or one.job_id, one.rule, one.message)
    output.emit(found, table if found else f"no alerts in the last {since}", as_json=as_json)


def checkpoints(job_id: JobId, as_json: JsonOption = False) -> None:
    """List the saved states of a job, newest first: what it goes on from."""
    with Client() as client:
        found = client.checkpoints(job_id)
    table = Table("step", "attempt", "bytes", "SHA-256", "saved", box=None, pad_edge=False)
    for one in found:
        table.add_row(
            str(one["step"]), str(one["attempt"]), f"{one['size']:,}", one["sha256"][:16], str(one["created_at"])[:19]
        )
    output.emit(found, table if found else "it has saved none", as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (logs, metrics, artifacts, alerts, checkpoints):
        app.command()(command)


def span(text: str) -> timedelta:
    """A span of time such as ``1h``.

    >>> span("90m")
    datetime.timedelta(seconds=5400)
    """
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found is None:
        raise BadInputError(f"--since is {text!r}, but must look like 90s, 15m, 1h or 2d")
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    return timedelta(**{units[found[2]]: int(found[1])})


def _last_readings(found: Metrics) -> Table | str:
    table = Table("metric", "step", "last", "min", "max", box=None, pad_edge=False)
    for name, series in found.items():
        lows = [point.min for point in series if point.min is not None]
        highs = [point.max for point in series if point.max is not None]
        for last in islice(reversed(series), 1):
            numbers = (last.last, min(lows, default=None), max(highs, default=None))
            table.add_row(name, str(last.step_max), *("" if n is None else f"{n:.6g}" for n in numbers))
    return table if found else "no metrics yet"


def _files(found: list[Artifact]) -> Table:
    table = Table("id", "kind", "name", "step", "bytes", box=None, pad_edge=False)
    for one in found:
        table.add_row(one.id, one.kind, one.name, "" if one.step is None else str(one.step), f"{one.size or 0:,}")
    return table

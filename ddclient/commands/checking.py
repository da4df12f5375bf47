"""The command that checks a job and says what it should cost, without submitting it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ddclient import estimates, output, submission
from ddclient.client import Client
from ddclient.output import JsonOption

Spec = Annotated[
    Path,
    typer.Argument(metavar="SPEC", help="JSON or TOML file with the job; - for standard input.", show_default=False),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Any field: path=value, such as evaluation.epochs=300; repeatable.")
]


def validate(spec: Spec, set_: Set = None, as_json: JsonOption = False) -> None:
    """Check a job without submitting it: faults, warnings, and what it should cost."""
    body = submission.build(spec=spec, settings=set_ or ())
    with Client() as client:
        found = client.validate(body)
    output.emit(found, estimates.report(found), as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(validate)

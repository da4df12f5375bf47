"""Commands about the installation itself."""

from __future__ import annotations

import typer
from rich.table import Table
from rich.text import Text

from ddclient import output
from ddclient.client import Client
from ddclient.commands.this_machine import DataRoot, data_folder
from ddclient.errors import Exit
from ddclient.output import JsonOption
from ddcore.version import __version__

STYLES = {"ok": "green", "warning": "yellow", "error": "red"}


def doctor(data_root: DataRoot = None, as_json: JsonOption = False) -> None:
    """Show versions, devices, data, settings (secrets masked), disk and whether the service answers."""
    from ddclient.doctor import examine

    findings = examine(data_folder(data_root))
    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in findings:
        table.add_row(finding.name, Text(finding.verdict, style=STYLES[finding.verdict]), finding.text)
    document = {f.name: {"verdict": f.verdict, "text": f.text, **f.facts} for f in findings}
    output.emit(document, table, as_json=as_json)
    if any(finding.verdict == "error" for finding in findings):
        raise typer.Exit(Exit.FAILED)


def login(as_json: JsonOption = False) -> None:
    """Print a link that opens the dashboard once."""
    with Client() as client:
        link = client.login_link()
    output.emit({"url": link}, link, as_json=as_json)


def version(as_json: JsonOption = False) -> None:
    """Print the version."""
    output.emit({"version": __version__}, __version__, as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(doctor)
    app.command()(login)
    app.command()(version)

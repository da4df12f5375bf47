"""Commands that show what can be asked for."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from ddclient import output
from ddclient.client import Client
from ddclient.errors import BadInputError
from ddclient.output import JsonOption
from ddcore.spec import nearest


def methods(
    name: Annotated[str | None, typer.Argument(help="One of them, with its fields.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """List the methods, regularisers, decoders, samplers and networks of the service, or the fields of one of them."""
    with Client() as client:
        found = client.methods() + client.regularizers() + client.decoders() + client.samplers() + client.networks()
    if name is None:
        table = Table("name", "kind", "what", "source", "cost", box=None, pad_edge=False)
        for entry in found:
            table.add_row(*(entry[column] for column in ("name", "kind", "title", "citation", "cost")))
        output.emit(found, table, as_json=as_json)
        return
    # `random` is a method and a sampler: a name means what comes first in the list.
    known = {entry["name"]: entry for entry in reversed(found)}
    if name not in known:
        guess = nearest(name, known)
        hint = f", did you mean '{guess}'?" if guess else ""
        raise BadInputError(f"nothing is called '{name}'{hint}; known: {', '.join(sorted(known))}")
    output.emit(known[name], _fields(known[name]), as_json=as_json)


def presets(as_json: JsonOption = False) -> None:
    """List the presets: named starting points, with the published accuracy and the one measured here."""
    with Client() as client:
        found = client.presets()
    table = Table("name", "what", "published", "measured here", "source", box=None, pad_edge=False)
    for entry in found:
        published, measured = entry.get("published"), entry.get("measured")
        source = published["source"] if published else entry.get("citation", "")
        here = f"{_accuracy(measured)} ({measured['command']})" if measured else ""
        table.add_row(entry["name"], entry.get("title", ""), _accuracy(published), here, source)
    output.emit(found, table, as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(methods)
    app.command()(presets)


def _accuracy(figure: dict[str, Any] | None) -> str:
    """A figure in percent with its deviation over networks; nothing where there is none."""
    if figure is None:
        return ""
    deviation = f" ± {figure['std']:g}" if figure.get("std") is not None else ""
    return f"{figure['accuracy']:g}{deviation} %"


def _fields(entry: dict[str, Any]) -> Table:
    departures = [f"- {sentence}" for sentence in entry.get("departures", [])]
    caption = "\n".join(["", "Where a default is not the published setting:", *departures]) if departures else None
    table = Table("field", "default", "meaning", box=None, pad_edge=False, caption=caption, caption_justify="left")
    for name, field in entry["parameters"]["properties"].items():
        table.add_row(name, str(field.get("default", "")), field.get("description", ""))
    return table

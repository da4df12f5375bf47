"""Commands that show what can be asked for."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from ddclient import output
from ddclient.client import Client
from ddclient.errors import BadInputError
from ddclient.output import JsonOption
from ddcore.spec import did_you_mean

Name = Annotated[str | None, typer.Argument(help="One of them, with its fields.", show_default=False)]


def methods(name: Name = None, as_json: JsonOption = False) -> None:
    """List the methods of the service, or the fields of one."""
    _menu("methods", name, as_json=as_json)


def regularizers(name: Name = None, as_json: JsonOption = False) -> None:
    """List the regularisers, which are added to a method, or the fields of one."""
    _menu("regularizers", name, as_json=as_json)


def networks(name: Name = None, as_json: JsonOption = False) -> None:
    """List the networks to match with, train and score with, or the fields of one."""
    _menu("networks", name, as_json=as_json)


def decoders(name: Name = None, as_json: JsonOption = False) -> None:
    """List the decoders, which make training images of stored ones, or the fields of one."""
    _menu("decoders", name, as_json=as_json)


def samplers(name: Name = None, as_json: JsonOption = False) -> None:
    """List the samplers, which choose the real images of a step, or the fields of one."""
    _menu("samplers", name, as_json=as_json)


def readings(as_json: JsonOption = False) -> None:
    """List the metrics that jobs report: what each is, its unit and the better direction."""
    with Client() as client:
        found = client.readings()
    table = Table("name", "what", "unit", "better", box=None, pad_edge=False)
    for entry in found:
        table.add_row(*(str(entry.get(column) or "") for column in ("name", "title", "unit", "better")))
    output.emit(found, table, as_json=as_json)


def presets(
    name: Annotated[str | None, typer.Argument(help="One of them, with its job.", show_default=False)] = None,
    method: Annotated[str | None, typer.Option(help="Only presets of this method.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only presets on this dataset.")] = None,
    grep: Annotated[str | None, typer.Option(help="Only presets with this text in name, title or source.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the presets, named starting points with published and measured accuracy, or show one with its job."""
    with Client() as client:
        if name is not None:
            output.emit(found := client.preset(name), _preset(found), as_json=as_json)
            return
        listed = client.presets()
    wanted = {"method": method, "dataset": dataset}
    for field, value in wanted.items():
        there = sorted({_named(entry["job"].get(field)) for entry in listed})
        if value is not None and value not in there:
            raise BadInputError(
                f"no preset has {field} '{value}'{did_you_mean(value, there)}; there are: {', '.join(there)}"
            )
    shown = [
        entry for entry in listed
        if all(value is None or _named(entry["job"].get(field)) == value for field, value in wanted.items())
        and (grep is None or grep.lower() in _searched(entry))
    ]  # fmt: skip
    table = Table("name", "what", "published", "measured here", "source", box=None, pad_edge=False)
    for entry in shown:
        measured = entry.get("measured")
        here = f"{_accuracy(measured)} ({measured['command']})" if measured else ""
        table.add_row(entry["name"], entry.get("title", ""), _accuracy(entry.get("published")), here, _source(entry))
    output.emit(shown, table if shown else "no preset matches", as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (methods, regularizers, networks, decoders, samplers, presets, readings):
        app.command()(command)


def _menu(kind: str, name: str | None, *, as_json: bool) -> None:
    with Client() as client:
        found = client.menu(kind)
    if name is None:
        table = Table("name", "what", "source", "cost", box=None, pad_edge=False)
        for entry in found:
            table.add_row(*(entry[column] for column in ("name", "title", "citation", "cost")))
        output.emit(found, table, as_json=as_json)
        return
    known = {entry["name"]: entry for entry in found}
    if name not in known:
        hint = did_you_mean(name, known)
        raise BadInputError(f"there is no {kind[:-1]} '{name}'{hint}; known: {', '.join(sorted(known))}")
    output.emit(known[name], _fields(known[name]), as_json=as_json)


def _preset(entry: dict[str, Any]) -> str:
    """A preset in lines, its job as JSON that can be sent as it is."""
    lines = [f"{entry['name']}  {entry.get('title', '')}", f"  source     {_source(entry)}"]
    for label, figure in (("published", entry.get("published")), ("measured", entry.get("measured"))):
        if figure:
            lines.append(f"  {label:<9}  {_accuracy(figure)}")
    return "\n".join([*lines, json.dumps(entry["job"], indent=2), f"next: ddctl submit --preset {entry['name']}"])


def _named(value: object) -> str:
    """The name of a component, in either spelling."""
    return str(value.get("name")) if isinstance(value, dict) else str(value)


def _source(entry: dict[str, Any]) -> str:
    published = entry.get("published")
    return str(published["source"] if published else entry.get("citation") or "")


def _searched(entry: dict[str, Any]) -> str:
    return " ".join([entry["name"], entry.get("title", ""), _source(entry)]).lower()


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

"""``ddctl score``: a distilled set that others made, scored by a service or else in this process.

Torch is loaded only in the second case.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ddclient import discovery, output, submission
from ddclient.commands.jobs import Seed, Set
from ddclient.commands.scores import Wanted, send, text_of, understood
from ddclient.commands.this_machine import DataRoot, backbones_folder, data_folder, import_engine
from ddclient.discovery import home
from ddclient.live import RunView, display
from ddclient.output import JsonOption
from ddcore.spec import check_dataset_name
from ddcore.spec.local_sets import names_in
from ddcore.spec.results import Results


class Values(StrEnum):
    """Units that pixels may be in."""

    UNIT = "unit"
    BYTE = "byte"
    NORMALISED = "normalised"


def score(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="The set: .pt, .npz, .safetensors, parquet, or a folder or archive of images by class.",
            show_default=False,
        ),
    ],
    dataset: Annotated[str, typer.Option(help="Dataset that was distilled, such as cifar10.", show_default=False)],
    protocol: Annotated[str | None, typer.Option(help="Whose way of scoring. Default: standard.")] = None,
    network: Annotated[str | None, typer.Option(help="Network that is trained. Default: convnet.")] = None,
    control: Annotated[
        list[str] | None,
        typer.Option(help="Real images to compare with: random, herding, best_coreset or full; repeatable."),
    ] = None,
    worth: Annotated[
        bool, typer.Option("--worth", help="Also say how many random real images of each class are worth as much.")
    ] = False,
    values: Annotated[
        Values | None, typer.Option(help="Units of the pixels: 0 to 1, 0 to 255, or as networks are trained on them.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="A .pt file with the labels, beside a .pt file of images.")
    ] = None,
    seed: Seed = None,
    set_: Set = None,
    name: Annotated[str | None, typer.Option(help="What the service calls it.")] = None,
    ipc: Annotated[
        int | None, typer.Option(help="Images of each class, by which the service estimates the time.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the service.")] = False,
    local: Annotated[bool, typer.Option("--local", help="In this process, even where a service runs.")] = False,
    data_root: DataRoot = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder that receives the set as a bundle; with --local.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score a distilled set that others made, beside real images: in the service, else on this machine."""
    fields = _fields(protocol, network, control or (), worth=worth, seed=seed, settings=set_ or ())
    units = None if values is None else values.value
    if local or data_root is not None or out is not None or not discovery.is_named():
        _here(file.expanduser(), dataset, fields, units, labels, data_root, out, as_json=as_json)
    else:
        wanted = Wanted(file.expanduser(), dataset, fields, units, labels, ipc, name)
        send(wanted, detach=detach, as_json=as_json)


def _here(
    file: Path, dataset: str, fields: dict[str, Any], values: str | None, labels: Path | None,
    data_root: Path | None, out: Path | None, *, as_json: bool,
) -> None:  # fmt: skip
    """Score in this process."""
    folder = data_folder(data_root)
    check_dataset_name(dataset, names_in(folder))
    library = import_engine("ddcore.bundle")
    from ddclient.local import EngineView

    with display() as screen:
        view = EngineView(RunView(str(file)), screen)
        scored = library.score(
            file,
            dataset,
            fields,
            values=values,
            labels=labels,
            out=out,
            data_root=folder,
            cache=home() / "cache",
            backbones=backbones_folder(),
            callback=view,
        )
        view.finish()
    results: Results = scored.results
    if not as_json:
        output.note(understood(results))
    document = {"results": results, "spec": scored.spec, "out": None if out is None else str(out)}
    lines = [text_of(results)] + ([] if out is None else [f"bundle    {out}"])
    output.emit(document, "\n".join(lines), as_json=as_json)


def _fields(
    protocol: str | None,
    network: str | None,
    controls: Sequence[str],
    *,
    worth: bool,
    seed: int | None,
    settings: Sequence[str],
) -> dict[str, Any]:
    """Fields of a job that the options describe."""
    evaluation: dict[str, Any] = {} if protocol is None else {"protocol": protocol}
    evaluation |= {"controls": list(controls)} if controls else {}
    evaluation |= {"worth": {}} if worth else {}
    start = {"evaluation": evaluation} | ({} if network is None else {"network": network})
    return submission.build(start=start, seed=seed, settings=settings, usual_method=None)


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(score)

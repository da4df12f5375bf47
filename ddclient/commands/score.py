"""``ddctl score``: a distilled set that others made, scored in this process; torch is loaded here only."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ddclient import output, submission
from ddclient.commands.jobs import Seed, Set
from ddclient.commands.this_machine import DataRoot, data_folder, import_engine
from ddclient.discovery import home
from ddclient.live import RunView, display
from ddclient.output import JsonOption
from ddcore.spec import check_dataset_name
from ddcore.spec.local_sets import names_in
from ddcore.spec.results import Origin, Results


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
    data_root: DataRoot = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder that receives the set as a bundle.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Score a distilled set that others made, beside real images of the same number, without a service."""
    folder = data_folder(data_root)
    check_dataset_name(dataset, names_in(folder))
    fields = _fields(protocol, network, control or (), worth=worth, seed=seed, settings=set_ or ())
    library = import_engine("ddcore.bundle")
    from ddclient.local import EngineView

    with display() as screen:
        view = EngineView(RunView(str(file)), screen)
        scored = library.score(
            file.expanduser(),
            dataset,
            fields,
            values=None if values is None else values.value,
            labels=labels,
            out=out,
            data_root=folder,
            cache=home() / "cache",
            callback=view,
        )
        view.finish()
    results: Results = scored.results
    if not as_json:
        output.note(_understood(results.origin))
    document = {"results": results, "spec": scored.spec, "out": None if out is None else str(out)}
    output.emit(document, _text(results, out), as_json=as_json)


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


def _understood(origin: Origin | None) -> str:
    """How the file was read, in a line."""
    return "" if origin is None else f"{origin.file}, {origin.layout}: {'; '.join(origin.remarks)}"


def _text(results: Results, out: Path | None) -> str:
    """The scores as those of a job, then each architecture where there are several."""
    lines = [f"accuracy  {output.accuracy(results)}"]
    lines += [f"network   {text}" for text in output.architectures(results)]
    lines += [] if out is None else [f"bundle    {out}"]
    return "\n".join(lines)


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(score)

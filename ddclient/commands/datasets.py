"""Commands for a user's own images: look at them, take them in, list what there is.

They talk to the service where one can be found, and to the data root of this machine otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ddclient import discovery, output
from ddclient.commands.data_root import DataRoot as Here
from ddclient.commands.data_root import typed
from ddclient.commands.groups import add_group
from ddclient.commands.ingest_options import (
    Channels,
    DropEmptyClasses,
    DropLeaks,
    DropUnlabelled,
    Fit,
    GroupColumn,
    GroupFolders,
    ImageColumn,
    LabelColumn,
    Layout,
    Size,
    SkipUnreadable,
    SplitSeed,
    TestSplit,
    Validation,
    options,
    progress,
    text_of,
)
from ddclient.commands.service_sets import Service
from ddclient.commands.shelves import Shelf
from ddclient.commands.this_machine import DataRoot, data_folder, import_engine
from ddclient.output import JsonOption
from ddcore.spec.ingest import DatasetReport
from ddcore.spec.local_sets import usual_name

Images = Annotated[Path, typer.Argument(metavar="PATH", help="Folder, archive or file of images.", show_default=False)]
SetName = Annotated[
    str, typer.Argument(metavar="NAME", help="A set: its name, photos@2 or its identifier.", show_default=False)
]
Local = Annotated[
    bool,
    typer.Option("--local", help="In the data root of this machine, even where a service runs."),
]


def add(
    path: Images,
    name: Annotated[str | None, typer.Option(help="What jobs call the set. Default: as the files are called.")] = None,
    size: Size = None,
    fit: Fit = None,
    test_split: TestSplit = None,
    split_seed: SplitSeed = None,
    validation: Validation = None,
    layout: Layout = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    group_column: GroupColumn = None,
    group_folders: GroupFolders = False,
    channels: Channels = None,
    skip_unreadable: SkipUnreadable = False,
    drop_unlabelled: DropUnlabelled = False,
    drop_empty_classes: DropEmptyClasses = False,
    drop_leaks: DropLeaks = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the report, and keep nothing.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="A set of that name in the data root gives way.")] = False,
    local: Local = False,
    data_root: DataRoot = None,
    as_json: JsonOption = False,
) -> None:
    """Take images of your own in, as a set that jobs can name: in the service, else on this machine."""
    chosen = options(
        size=size, fit=fit, test_split=test_split, seed=split_seed, validation=validation, layout=layout,
        image_column=image_column, label_column=label_column, group_column=group_column, group_folders=group_folders,
        channels=channels, skip_unreadable=skip_unreadable, drop_unlabelled=drop_unlabelled,
        drop_empty_classes=drop_empty_classes, drop_leaks=drop_leaks,
    )  # fmt: skip
    called = name or usual_name(path.expanduser())
    if dry_run:
        library = import_engine("ddcore.data.library")
        with progress() as told, typed(path, called, chosen, ["--dry-run"]):
            report: DatasetReport = library.inspect(path.expanduser(), name=called, options=chosen, progress=told)
        output.emit(report, f"{text_of(report)}\nnothing was kept", as_json=as_json)
        return
    place = _shelf(local=local, data_root=data_root)
    document, text = place.add(path.expanduser(), called, chosen, replace=replace)
    output.emit(document, text, as_json=as_json)


def ingest(
    reference: Annotated[str, typer.Argument(metavar="NAME|ID", help="A set that could not be taken in.")],
    size: Size = None,
    fit: Fit = None,
    test_split: TestSplit = None,
    split_seed: SplitSeed = None,
    validation: Validation = None,
    layout: Layout = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    group_column: GroupColumn = None,
    group_folders: GroupFolders = False,
    channels: Channels = None,
    skip_unreadable: SkipUnreadable = False,
    drop_unlabelled: DropUnlabelled = False,
    drop_empty_classes: DropEmptyClasses = False,
    drop_leaks: DropLeaks = False,
    as_json: JsonOption = False,
) -> None:
    """Have the service take files in once more, with other options; they are not sent again."""
    chosen = options(
        size=size, fit=fit, test_split=test_split, seed=split_seed, validation=validation, layout=layout,
        image_column=image_column, label_column=label_column, group_column=group_column, group_folders=group_folders,
        channels=channels, skip_unreadable=skip_unreadable, drop_unlabelled=drop_unlabelled,
        drop_empty_classes=drop_empty_classes, drop_leaks=drop_leaks,
    )  # fmt: skip
    document, text = Service().ingest(reference, chosen)
    output.emit(document, text, as_json=as_json)


def list_(local: Local = False, data_root: DataRoot = None, as_json: JsonOption = False) -> None:
    """List the sets that a job can name: your own, and the built-in ones."""
    place = _shelf(local=local, data_root=data_root)
    documents, rows = place.list()
    table = Table("name", "where", "images", "shape", "classes", "smallest class", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    output.note(f"in {place.where}")
    output.emit(documents, table, as_json=as_json)


def show(name: SetName, local: Local = False, data_root: DataRoot = None, as_json: JsonOption = False) -> None:
    """Show the report of a set that was taken in, or why it was not."""
    document, text = _shelf(local=local, data_root=data_root).show(name)
    output.emit(document, text, as_json=as_json)


def remove(name: SetName, local: Local = False, data_root: DataRoot = None, as_json: JsonOption = False) -> None:
    """Remove a set that was taken in. Jobs that have begun in the data root go on; the service refuses meanwhile."""
    place = _shelf(local=local, data_root=data_root)
    place.remove(name)
    output.emit({"removed": name, "from": place.where}, f"removed {name} from {place.where}", as_json=as_json)


def export(
    name: SetName,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that receives the images.")],
    local: Local = False,
    data_root: DataRoot = None,
    as_json: JsonOption = False,
) -> None:
    """Write a set that was taken in as PNG files, in a folder for each split and class."""
    place = _shelf(local=local, data_root=data_root)
    count = place.export(name, out)
    document = {"out": out, "images": count, "from": place.where}
    output.emit(document, f"{count:,} images of {place.where} in {out}", as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add_group(
        app,
        "datasets",
        "Images of your own: take them in, look at them.",
        {"add": add, "ingest": ingest, "list": list_, "show": show, "rm": remove, "export": export},
    )


def _shelf(*, local: bool, data_root: Path | None) -> Shelf:
    """The service where one can be found, else the data root of this machine.

    Args:
        local: the data root, whatever else there is.
        data_root: the data root, and where it is.
    """
    if local or data_root is not None:
        return Here(data_folder(data_root), data_root)
    return Service() if discovery.is_named() else Here(data_folder(None), None)

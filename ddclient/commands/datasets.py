"""Commands for a user's own images: look at them, take them in, list what there is. They need no service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ddclient import output
from ddclient.commands.engine import DataRoot, data_folder, import_engine
from ddclient.commands.ingest_options import (
    Channels,
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
from ddclient.errors import BadInputError
from ddclient.output import JsonOption
from ddcore.spec import DATASETS
from ddcore.spec.ingest import DatasetReport
from ddcore.spec.local_sets import facts_of, names_in, report_in, usual_name

Images = Annotated[Path, typer.Argument(metavar="PATH", help="Folder, archive or file of images.", show_default=False)]
SetName = Annotated[str, typer.Argument(metavar="NAME", help="Name of a set.", show_default=False)]


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
    drop_leaks: DropLeaks = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the report, and keep nothing.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="A set of that name gives way.")] = False,
    data_root: DataRoot = None,
    as_json: JsonOption = False,
) -> None:
    """Take images of your own in, as a set that jobs on this machine can name."""
    chosen = options(
        size=size, fit=fit, test_split=test_split, seed=split_seed, validation=validation, layout=layout,
        image_column=image_column, label_column=label_column, group_column=group_column, group_folders=group_folders,
        channels=channels, skip_unreadable=skip_unreadable, drop_unlabelled=drop_unlabelled, drop_leaks=drop_leaks,
    )  # fmt: skip
    library = import_engine("ddcore.data.library")
    called = name or usual_name(path)
    with progress() as told:
        report: DatasetReport = (
            library.inspect(path, name=called, options=chosen, progress=told)
            if dry_run
            else library.add(path, data_folder(data_root), name=called, options=chosen, replace=replace, progress=told)
        )
    following = "nothing was kept" if dry_run else f"next: ddctl submit {called} --ipc 1 --watch"
    output.emit(report, f"{text_of(report)}\n{following}", as_json=as_json)


def list_(data_root: DataRoot = None, as_json: JsonOption = False) -> None:
    """List the sets in the data root, and the built-in ones."""
    folder = data_folder(data_root)
    own = names_in(folder)
    table = Table("name", "where", "images", "shape", "classes", "smallest class", box=None, pad_edge=False)
    rows = []
    for name in [*own, *(name for name in DATASETS if name not in own)]:
        facts = facts_of(name, folder)
        where = "built in" if name not in own else "taken in" if report_in(folder / name) else "files as they are"
        rows.append({"name": name, "where": where, "facts": None if facts is None else vars(facts)})
        known = ("?",) * 4
        if facts is not None:
            counts = f"{facts.train_size:,} + {facts.test_size:,}"
            shape = " x ".join(map(str, facts.shape))
            known = (counts, shape, str(len(facts.classes)), f"{facts.smallest_class:,}")
        table.add_row(name, where, *known)
    output.emit(rows, table, as_json=as_json)


def show(name: SetName, data_root: DataRoot = None, as_json: JsonOption = False) -> None:
    """Show the report of a set that was taken in."""
    report = report_in(data_folder(data_root) / name)
    if report is None:
        raise BadInputError(f"no set {name} was taken in here; `ddctl datasets list` shows what there is")
    output.emit(report, text_of(report), as_json=as_json)


def remove(name: SetName, data_root: DataRoot = None, as_json: JsonOption = False) -> None:
    """Remove a set that was taken in. Jobs that have begun go on."""
    import_engine("ddcore.data.library").remove(name, data_folder(data_root))
    output.emit({"removed": name}, f"removed {name}", as_json=as_json)


def export(
    name: SetName,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that receives the images.")],
    data_root: DataRoot = None,
    as_json: JsonOption = False,
) -> None:
    """Write a set that was taken in as PNG files, in a folder for each split and class."""
    count = import_engine("ddcore.data.library").export(name, data_folder(data_root), out)
    output.emit({"out": out, "images": count}, f"{count:,} images in {out}", as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(help="Images of your own: take them in, look at them.", no_args_is_help=True)
    group.command()(add)
    group.command("list")(list_)
    group.command()(show)
    group.command("rm")(remove)
    group.command()(export)
    app.add_typer(group, name="datasets")

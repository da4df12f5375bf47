"""Options by which images of a user's own are taken in, and the report of them as text."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from ddclient.errors import BadInputError
from ddclient.options import options_of
from ddcore.spec.ingest import DatasetReport, IngestOptions

Size = Annotated[
    str | None, typer.Option(help="Pixels a side (64), height x width (48x64), or keep, for images of one size.")
]
Fit = Annotated[str | None, typer.Option(help="How images of another shape get there: crop (default), pad or stretch.")]
TestSplit = Annotated[
    float | None, typer.Option(help="Share set aside for scoring if there is no test split. Default: 0.2.")
]
SplitSeed = Annotated[int | None, typer.Option("--split-seed", help="Decides which images are set aside.")]
Validation = Annotated[
    str | None, typer.Option(help="Validation images: auto (they score where nothing else does), join or drop.")
]
Layout = Annotated[str | None, typer.Option(help="The reader to use, where several know the files.")]
ImageColumn = Annotated[str | None, typer.Option(help="Column or array of the images.")]
LabelColumn = Annotated[str | None, typer.Option(help="Column or array of the labels.")]
GroupColumn = Annotated[str | None, typer.Option(help="Column of what a cut must not part, such as the patient.")]
GroupFolders = Annotated[bool, typer.Option("--group-folders", help="A cut must not part the images of a folder.")]
Channels = Annotated[str | None, typer.Option(help="first or last: where arrays have their channels.")]
SkipUnreadable = Annotated[bool, typer.Option("--skip-unreadable", help="Leave out what cannot be decoded.")]
DropEmptyClasses = Annotated[
    bool, typer.Option("--drop-empty-classes", help="Leave out classes that the files list but no image has.")
]
DropUnlabelled = Annotated[bool, typer.Option("--drop-unlabelled", help="Leave out images without a label.")]
DropLeaks = Annotated[bool, typer.Option("--drop-leaks", help="Leave out test images that are training images too.")]

_CLASSES_SHOWN = 20
_SIZES_SHOWN = 5
_UNREADABLE_SHOWN = 10


def options(**given: Any) -> IngestOptions:
    """What the options of a command say; those that were not given keep their defaults.

    Raises:
        SpecError: a value is out of range.

    >>> options(size="48x64", fit=None, skip_unreadable=True).size
    (48, 64)
    """
    chosen = {name: value for name, value in given.items() if value not in (None, False)}
    if isinstance(chosen.get("size"), str) and chosen["size"] != "keep":
        chosen["size"] = _size(chosen["size"])
    return options_of(chosen)


def _size(text: str) -> int | tuple[int, int]:
    sides = text.lower().split("x")
    if not all(side.isdecimal() for side in sides) or len(sides) > 2:
        raise BadInputError(f"--size is {text!r}, but must be a number (64), height x width (48x64) or keep")
    return int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))


def without_images(given: IngestOptions) -> str:
    """What to say where options are given, but no images."""
    flag = f"--{min(given.model_fields_set).replace('_', '-')}"
    return f"{flag} says how images are taken in, but no path of images is given; write ./photos for a folder here"


def commands(message: str, start: Sequence[str], given: IngestOptions) -> str:
    """The commands that a message of why images could not be taken in comes to, each on a line of its own.

    Args:
        message: it names options in brackets, such as ``(--size 16, --size 16 --fit pad)``.
        start: the words that every command begins with.
        given: options that were given already; they are kept, but for those that the message names otherwise.

    >>> print(commands("they differ (--size 8, --size 8 --fit pad)", ["ddctl", "datasets", "add", "my photos"],
    ...                IngestOptions(fit="crop", skip_unreadable=True)))
    <BLANKLINE>
      ddctl datasets add 'my photos' --skip-unreadable --fit crop --size 8
      ddctl datasets add 'my photos' --skip-unreadable --size 8 --fit pad
    """
    ways = [way.split() for some in re.findall(r"\((--[^)]*)\)", message) for way in some.split(", ")]
    flags = _flags(given)
    lines = []
    for way in ways:
        kept = [word for name in sorted(flags, reverse=True) if name not in way for word in flags[name]]
        lines.append("\n  " + shlex.join([*start, *kept, *way]))
    return "".join(lines)


def _flags(given: IngestOptions) -> dict[str, list[str]]:
    """Options as the words of a command, by the flag of each."""
    found = {}
    for name, value in given.model_dump(mode="json", exclude_unset=True).items():
        flag = "--split-seed" if name == "seed" else f"--{name.replace('_', '-')}"
        if value is not None and value is not False:
            text = "x".join(map(str, value)) if isinstance(value, list) else str(value)
            found[flag] = [flag] if value is True else [flag, text]
    return found


@contextmanager
def progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on the terminal while images are decoded; nothing where nobody looks."""
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("decoding", total=None)

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield tell


def text_of(report: DatasetReport) -> str:
    """A report for people."""
    channels, height, width = report.shape
    splits = " + ".join(f"{split.images:,} {name}" for name, split in report.splits.items())
    lines = [
        f"{report.name}  {report.id}",
        f"  read as   {report.layout}: {report.why}",
        f"  images    {splits}, {width} x {height}, {'grey' if channels == 1 else 'colour'}",
        f"  classes   {len(report.classes)}",
    ]
    for name in report.classes[:_CLASSES_SHOWN]:
        counts = " + ".join(f"{split.per_class.get(name, 0):,}" for split in report.splits.values())
        lines.append(f"    {counts:>16}  {name}")
    if len(report.classes) > _CLASSES_SHOWN:
        lines.append(f"    … and {len(report.classes) - _CLASSES_SHOWN} more (--json shows all)")
    sizes = ", ".join(f"{size.width} x {size.height} ({size.images:,})" for size in report.sizes[:_SIZES_SHOWN])
    rest = report.distinct_sizes - _SIZES_SHOWN
    lines.append(f"  as stored {sizes}{f' and {rest} more sizes' if rest > 0 else ''}")
    lines.append(f"  pixels    {', '.join(f'{mode} ({count:,})' for mode, count in report.modes.items())}")
    if report.ignored:
        lines.append(f"  ignored   {', '.join(f'{count:,} {kind}' for kind, count in report.ignored.items())}")
    lines.append(f"  ipc       {'; '.join(f'at most {most.most:,} {most.kind}' for most in report.largest_ipc)}")
    lines += [f"  remark    {remark}" for remark in report.remarks]
    shown = report.unreadable[:_UNREADABLE_SHOWN]
    lines += [f"  left out  {bad.place}: {bad.reason}" for bad in shown]
    return "\n".join(lines)

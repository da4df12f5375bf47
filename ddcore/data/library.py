"""Sets of a user's own in the data root of a machine, under the names that jobs call them by."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from ddcore.data import stored
from ddcore.data.ingest.intake import OnProgress, take_in
from ddcore.errors import DataError
from ddcore.spec.ingest import DatasetReport, IngestOptions
from ddcore.spec.local_sets import places_of, report_in

_NAME = re.compile(r"\w[\w.-]*")
_LONGEST_NAME = 200


def check_name(name: str) -> None:
    """Refuse what cannot name a set.

    Raises:
        DataError: saying what can.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME or name.startswith("ds_"):
        raise DataError(
            f"'{name}' cannot name a dataset; names consist of at most {_LONGEST_NAME} letters, digits and . _ -, and "
            "do not begin with ds_, which is for identities"
        )


def add(
    place: Path,
    data_root: Path,
    *,
    name: str,
    options: IngestOptions,
    replace: bool = False,
    progress: OnProgress | None = None,
) -> DatasetReport:
    """Take files in, and keep the set in the data root.

    Args:
        place: a folder, an archive or a file.
        data_root: folder of named datasets.
        name: what jobs call the set.
        options: what the user decides.
        replace: whether a set of that name gives way. What the user put there by hand never does.
        progress: told how far decoding is.

    Raises:
        DataError: the files are unfit, or the name is taken.
        OSError: the data root cannot be written.
    """
    check_name(name)
    folder = data_root / name
    _check_no_files(name, data_root)
    data_root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".taking-in-", dir=data_root, ignore_cleanup_errors=True) as made:
        report = take_in(place, Path(made), name=name, options=options, progress=progress).report
        there = report_in(folder)
        if there is not None and there.id == report.id:
            return there
        if there is not None and not replace:
            raise DataError(
                f"there is a set {name} already ({there.id}, {there.splits['train'].images} training images), and "
                f"these files make another one ({report.id}); choose another name, or replace it (--replace)"
            )
        _check_no_files(name, data_root)
        if there is not None:
            folder.rename(Path(made) / "replaced")
        (Path(made) / report.id).rename(folder)
    return report


def inspect(place: Path, *, name: str, options: IngestOptions, progress: OnProgress | None = None) -> DatasetReport:
    """Say what would be taken in, and keep nothing.

    Raises:
        DataError: the files are unfit.
    """
    check_name(name)
    with tempfile.TemporaryDirectory(prefix="ddservice-") as made:
        return take_in(place, Path(made), name=name, options=options, progress=progress).report


def remove(name: str, data_root: Path) -> None:
    """Remove a set that was taken in.

    Raises:
        DataError: there is none of that name, or its files were put there by hand.
    """
    _own(name, data_root)
    with tempfile.TemporaryDirectory(prefix=".removed-", dir=data_root, ignore_cleanup_errors=True) as aside:
        (data_root / name).rename(Path(aside) / "set")


def export(name: str, data_root: Path, out: Path) -> int:
    """Write a set that was taken in as PNG files, ``<split>/<class>/<number>.png``.

    Args:
        name: of the set.
        data_root: folder of named datasets.
        out: folder that is empty or not there yet.

    Returns:
        How many images.

    Raises:
        DataError: there is no such set, or its classes cannot name folders.
        FileExistsError: the folder is not empty.
    """
    from PIL import Image

    folder = _own(name, data_root)
    found = stored.read(folder)
    if found is None:
        raise DataError(f"the set in {folder} is damaged; take its files in again")
    odd = next((one for one in found.report.classes if one in ("", ".", "..") or "/" in one or "\0" in one), None)
    if odd is not None:
        raise DataError(f"the class {odd!r} cannot name a folder; rename it in the files that the set came from")
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty; name another folder")
    try:
        for split_name, split in (("train", found.train), ("test", found.test)):
            for number, (image, label) in enumerate(zip(split.images, split.labels.tolist(), strict=True)):
                path = out / split_name / found.report.classes[label] / f"{number:06d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                values = image.numpy()
                Image.fromarray(values[0] if len(values) == 1 else values.transpose(1, 2, 0)).save(path)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    return len(found.train) + len(found.test)


def _own(name: str, data_root: Path) -> Path:
    """The folder of a set that was taken in."""
    folder = data_root / name
    if report_in(folder) is None:
        if places_of(name, data_root):
            raise DataError(f"the files of {name} in {data_root} were put there by hand; they are not touched")
        raise DataError(f"there is no set {name} in {data_root}; `ddctl datasets list` shows what there is")
    return folder


def _check_no_files(name: str, data_root: Path) -> None:
    """Refuse a name that files have which the user put there by hand."""
    places = places_of(name, data_root)
    if places and report_in(places[0]) is None:
        raise DataError(
            f"{places[0]} is in the data root already, put there by hand; jobs can name it as it is, or choose another "
            "name"
        )

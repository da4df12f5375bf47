"""What a user gives as images, as bytes that can be sent: paths as they are, objects in memory as npz or parquet."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ddclient import packing
from ddclient.errors import BadInputError, ClientError
from ddclient.packing import Content, PlainFile, Tar
from ddcore.spec import JobSpec
from ddcore.spec.local_sets import usual_name

_NESTED = 8
_TABLES = frozenset((".csv", ".tsv", ".jsonl"))
NEEDS = "this needs the engine's libraries: pip install 'ddservice[engine]' (missing: {name})"


def is_path(dataset: object) -> bool:
    """Whether this is a path of images rather than the name of a set: a ``Path``, or text with a ``/`` in it.

    A word by itself always is a name, even where a folder of that name lies here.

    >>> is_path("photos"), is_path("./photos"), is_path(Path("photos"))
    (False, True, True)
    """
    if isinstance(dataset, str):
        return "/" in dataset or os.sep in dataset
    return isinstance(dataset, os.PathLike)


def path_in(spec: Mapping[str, Any] | JobSpec, ingest: Mapping[str, Any] | None) -> Any:
    """The path of images that a specification names in place of a set; ``None`` where it names a set.

    Raises:
        BadInputError: it names a set, but ``ingest`` says how images are taken in.
    """
    dataset = spec.dataset if isinstance(spec, JobSpec) else spec.get("dataset")
    if not isinstance(spec, JobSpec) and is_path(dataset):
        return dataset
    if ingest:
        raise BadInputError(
            f"`ingest` says how images are taken in, but `dataset` is {dataset!r}, which is no path of images; "
            "write ./photos for a folder here"
        )
    return None


def on(spec: Mapping[str, Any] | JobSpec, reference: str) -> dict[str, Any]:
    """The same specification on a set."""
    fields = spec.model_dump(mode="json") if isinstance(spec, JobSpec) else dict(spec)
    return fields | {"dataset": reference}


def usual(images: object) -> str:
    """What images are called where the user gives no name.

    Raises:
        BadInputError: they are no path, so they have none.
    """
    if isinstance(images, str | os.PathLike):
        return usual_name(Path(images).expanduser())
    raise BadInputError("`name` is missing; images that come from no path need one, such as name='photos'")


@contextmanager
def opened(images: Any, test: Any, name: str, classes: Sequence[str] | None, channels: str | None) -> Iterator[Content]:
    """Images as bytes; what has to be written lies in a temporary folder meanwhile.

    Args:
        images: a path; a pair of arrays; a ``datasets.Dataset`` or ``DatasetDict``; or a torch ``Dataset`` or any other
            sequence of pairs of an image and its label.
        test: test images, likewise, or nothing.
        name: of the set.
        classes: what whole numbers as labels stand for.
        channels: ``first`` or ``last``, where arrays have theirs and that does not follow from their shape.

    Raises:
        BadInputError: they cannot be read or sent.
        ClientError: a library is missing.
    """
    if isinstance(images, str | os.PathLike):
        if classes is not None:
            raise BadInputError("`classes` goes with arrays and Datasets; files name their classes themselves")
        yield _of_path(Path(images).expanduser(), test)
        return
    with tempfile.TemporaryDirectory(prefix="ddclient-") as made:
        yield _of_files(_written(images, test, Path(made), classes, channels), name)


def encoded(images: Any, classes: Sequence[str] | None) -> bool:
    """Whether images are written one by one, so that it is settled here where their channels are."""
    if isinstance(images, str | os.PathLike) or (classes is None and _is_pair(images)):
        return False
    return not any(map(is_table, images.values() if isinstance(images, Mapping) else (images,)))


def is_table(images: Any) -> bool:
    """Whether this is a ``datasets.Dataset``."""
    library = sys.modules.get("datasets")
    return library is not None and isinstance(images, library.Dataset)


def _of_path(place: Path, test: Any) -> Content:
    if not place.exists():
        raise BadInputError(f"there is no folder or file {place}; a set that the service has is named without a /")
    if place.suffix.lower() in _TABLES:
        raise BadInputError(
            f"{place} is a table, and the images that it names would stay behind; give the folder that holds both"
        )
    if test is None:
        return packing.folder(place) if place.is_dir() else PlainFile(place)
    if not isinstance(test, str | os.PathLike):
        raise BadInputError("`test` must be a path, as the other images are one")
    other = Path(test).expanduser()
    name = f"{usual_name(place)}.tar"
    if place.is_dir() and other.is_dir():
        return Tar(name, packing.members_of(place, "train/") + packing.members_of(other, "test/"))
    if place.suffix == other.suffix == ".parquet":
        return Tar(name, [("train.parquet", place), ("test.parquet", other)])
    raise BadInputError(
        f"`test` is {other} beside {place}, but both must be folders or both parquet files; or give one folder or "
        "archive that holds train and test"
    )


def _of_files(files: Sequence[Path], name: str) -> Content:
    if len(files) == 1:
        return PlainFile(files[0])
    return Tar(f"{name}.tar", [(file.name, file) for file in files])


def _written(
    images: Any, test: Any, folder: Path, classes: Sequence[str] | None, channels: str | None
) -> Sequence[Path]:
    try:
        from ddclient import spooling
    except ImportError as error:
        raise ClientError(NEEDS.format(name=error.name)) from error
    if _is_pair(images) and classes is None:
        if test is not None and not _is_pair(test):
            raise BadInputError("`test` must be a pair (images, labels) of arrays, as the other images are one")
        tested = None if test is None else spooling.Pairs(*test)
        spooling.arrays(folder / "images.npz", spooling.Pairs(*images), tested)
        return [folder / "images.npz"]
    splits = _splits(images, test)
    known = classes or next(filter(None, map(_classes_of, splits.values())), None)
    for split, part in splits.items():
        path = folder / f"{split}.parquet"
        if is_table(part):
            if classes is not None:
                raise BadInputError("`classes` is given, but a datasets.Dataset names its classes itself (ClassLabel)")
            spooling.table(path, part)
        else:
            spooling.items(path, spooling.Pairs(*part) if _is_pair(part) else part, known, channels, split)
    return [folder / f"{split}.parquet" for split in splits]


def _splits(images: Any, test: Any) -> Mapping[str, Any]:
    if not isinstance(images, Mapping):
        return {"images": images} if test is None else {"train": images, "test": test}
    if test is not None:
        raise BadInputError("`test` is given, but the images are named splits already; put it among them")
    return {str(split): part for split, part in images.items()}


def _is_pair(images: Any) -> bool:
    """Whether this is (images, labels), and not a list of such pairs."""
    return isinstance(images, tuple) and len(images) == 2


def _classes_of(images: Any) -> Sequence[str] | None:
    """Class names that a Dataset knows, itself or as the part of another one; nothing where it knows none."""
    for _ in range(_NESTED):
        names = getattr(images, "classes", None)
        if isinstance(names, list | tuple) and names:
            return [str(name) for name in names]
        images = getattr(images, "dataset", None)
        if images is None:
            break
    return None

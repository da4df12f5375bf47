"""What is known of the sets in a data root without loading them; needs no torch, so that the service can ask."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from ddcore.spec.datasets import DATASETS, DatasetFacts
from ddcore.spec.ingest import DatasetReport

STORED_FORMAT = 3
"""Of ``dataset.json``. 1 dropped transparency and the lower half of 16-bit pixels; 2 had no report."""
STORED_FACTS = "dataset.json"
SUFFIXES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".parquet", ".npz", ".csv", ".tsv", ".jsonl")
"""Files, rather than folders, that can be a set."""
LONGEST_NAME = 100


def report_in(folder: Path) -> DatasetReport | None:
    """The report of a set that was taken in; nothing where there is none, or one of another version.

    A file that has not changed since is not read again: the service asks at every request.
    """
    path = folder / STORED_FACTS
    try:
        facts = path.stat()
    except OSError:
        return None
    return _read(path, facts.st_ino, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=256)
def _read(path: Path, *_version: int) -> DatasetReport | None:
    try:
        stored = json.loads(path.read_text("utf-8"))
        return DatasetReport.model_validate(stored["report"]) if stored["format"] == STORED_FORMAT else None
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None


def places_of(name: str, data_root: Path) -> list[Path]:
    """Where a data root holds a set of a name: in a folder, or else in files with one of :data:`SUFFIXES`."""
    if (data_root / name).is_dir():
        return [data_root / name]
    return [path for path in _files(data_root) if _stem(path) == name]


def names_in(data_root: Path) -> tuple[str, ...]:
    """Names of the sets in a data root, sorted."""
    if not data_root.is_dir():
        return ()
    folders = (path.name for path in data_root.iterdir() if path.is_dir() and not path.name.startswith("."))
    return tuple(sorted({*folders, *map(_stem, _files(data_root))}))


def facts_of(name: str, data_root: Path) -> DatasetFacts | None:
    """What is known of a set: from its report where it was taken in, else what is published of its name.

    Files that nobody has looked at yet are presumed to be the published set of their name, so that a job on them can be
    estimated.
    """
    places = places_of(name, data_root)
    report = report_in(places[0]) if places else None
    return DATASETS.get(name) if report is None else report.facts


def certain_facts_of(name: str, data_root: Path) -> DatasetFacts | None:
    """The same, without presumptions: what a job may be refused by.

    Files of the user's own may hold anything, whatever they are called, until they are taken in.
    """
    places = places_of(name, data_root)
    if not places:
        return DATASETS.get(name)
    report = report_in(places[0])
    return None if report is None else report.facts


def fingerprint_of(name: str, data_root: Path) -> str:
    """Changes whenever a file of a set does, by its name, size or time; the same wherever the data root lies."""
    digest = hashlib.sha256()
    for place in places_of(name, data_root):
        files = [os.path.join(folder, file) for folder, _, names in os.walk(place) for file in names]  # noqa: PTH118
        for file in sorted(files) if place.is_dir() else [os.fspath(place)]:
            digest.update(f"{os.path.relpath(file, data_root)}\0{_state(file)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _state(file: str) -> str:
    try:
        facts = os.stat(file)  # noqa: PTH116 - there may be a million of them
    except OSError as error:
        return f"{error.errno}"
    return f"{facts.st_size} {facts.st_mtime_ns}"


def usual_name(place: Path) -> str:
    """What files are called where the user gives no name: as their folder or file, in characters that a name may have.

    At most :data:`LONGEST_NAME` of them, which is what the service takes.

    >>> usual_name(Path("/home/me/My photos.tar.gz"))
    'My-photos'
    """
    stem = place.resolve().name if place.is_dir() else place.name.split(".")[0]
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.")[:LONGEST_NAME] or "images"


def _files(data_root: Path) -> Iterator[Path]:
    paths = sorted(data_root.iterdir()) if data_root.is_dir() else []
    return (path for path in paths if path.suffix in SUFFIXES and not path.name.startswith(".") and path.is_file())


def _stem(path: Path) -> str:
    """The name without its suffix, and without that of a packed tar."""
    return path.stem.removesuffix(".tar")

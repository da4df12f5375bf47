"""Where a dataset comes from: a user's own files, scikit-learn, or the archives that torchvision knows."""

from __future__ import annotations

import hashlib
import logging
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from ddcore.data import digits, stored
from ddcore.data.dataset import Dataset, ImageSet, describe
from ddcore.data.ingest import intake
from ddcore.data.ingest.intake import OnProgress
from ddcore.data.readers import layouts_known, published
from ddcore.data.stored import StoredSet
from ddcore.errors import DataError
from ddcore.machine.cache import note_use
from ddcore.spec.datasets import DATASETS
from ddcore.spec.errors import did_you_mean
from ddcore.spec.ingest import DatasetReport, IngestOptions
from ddcore.spec.listing import listed
from ddcore.spec.local_sets import STORED_FACTS, STORED_FORMAT, names_in, places_of

_logger = logging.getLogger(__name__)
_AS_THEY_ARE = IngestOptions(size="keep")
_IDENTITY = re.compile(r"ds_[0-9a-f]{20}")


def load(name: str, data_root: Path | None = None, cache: Path | None = None) -> Dataset:
    """Load a dataset by name.

    A folder, archive or file of that name in ``data_root`` is read by the reader that knows its layout
    (:mod:`ddcore.data.readers`); it goes before a built-in name. ``ds_…`` is a set that was taken in before. ``digits``
    ships with scikit-learn. mnist, fashion_mnist, svhn, cifar10 and cifar100 are then looked for in the files of
    torchvision's own loaders in ``data_root`` or ``cache/torchvision``, where they are downloaded if need be.

    Args:
        name: name of the dataset.
        data_root: folder of named datasets.
        cache: folder shared by jobs; files are decoded once and then memory-mapped from here.

    Raises:
        DataError: nothing by that name was found, or what was found is unfit; the message says where
            it looked, or names file and row.
    """
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise DataError(f"'{name}' cannot name a dataset; names consist of letters, digits and . _ -")
    if _IDENTITY.fullmatch(name):
        return _as_dataset(_taken_in(name, cache))
    place = None if data_root is None else _place(name, data_root)
    if place is not None and (place / STORED_FACTS).is_file():
        return _as_dataset(_stored(place))
    if place is not None:
        return _as_dataset(own(place, name, _AS_THEY_ARE, cache))
    if name == "digits":
        return digits.read()
    if name in published.LOADERS:
        return describe(name, *published.read(name, data_root, cache), published=True)
    raise DataError(_not_found(name, data_root))


def own(
    place: Path, name: str, options: IngestOptions, cache: Path | None = None, *, progress: OnProgress | None = None
) -> StoredSet:
    """A user's own files as a set; decoded once, as long as neither they nor the options change.

    The set lies in ``cache/datasets`` under its identity. Several processes may take the same files in at once; one of
    them wins. A cache that cannot be written is reported to the log and done without.

    Args:
        place: a folder, an archive or a file.
        name: what the user calls it.
        options: what the user decides.
        cache: folder shared by jobs; without one, the set is held in memory.
        progress: told how far decoding is.

    Raises:
        DataError: the files cannot be understood, or are unfit.
    """
    facts = DATASETS.get(name)
    known = facts.classes if facts is not None else None
    take_in = partial(intake.take_in, place, name=name, options=options, known_classes=known, progress=progress)
    if cache is not None:
        shelf, note = cache / "datasets", cache / "sources" / _key(place, name, options)
        found = _noted(shelf, note)
        if found is not None:
            return found
        try:
            return _note(note, take_in(shelf))
        except OSError as error:
            _logger.warning("cannot keep the decoded dataset in %s: %s", shelf, error)
    with tempfile.TemporaryDirectory(prefix="ddcore-") as shelf_in_passing:
        taken = take_in(Path(shelf_in_passing))
        return StoredSet(_in_memory(taken.train), _in_memory(taken.test), taken.report)


def _in_memory(split: ImageSet) -> ImageSet:
    return replace(split, images=split.images.clone())


def _noted(shelf: Path, note: Path) -> StoredSet | None:
    """The set that these files were taken in as before, with what was reported of them then."""
    try:
        report = DatasetReport.model_validate_json(note.read_bytes())
    except (OSError, ValidationError):
        return None
    found = stored.read(shelf / report.id) if _IDENTITY.fullmatch(report.id) else None
    if found is None:
        return None
    for entry in (note, shelf / report.id):
        note_use(entry)
    return found.told_by(report)


def _note(note: Path, taken: StoredSet) -> StoredSet:
    """Remember which set files were taken in as. Others may hold the same images under another name."""
    note.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=note.parent, ignore_cleanup_errors=True) as scratch:
        written = Path(scratch) / "note"
        stored.write_safely(written, taken.report.model_dump_json())
        written.replace(note)
    return taken


def _key(place: Path, name: str, options: IngestOptions) -> str:
    """What a set is made of: every file's path, size and time, the options, and our own format."""
    digest = hashlib.sha256(f"taken in {STORED_FORMAT}\n{name}\n{options.model_dump_json()}\n".encode())
    files: Sequence[Path] = [place / file for file in listed(place).files] if place.is_dir() else [place]
    for file in files:
        try:
            facts = file.stat()
        except OSError as error:
            raise DataError(f"{file} cannot be read ({error.strerror}); allow it, or leave it out") from error
        digest.update(f"{file.resolve()}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _place(name: str, data_root: Path) -> Path | None:
    """Where the data root holds a set of a name.

    Raises:
        DataError: several files have that name.
    """
    places = places_of(name, data_root)
    if len(places) > 1:
        named = ", ".join(path.name for path in places)
        raise DataError(f"{data_root} holds several files of the name {name} ({named}); keep one")
    return places[0] if places else None


def same(name: str, digest: str, data_root: Path | None = None, cache: Path | None = None) -> Dataset:
    """The set that a run has seen: of its content from the cache, where it was taken in, else by its name.

    Raises:
        DataError: it cannot be found, or what has its name now is another set.
    """
    kept = None if cache is None else stored.read(cache / "datasets" / intake.set_id(digest))
    if kept is not None and kept.report.digest == digest:
        return describe(name, kept.train, kept.test, digest)
    found = load(name, data_root, cache)
    if found.digest != digest:
        raise DataError(
            f"the dataset '{name}' here (SHA-256 {found.digest[:12]}…) is not the one that was distilled "
            f"({digest[:12]}…), so its test images would give another score; provide the original files"
        )
    return found


def _taken_in(identity: str, cache: Path | None) -> StoredSet:
    found = None if cache is None else stored.read(cache / "datasets" / identity)
    if found is None:
        raise DataError(
            f"the set {identity} is not here: it was taken in elsewhere, or removed to make room; take it in again"
        )
    note_use((cache or Path()) / "datasets" / identity)
    return found


def _stored(folder: Path) -> StoredSet:
    found = stored.read(folder)
    if found is None:
        raise DataError(f"the set in {folder} is damaged, or of another version of ddservice; take its files in again")
    return found


def _as_dataset(found: StoredSet) -> Dataset:
    return describe(found.report.name, found.train, found.test, found.report.digest)


def _not_found(name: str, data_root: Path | None) -> str:
    built_in = f"built in: {', '.join(sorted(DATASETS))}"
    if data_root is None:
        return f"no dataset '{name}', and no data root to look for a folder of that name in; {built_in}"
    hint = did_you_mean(name, {*DATASETS, *names_in(data_root)} - {name})
    return f"no dataset '{name}'{hint}: there is no folder or file {data_root / name}; {built_in}. {layouts_known()}."

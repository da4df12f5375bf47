"""From a user's files to a stored set: read, decide, decode, look at, keep.

Everything streams. What is held in memory is one number for each image (its label, hashes and place) and a few blocks
of pixels, so that a set may be larger than memory. Nothing is seen at its final place before it is whole.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddcore.data import readers, stored
from ddcore.data.dataset import ContentDigest, ImageSet, constant_channels, levels_of, statistics_of
from ddcore.data.image_files import Pixels
from ddcore.data.ingest import archives, examination, unused
from ddcore.data.ingest.classes import agree, check_counts
from ddcore.data.ingest.decoding import Decoder
from ddcore.data.ingest.hashes import Keys
from ddcore.data.ingest.piece import Decoded
from ddcore.data.ingest.sizes import Sizes
from ddcore.data.ingest.splits import Division, cut, divide
from ddcore.data.ingest.spool import Spool
from ddcore.data.readers import Match
from ddcore.data.source import Part, Source
from ddcore.data.stored import StoredSet
from ddcore.errors import DataError
from ddcore.spec.ingest import DatasetReport, IngestOptions, LargestIpc, SplitReport, Unreadable
from ddcore.spec.listing import looked_at_once

OnProgress = Callable[[int, int], None]
"""Told how many images of how many have been decoded."""

_PLACES_SHOWN = 20
_UNLABELLED_SHOWN = 5
_SPLITS = ("train", "test")


def take_in(
    place: Path,
    shelf: Path,
    *,
    name: str,
    options: IngestOptions,
    known_classes: Sequence[str] | None = None,
    progress: OnProgress | None = None,
    limits: archives.Limits | None = None,
) -> StoredSet:
    """Take a user's files in as a set of one size, in a folder that is called by its content.

    Args:
        place: a folder, an archive or a file.
        shelf: folder that receives the set, as ``ds_…``.
        name: what the user calls it.
        options: what the user decides.
        known_classes: names of the classes, where files only number them.
        progress: told how far decoding is.
        limits: how much may come out of an archive; by default, what is safe on a machine of one's own.

    Raises:
        DataError: the files cannot be understood or are unfit; the message says how they could be taken in.
        OSError: the shelf cannot be written.
    """
    shelf.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=shelf, ignore_cleanup_errors=True) as made:
        scratch = Path(made)
        entry = scratch / "entry"
        entry.mkdir()
        opened = _opened(place, scratch, limits or archives.Limits())
        try:
            report = _taken_in(opened, name, options, entry, known_classes, progress or (lambda _done, _total: None))
        except DataError as error:
            # The user knows the archive, not the folder that it was unpacked into.
            raise DataError(str(error).replace(str(opened), str(place))) from error
        stored.write_facts(entry, report)
        return _shelved(entry, shelf / report.id, scratch / "damaged").told_by(report)


def set_id(digest: str) -> str:
    """The identity of a set by the SHA-256 of its content.

    >>> set_id("0123456789abcdef0123456789abcdef")
    'ds_0123456789abcdef0123'
    """
    return f"ds_{digest[:20]}"


def _taken_in(
    place: Path,
    name: str,
    options: IngestOptions,
    entry: Path,
    known_classes: Sequence[str] | None,
    progress: OnProgress,
) -> DatasetReport:
    intake = _Intake(place, name, options, entry, progress)
    try:
        return intake.run(known_classes)
    finally:
        intake.close()


def _opened(place: Path, scratch: Path, limits: archives.Limits) -> Path:
    """A place that readers can look into: an archive is unpacked first."""
    if not place.exists():
        raise DataError(f"there is no folder or file {place}")
    try:
        packed = archives.is_archive(place)
    except OSError as error:
        raise DataError(f"{place} cannot be read ({error.strerror}); allow it") from error
    if not packed:
        return place
    into = scratch / "unpacked"
    into.mkdir()
    archives.unpack(place, into, limits)
    return into


def _shelved(entry: Path, folder: Path, aside: Path) -> StoredSet:
    """Move a set to its place in one step; where another process was faster, its own is as good."""
    try:
        entry.rename(folder)
    except OSError:
        there = stored.read(folder)
        if there is not None:
            return there
        folder.rename(aside)
        entry.rename(folder)
    found = stored.read(folder)
    if found is None:
        raise DataError(f"the set in {folder} was removed while it was being read; take it in again")
    return found


@dataclass
class _Split:
    """What has been taken in of a split so far."""

    spool: Spool
    labels: list[NDArray[np.int64]] = field(default_factory=list)
    parts: list[NDArray[np.int64]] = field(default_factory=list)
    rows: list[NDArray[np.int64]] = field(default_factory=list)
    keys: list[Keys | None] = field(default_factory=list)
    see_through: int = 0

    def keys_of(self, images: Tensor) -> Keys:
        """Hashes of the images as they are stored, which are known where nothing has altered them since decoding."""
        known = [keys for keys in self.keys if keys is not None]
        if self.spool.altered or len(known) < len(self.keys):
            return examination.keys_of(images)
        return Keys.joined(known)

    def joined(self, values: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
        return np.concatenate(values) if values else np.zeros(0, dtype=np.int64)


class _Intake:
    """One set on its way in."""

    def __init__(self, place: Path, name: str, options: IngestOptions, entry: Path, progress: OnProgress) -> None:
        self._options, self._name, self._entry, self._progress = options, name, entry, progress
        with looked_at_once():
            self._match: Match = readers.match(place, options.layout)
            self._source: Source = self._match.read(options)
        self._division: Division = divide(self._source.parts, options)
        self._parts: tuple[Part, ...] = (*self._division.train, *self._division.test)
        self._splits = {split: _Split(Spool(entry / f"{split}-images.npy")) for split in _SPLITS}
        idle = unused.remarks(options, self._source.parts, self._division)
        self._remarks = [*self._source.notes, *self._division.remarks, *idle]
        self._sizes = Sizes(options)
        self._modes: Counter[str] = Counter()
        self._place_of_depth: dict[str, str] = {}
        self._unreadable: list[Unreadable] = []
        self._unlabelled = 0
        # A disk that writes in the background costs little; one that is waited for, seconds a gigabyte.
        self._disk = ThreadPoolExecutor(1)
        self._writing: list[Future[None]] = []

    def run(self, known_classes: Sequence[str] | None) -> DatasetReport:
        """Take the set in, and report."""
        self._check_labelled()
        agreement = agree(
            self._division.train,
            self._division.test,
            known_classes,
            drop_empty=self._options.drop_empty_classes,
        )
        self._remarks += agreement.remarks
        labels = agreement.numbers
        self._decode(labels, self._tests(labels, agreement.classes))
        self._check_images(np.concatenate(labels))
        classes = agreement.classes
        check_counts(classes, self._joined_labels("train"))
        for split in self._splits.values():
            split.spool.widen(max(other.spool.channels for other in self._splits.values()))
        levels = self._to_eight_bits()
        report = self._report(classes, levels)
        self._await_disk()
        return report

    def close(self) -> None:
        """Let go of the files."""
        self._disk.shutdown()
        for split in self._splits.values():
            split.spool.close()

    def _await_disk(self) -> None:
        """Return when the pixels are safe on disk.

        Raises:
            OSError: they cannot be written.
        """
        for written in self._writing:
            written.result()
        self._writing.clear()

    def _check_labelled(self) -> None:
        """Images without a label are refused, or left out by choice."""
        bare = [(part, np.flatnonzero(part.labels.numbers < 0)) for part in self._parts]
        self._unlabelled = sum(len(rows) for _, rows in bare)
        if not self._unlabelled:
            return
        if not self._options.drop_unlabelled:
            places = [part.place(int(row)) for part, rows in bare for row in rows[:_UNLABELLED_SHOWN]]
            shown = ", ".join(places[:_UNLABELLED_SHOWN]) + (" …" if self._unlabelled > _UNLABELLED_SHOWN else "")
            raise DataError(
                f"{self._unlabelled} of {sum(map(len, self._parts))} images have no label ({shown}); label them, or "
                "leave them out with `drop_unlabelled`"
            )
        self._remarks.append(f"{self._unlabelled} images have no label and were left out")

    def _tests(self, labels: Sequence[NDArray[np.int64]], classes: Sequence[str]) -> tuple[NDArray[np.bool_], ...]:
        """Of every part, which images test."""
        learned = len(self._division.train)
        if not self._division.is_cut:
            return tuple(np.full(len(own), index >= learned) for index, own in enumerate(labels))
        wanted = np.concatenate(labels) >= 0
        groups = [part.groups for part in self._parts]
        of_all = None if None in groups else [name for names in groups if names is not None for name in names]
        kept = None if of_all is None else [name for name, is_kept in zip(of_all, wanted, strict=True) if is_kept]
        chosen, sentence = cut(np.concatenate(labels)[wanted], classes, kept, self._options)
        self._remarks.append(sentence)
        tests = np.zeros(len(wanted), dtype=np.bool_)
        tests[wanted] = chosen
        return tuple(np.split(tests, np.cumsum([len(own) for own in labels])[:-1]))

    def _decode(self, labels: Sequence[NDArray[np.int64]], tests: Sequence[NDArray[np.bool_]]) -> None:
        total, done = sum(int((own >= 0).sum()) for own in labels), 0
        with Decoder(self._sizes.fit, total) as decoder:
            for index, (part, own, is_test) in enumerate(zip(self._parts, labels, tests, strict=True)):
                for decoded in decoder.decode(part, own >= 0):
                    self._note(part, decoded)
                    decoder.measure_only = decoder.measure_only or self._sizes.open
                    if not decoder.measure_only:
                        self._keep(index, decoded, own, is_test)
                    done += len(decoded.sizes) + len(decoded.unreadable)
                    self._progress(done, total)

    def _note(self, part: Part, decoded: Decoded) -> None:
        """Add to what is reported of the images as they are stored."""
        self._sizes.note(part, decoded.sizes)
        self._modes.update(decoded.modes)
        self._unreadable += [
            Unreadable(place=part.place(row), reason=reason) for row, reason in decoded.unreadable.items()
        ]
        for kind, row in decoded.kinds.items():
            if kind not in self._place_of_depth:
                self._place_of_depth[kind] = part.place(row)
        deep, flat = map(self._place_of_depth.get, ("uint16", "uint8"))
        if deep is not None and flat is not None:
            raise DataError(
                f"{deep} has 16 bits a pixel, but {flat} has 8; their values do not compare, so store all images alike"
            )

    def _keep(self, index: int, decoded: Decoded, labels: NDArray[np.int64], is_test: NDArray[np.bool_]) -> None:
        if decoded.pixels is None:
            return
        tests = is_test[decoded.rows]
        for name, split in self._splits.items():
            own = tests == (name == "test")
            if not own.any():
                continue
            rows = decoded.rows[own]
            split.spool.append(decoded.pixels if own.all() else decoded.pixels[own])
            split.labels.append(labels[rows])
            split.parts.append(np.full(len(rows), index))
            split.rows.append(rows)
            split.keys.append(None if decoded.keys is None else decoded.keys[own])
            split.see_through += int(decoded.see_through[own].sum())

    def _check_images(self, labels: NDArray[np.int64]) -> None:
        """Refuse what cannot become a set, with every fault at once."""
        faults = []
        if self._unreadable and not self._options.skip_unreadable:
            shown = "; ".join(f"{bad.place}: {bad.reason}" for bad in self._unreadable[:_PLACES_SHOWN])
            rest = len(self._unreadable) - _PLACES_SHOWN
            them = "it" if len(self._unreadable) == 1 else "them"
            faults.append(
                f"{shown}{f'; and {rest} more' if rest > 0 else ''}; mend or remove {them}, or leave {them} out with "
                "`skip_unreadable`"
            )
        elif self._unreadable:
            self._remarks.append(f"{len(self._unreadable)} images cannot be decoded and were left out")
        if self._sizes.open:
            faults.append(self._sizes.question(labels))
        if faults:
            raise DataError(". ".join(faults))
        empty = [name for name, split in self._splits.items() if not len(split.spool)]
        if empty:
            raise DataError(f"no image of {' and '.join(empty)} can be decoded; see that they are images")

    def _joined_labels(self, name: str) -> NDArray[np.int64]:
        return self._splits[name].joined(self._splits[name].labels)

    def _to_eight_bits(self) -> tuple[int, int] | None:
        """Scale 16-bit pixels by the range of the training images; test images may leave it, and are cut off there."""
        if "uint16" not in self._place_of_depth:
            return None
        ranges = [(int(block.min()), int(block.max())) for _, block in self._splits["train"].spool.blocks()]
        low, high = min(least for least, _ in ranges), max(most for _, most in ranges)
        for name, split in self._splits.items():
            outside = sum(
                int(((block < low) | (block > high)).any(axis=(1, 2, 3)).sum()) for _, block in split.spool.blocks()
            )
            split.spool.rewrite(lambda block, _: _scaled(block, low, high))
            self._remarks.append(
                f"the images of {name} have 16 bits a pixel; {low} to {high} (the range of train) was scaled to 0 to "
                "255"
            )
            if outside:
                self._remarks.append(
                    f"{outside} of {len(split.spool)} images of {name} leave that range and were cut off there"
                )
        return low, high

    def _report(self, classes: tuple[str, ...], levels: tuple[int, int] | None) -> DatasetReport:
        for name, split in self._splits.items():
            if split.see_through:
                clear, count = split.see_through, len(split.spool)
                self._remarks.append(
                    f"{clear} of {count} images of {name} are partly transparent and were laid on white"
                )
        train = self._image_set("train", classes)
        train_keys = self._splits["train"].keys_of(train.images)
        examination.check_differ(train, train_keys)
        test, test_keys = self._tested(train_keys, classes)
        found = examination.duplicates(train, test, (train_keys, test_keys), self._place)
        self._remarks += examination.remarks(train, test, found)
        digest, histograms = self._content(train, test)
        mean, std = statistics_of(histograms)
        smallest = min(train.class_counts)
        return DatasetReport(
            id=set_id(digest),
            digest=digest,
            name=self._name,
            layout=self._match.layout,
            why=self._match.why,
            options=self._options,
            shape=train.shape,
            classes=list(classes),
            splits={
                name: SplitReport(images=len(split), per_class=dict(zip(classes, split.class_counts, strict=True)))
                for name, split in (("train", train), ("test", test))
            },
            sizes=self._sizes.most_frequent(),
            distinct_sizes=len(self._sizes),
            modes=dict(self._modes.most_common()),
            levels=levels,
            mean=list(mean),
            std=list(std),
            constant_channels=constant_channels(histograms),
            unreadable=self._unreadable,
            unlabelled=self._unlabelled,
            ignored={kind: count for kind, count in self._source.ignored.items() if kind != archives.UNPACKED},
            duplicates=found,
            largest_ipc=[
                LargestIpc(kind="starting from real images", most=smallest),
                LargestIpc(kind="starting from mosaics of four real images", most=smallest // 4),
                LargestIpc(kind="starting from noise", most=10_000),
            ],
            remarks=self._remarks,
        )

    def _content(self, train: ImageSet, test: ImageSet) -> tuple[str, Tensor]:
        """The digest of the set and the levels of its training images, which are read from the file in blocks.

        Touching every page of the mapped file would cost several times as much.
        """
        digest, levels = ContentDigest(train.classes), torch.zeros(train.shape[0], 256, dtype=torch.float64)
        with ThreadPoolExecutor(1) as hashing:
            for images, name in ((train, "train"), (test, "test")):
                digest.begin(images.images.shape)
                for _, block in self._splits[name].spool.blocks():
                    hashed = hashing.submit(digest.add, cast("NDArray[np.uint8]", block))
                    if name == "train":
                        levels += levels_of(torch.from_numpy(block))
                    hashed.result()
                digest.end(images.labels.numpy())
        return digest.hexdigest(), levels

    def _image_set(self, name: str, classes: tuple[str, ...]) -> ImageSet:
        """A split as it will be read, memory-mapped, with its labels written."""
        split = self._splits[name]
        split.spool.save()
        self._writing.append(self._disk.submit(split.spool.sync))
        labels = self._joined_labels(name)
        with (self._entry / f"{name}-labels.npy").open("wb") as file:
            np.save(file, labels, allow_pickle=False)
        images = np.load(split.spool.path, mmap_mode="c", allow_pickle=False)
        return ImageSet(torch.from_numpy(images), torch.from_numpy(labels), classes)

    def _tested(self, learned: Keys, classes: tuple[str, ...]) -> tuple[ImageSet, Keys]:
        """The test split and its hashes, without images that are learned from, where the user wants that."""
        test = self._image_set("test", classes)
        keys = self._splits["test"].keys_of(test.images)
        leaked = examination.leaks(learned, keys)
        if not (self._options.drop_leaks and leaked.any()):
            return test, keys
        if leaked.all():
            raise DataError(
                f"all {len(test)} test images are training images too, so none would be left; give others, or remove "
                "the test split and let one be cut"
            )
        self._remarks.append(
            f"{int(leaked.sum())} of {len(test)} test images are training images too and were left out"
        )
        del test
        self._await_disk()
        split = self._splits["test"]
        split.spool.rewrite(lambda block, start: block[~leaked[start : start + len(block)]])
        for values in (split.labels, split.parts, split.rows):
            values[:] = [split.joined(values)[~leaked]]
        return self._image_set("test", classes), keys[~leaked]

    def _place(self, number: int) -> str:
        """Where an image lies, counted through both splits."""
        for split in self._splits.values():
            if number < len(split.spool):
                part, row = split.joined(split.parts)[number], split.joined(split.rows)[number]
                return self._parts[int(part)].place(int(row))
            number -= len(split.spool)
        raise IndexError(number)


def _scaled(pixels: Pixels, low: int, high: int) -> Pixels:
    """16-bit pixels as shares of a range, in 256 levels."""
    shares = (pixels.astype(np.float32) - low) * (255 / max(1, high - low))
    scaled: NDArray[np.uint8] = np.rint(shares.clip(0, 255)).astype(np.uint8)
    return scaled

"""Arrays of images and labels in a ``.npz`` file, as MedMNIST, Keras and many others store them."""

from __future__ import annotations

import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, ClassVar, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ddcore.data.image_files import MAX_PIXELS
from ddcore.data.readers import reader
from ddcore.data.source import SPLITS, Choices, Guess, Labels, Part, RawImage, Source
from ddcore.errors import DataError
from ddcore.spec.listing import listed

_SPLIT_NAMES = (("{}_images", "{}_labels"), ("x_{}", "y_{}"))
_PAIR_NAMES = (("images", "labels"), ("x", "y"), ("data", "labels"), ("image", "label"))
_OF_NO_USE = frozenset(("", ".txt", ".md", ".rst", ".html", ".pdf", ".json", ".yaml", ".yml", ".py", ".ipynb"))
_CHANNELS = (1, 3, 4)
_ROWS = 1024
_BATCH_BYTES = 64 * 2**20
_MOST_LABELS = 100_000_000
_MOST_LABEL_BYTES = 2**30
_SHOWN = 12
_ENCRYPTED = 0x1
_LAST_LETTER = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_BAD_HEADER = (ValueError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError)
_DAMAGED = (
    zipfile.BadZipFile, OSError, EOFError, zlib.error, lzma.LZMAError, NotImplementedError, ValueError, struct.error,
)  # fmt: skip


@reader("arrays")
class Arrays:
    """Reads a ``.npz`` file, or a folder that holds one and nothing else of use, without ever loading all images.

    Known names are ``train_images`` and ``train_labels`` (also ``val_``, ``test_``), ``x_train`` and ``y_train`` (also
    ``x_val``, ``x_test``), in either case, and a single pair ``images`` and ``labels``, ``x`` and ``y``, ``data`` and
    ``labels`` or ``image`` and ``label``. Others are named by ``image_column`` and ``label_column``.
    """

    heeds: ClassVar[frozenset[str]] = frozenset(("image_column", "label_column", "channels"))

    def sniff(self, place: Path) -> Guess | None:
        """Sure where the names of the arrays are known, doubtful where it is some other .npz file."""
        try:
            file = _npz(place)
        except OSError:
            return None
        if file is None:
            return None
        try:
            with _opened(file) as archive:
                pairs = _pairs(file, tuple(_members(archive)), Choices())
        except DataError:
            pairs = []
        if not pairs:
            return Guess(0.3, f"{file.name} is an .npz file")
        return Guess(0.9, f"{file.name} holds the arrays `{pairs[0].images}` and `{pairs[0].labels}`")

    def read(self, place: Path, choices: Choices) -> Source:
        """Labels of every split, and images that are read in batches.

        Raises:
            DataError: the file is damaged or encrypted, arrays are missing, hold Python objects or disagree, or an
                image array has no shape or type of images. Values are looked at when images are fetched: NaN, infinite
                values and whole numbers outside 0 to 255 are refused then.
        """
        file = _npz(place)
        if file is None:
            raise DataError(f"{place} is no .npz file, nor a folder with exactly one; give the file itself")
        with _opened(file) as archive:
            members = _members(archive)
            pairs = _pairs(file, tuple(members), choices)
            if not pairs:
                raise DataError(
                    f"{file.name} holds no arrays whose names are known; name them with `image_column` and "
                    f"`label_column`. {_present(file, archive)}"
                )
            parts = [_part(file, archive, pair, choices) for pair in pairs]
        used = {name for pair in pairs for name in (pair.images, pair.labels)}
        unused = [f"`{name}`" for name in members if name not in used]
        notes = [f"{file.name}: left out {', '.join(unused[:_SHOWN])}"] if unused else []
        ignored = listed(place).left_alone([file.relative_to(place)]) if place.is_dir() else {}
        return Source(parts, ignored, notes)


@dataclass(frozen=True)
class _Pair:
    """Names of two arrays that belong together."""

    split: str | None
    images: str
    labels: str


@dataclass(frozen=True)
class _Header:
    """What an array says of itself, and where its values start in its member of the zip."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    start: int

    def __str__(self) -> str:
        return f"`{self.name}` {self.shape} {self.dtype}"


def _npz(place: Path) -> Path | None:
    if place.is_file():
        return place if place.suffix.lower() == ".npz" else None
    if not place.is_dir():
        return None
    inside = [path for path in place.iterdir() if not path.name.startswith((".", "__MACOSX"))]
    files = [path for path in inside if path.suffix.lower() == ".npz" and path.is_file()]
    others = [path for path in inside if path not in files]
    alone = len(files) == 1 and all(path.suffix.lower() in _OF_NO_USE and path.is_file() for path in others)
    return files[0] if alone else None


def _opened(file: Path) -> zipfile.ZipFile:
    with _parsing(file):
        return zipfile.ZipFile(file)


def _member(file: Path, archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    with _parsing(file):
        return archive.open(_members(archive)[name])


def _bytes(file: Path, member: IO[bytes], count: int) -> bytes:
    """The next bytes of an array, fewer where they end; the zip is unpacked, and its checksums are compared, here."""
    with _parsing(file):
        return member.read(count)


@contextmanager
def _parsing(file: Path) -> Iterator[None]:
    """What a damaged zip makes of the standard library's parser, in words; nothing of our own belongs in here.

    Raises:
        DataError: the file is damaged, or cannot be read.
    """
    try:
        yield
    except _DAMAGED as error:
        raise DataError(f"{file} is not a readable .npz file ({error}); write it again with numpy.savez") from error


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {info.filename.removesuffix(".npy"): info for info in archive.infolist() if info.filename.endswith(".npy")}


def _pairs(file: Path, names: Sequence[str], choices: Choices) -> list[_Pair]:
    """Which arrays belong together.

    Raises:
        DataError: one of two is missing, or names differ in nothing but their case.
    """
    if choices.image_column is not None or choices.label_column is not None:
        return [_chosen(file, names, choices)]
    known: dict[str, str] = {}
    for name in names:
        twin = known.setdefault(name.lower(), name)
        if twin != name and any(name.lower() in pair for pair in _known_names()):
            raise DataError(
                f"{file.name} holds both `{twin}` and `{name}`; say which with `image_column` and `label_column`"
            )
    pairs = []
    for of_images, of_labels in _SPLIT_NAMES:
        for alias, split in SPLITS.items():
            images, labels = known.get(of_images.format(alias)), known.get(of_labels.format(alias))
            if images is not None and labels is not None:
                pairs.append(_Pair(split, images, labels))
            elif images is not None or labels is not None:
                absent = (of_labels if labels is None else of_images).format(alias)
                raise DataError(
                    f"{file.name} holds `{images or labels}` but no `{absent}`; add it, or name the arrays to read "
                    "with `image_column` and `label_column`"
                )
    if pairs:
        return pairs
    singles = (_Pair(None, known[x], known[y]) for x, y in _PAIR_NAMES if x in known and y in known)
    return [pair for pair in [next(singles, None)] if pair is not None]


def _known_names() -> Iterator[tuple[str, str]]:
    yield from _PAIR_NAMES
    for images, labels in _SPLIT_NAMES:
        for alias in SPLITS:
            yield images.format(alias), labels.format(alias)


def _chosen(file: Path, names: Sequence[str], choices: Choices) -> _Pair:
    """The arrays that the user names; the other one of a pair is taken where it has a usual name."""
    found = []
    for option, name, usual in (
        ("image_column", choices.image_column, [pair[0] for pair in _PAIR_NAMES]),
        ("label_column", choices.label_column, [pair[1] for pair in _PAIR_NAMES]),
    ):
        array = next((one for one in usual if one in names), None) if name is None else name
        if array is None or array not in names:
            wrong = f"no `{array}`" if array is not None else f"no array with a usual name for `{option}`"
            present = ", ".join(f"`{one}`" for one in names[:_SHOWN]) or "no arrays"
            raise DataError(f"{file.name} holds {wrong}; name one with `{option}`. Present: {present}")
        found.append(array)
    return _Pair(None, found[0], found[1])


def _present(file: Path, archive: zipfile.ZipFile) -> str:
    shown = []
    for name in list(_members(archive))[:_SHOWN]:
        try:
            shown.append(str(_header(file, archive, name)))
        except DataError:
            shown.append(f"`{name}` (unreadable)")
    return f"Present: {', '.join(shown) or 'no arrays'}"


def _header(file: Path, archive: zipfile.ZipFile, name: str) -> _Header:
    """What an array says of itself.

    Raises:
        DataError: it is encrypted or damaged, holds Python objects, or claims another size than it has.
    """
    info = _members(archive)[name]
    if info.flag_bits & _ENCRYPTED:
        raise DataError(f"{file.name}: `{name}` is encrypted; write the file again without a password")
    with _member(file, archive, name) as member:
        shape, fortran, dtype = _parsed(file, name, member)
        header = _Header(name, shape, dtype, fortran, member.tell())
    if dtype.hasobject:
        raise DataError(
            f"{file.name}: `{name}` holds Python objects, which are never loaded because they could run anything; "
            "save it as numbers (images of one size as a uint8 array, labels as whole numbers or as text of a fixed "
            "length)"
        )
    held = info.file_size - header.start
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != held or not dtype.itemsize:
        raise DataError(
            f"{file.name}: `{name}` claims the shape {shape} of {dtype}, {math.prod(shape) * dtype.itemsize:,} "
            f"bytes, but holds {held:,}; write it again with numpy.savez"
        )
    return header


def _parsed(file: Path, name: str, member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether it is in Fortran order, and type of an array, by NumPy's parser."""
    with _parsing(file):
        try:
            version = npy.read_magic(member)
            if version not in _HEADERS:
                raise ValueError(f"version {version[0]}.{version[1]}, known are 1.0 and 2.0")
            parsed: tuple[tuple[int, ...], bool, np.dtype[Any]] = _HEADERS[version](member)
        except _BAD_HEADER as error:
            raise DataError(
                f"{file.name}: `{name}` has no readable .npy header ({error}); write it again with numpy.savez"
            ) from error
    return parsed


def _part(file: Path, archive: zipfile.ZipFile, pair: _Pair, choices: Choices) -> Part:
    images = _header(file, archive, pair.images)
    channels = _axis_of_channels(file, images, choices.channels)
    labels = _labels(file, archive, pair.labels)
    if len(labels) != images.shape[0]:
        raise DataError(
            f"{file.name}: `{pair.images}` holds {images.shape[0]} images but `{pair.labels}` {len(labels)} labels; "
            "store one label for each image"
        )
    return Part(
        pair.split,
        f"{file.name} {pair.images}",
        labels,
        partial(_images, file, images, channels),
        lambda number: _place(file, images, number),
    )


def _place(file: Path, header: _Header, number: int) -> str:
    return f"{file.name} {header.name}[{number}]"


def _labels(file: Path, archive: zipfile.ZipFile, name: str) -> Labels:
    header = _header(file, archive, name)
    count = math.prod(header.shape)
    if count > _MOST_LABELS or count * header.dtype.itemsize > _MOST_LABEL_BYTES:
        raise DataError(
            f"{file.name}: {header} has {count:,} values of {header.dtype.itemsize} bytes, more than the "
            f"{_MOST_LABELS:,} and {_MOST_LABEL_BYTES:,} bytes of labels allowed; store one whole number for each image"
        )
    if not header.shape or header.dtype.kind not in "biufSU":
        raise DataError(f"{file.name}: {header} cannot be labels; store one whole number or word for each image")
    with _member(file, archive, name) as member:
        _bytes(file, member, header.start)
        data = _bytes(file, member, count * header.dtype.itemsize)
    _check_length(file, header, len(data), count * header.dtype.itemsize)
    return Labels.of(_values(file, header, data), f"{file.name} {name}")


def _values(file: Path, header: _Header, data: bytes) -> NDArray[Any]:
    """Labels as they are stored, text decoded.

    Raises:
        DataError: the shape is none that NumPy can have, or text is none.
    """
    try:
        # A damaged header can claim sides of any length beside one of 0, and any number of axes.
        values: NDArray[Any] = np.ndarray(header.shape, header.dtype, data, order="F" if header.fortran else "C")
    except (ValueError, OverflowError) as error:
        raise DataError(f"{file.name}: {header} cannot be labels ({error}); store one for each image") from error
    if header.dtype.kind == "U":
        # Python takes a letter that is none for a fault of its own (SystemError), or cannot write it later.
        letters = np.frombuffer(data, np.dtype(np.uint32).newbyteorder(header.dtype.byteorder))
        odd = letters[(letters > _LAST_LETTER) | ((letters >= _SURROGATES[0]) & (letters <= _SURROGATES[1]))]
        if len(odd):
            raise DataError(
                f"{file.name}: `{header.name}` holds bytes that are no text (0x{odd[0]:x} is no letter of Unicode); "
                "store it again"
            )
    if header.dtype.kind != "S":
        return values
    try:
        return np.char.decode(values, "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{file.name}: `{header.name}` holds bytes that are no text ({error}); store UTF-8") from error


def _check_length(file: Path, header: _Header, read: int, wanted: int) -> None:
    if read != wanted:
        raise DataError(
            f"{file.name}: `{header.name}` ends early, so the file is damaged; write it again or copy it anew"
        )


def _axis_of_channels(file: Path, header: _Header, chosen: Literal["first", "last"] | None) -> int | None:
    """Which axis of an image array holds the channels; none where images are (H, W).

    Raises:
        DataError: the array has no shape, type or order of images, or either axis could be the one.
    """
    shape, kind = header.shape, header.dtype.kind
    if kind not in "biuf" or (kind == "f" and header.dtype.itemsize > np.dtype(np.float64).itemsize):
        raise DataError(
            f"{file.name}: {header} has no type of pixels; store uint8 or uint16, or float32 with values from 0 to 1"
        )
    if header.fortran:
        raise DataError(
            f"{file.name}: {header} is stored column by column (Fortran order), so that no image lies in one piece; "
            "save numpy.ascontiguousarray of it"
        )
    first, last = len(shape) == 4 and shape[1] in _CHANNELS, len(shape) == 4 and shape[3] in _CHANNELS
    if len(shape) != 3 and not first and not last:
        raise DataError(
            f"{file.name}: {header} has no shape of images: (N, H, W), (N, H, W, C) or (N, C, H, W) with 1, 3 or 4 "
            "channels C; reshape it, or name another array with `image_column`"
        )
    if first and last and chosen is None:
        raise DataError(
            f"{file.name}: in {header} the channels can be axis 1 ({shape[1]}) or axis 3 ({shape[3]}); say which with "
            "`channels` = 'first' or `channels` = 'last'"
        )
    if (chosen == "first" and not first) or (chosen == "last" and not last):
        raise DataError(_no_such_axis(file, header, chosen))
    axis = None if len(shape) == 3 else 1 if first and (not last or chosen == "first") else 3
    sides = [side for place, side in enumerate(shape) if place not in (0, axis)]
    if not 0 < math.prod(sides) <= MAX_PIXELS:
        raise DataError(
            f"{file.name}: {header} has images of {sides[0]} x {sides[1]} pixels; 1 to {MAX_PIXELS:,} pixels are "
            "allowed, so scale them"
        )
    return axis


def _no_such_axis(file: Path, header: _Header, chosen: Literal["first", "last"]) -> str:
    """What is wrong with a choice of `channels` that the shape of an array does not leave."""
    if len(header.shape) == 3:
        why = "has no axis of channels: its images are grey, (N, H, W)"
    else:
        axis = 1 if chosen == "first" else 3
        why = f"has {header.shape[axis]} on axis {axis}, where 1, 3 or 4 channels would be"
    return f"{file.name}: `channels` is '{chosen}', but {header} {why}; leave it out"


def _images(file: Path, header: _Header, channels: int | None) -> Iterator[Sequence[RawImage]]:
    count, *shape = header.shape
    row = math.prod(shape) * header.dtype.itemsize
    step = max(1, min(_ROWS, _BATCH_BYTES // row))
    with _opened(file) as archive, _member(file, archive, header.name) as member:
        _bytes(file, member, header.start)
        for first in range(0, count, step):
            rows = min(step, count - first)
            data = _bytes(file, member, rows * row)
            _check_length(file, header, len(data), rows * row)
            batch: NDArray[Any] = np.ndarray((rows, *shape), header.dtype, data)
            yield list(_pixels(file, header, first, batch if channels != 1 else batch.transpose(0, 2, 3, 1)))


def _pixels(file: Path, header: _Header, first: int, batch: NDArray[Any]) -> NDArray[Any]:
    """A batch in a type of pixels and in the byte order of this machine.

    Raises:
        DataError: it holds NaN, infinite values, or whole numbers that are no pixels.
    """
    kind, native = batch.dtype.kind, batch.dtype.newbyteorder("=")
    inner = tuple(range(1, batch.ndim))
    if kind == "f":
        odd = np.flatnonzero(~np.isfinite(batch).all(axis=inner))
        if len(odd):
            raise DataError(
                f"{_place(file, header, first + int(odd[0]))} holds NaN or infinite values; replace them, or leave the "
                "image out"
            )
    if kind in "bf" or native in (np.uint8, np.uint16):
        return batch.astype(native, copy=False)
    odd = np.flatnonzero(((batch < 0) | (batch > 255)).any(axis=inner))
    if len(odd):
        raise DataError(
            f"{_place(file, header, first + int(odd[0]))}: `{header.name}` has the type {header.dtype} and values from "
            f"{batch.min()} to {batch.max()}, outside 0 to 255; store uint8, or uint16 where 16 bits are meant"
        )
    return batch.astype(np.uint8)

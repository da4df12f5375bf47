"""Parquet files with an image and a label column, as Hugging Face libraries and many others write them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ddcore.data.readers import reader
from ddcore.data.shards import check_complete
from ddcore.data.source import SPLITS, UNLABELLED, Choices, Guess, Labels, Part, RawImage, Source, split_named
from ddcore.errors import DataError
from ddcore.spec.listing import listed

_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target", "category")
_ROWS_AT_ONCE = 1024
_BYTES_AT_ONCE = 32 * 1024 * 1024
_MOST_ROWS = 100_000_000
_LFS = b"version https://git-lfs"
_NAMED_AFTER_SPLIT = re.compile(rf"^({'|'.join(sorted(SPLITS, key=len, reverse=True))})(?![A-Za-z])", re.IGNORECASE)


@reader("parquet")
class Parquet:
    """A file, or a folder of files that are named after their split or lie in a folder that is.

    Known are ``train-*.parquet`` in the folder, in ``data`` or in the folder of a configuration; ``train/*.parquet``;
    and ``train.parquet``. Files that name no split are taken together, where no other file does.
    """

    heeds: ClassVar[frozenset[str]] = frozenset(("image_column", "label_column", "group_column"))

    def sniff(self, place: Path) -> Guess | None:
        """Sure wherever there is a parquet file."""
        if place.is_file():
            return Guess(0.95, "it is a parquet file") if place.suffix == ".parquet" else None
        count = len(_files(place)) if place.is_dir() else 0
        return Guess(0.9, f"it holds {count} parquet files") if count else None

    def read(self, place: Path, choices: Choices) -> Source:
        """Every label of the files; images are read as they are asked for.

        Raises:
            DataError: a file is missing, damaged or of another export, or a column cannot be told.
        """
        if place.is_file():
            return Source([_part(place, split_named(place.stem), choices)])
        by_split = _splits(place)
        for files in by_split.values():
            check_complete(files)
        named = {split: files for split, files in by_split.items() if split is not None}
        left_out = by_split.get(None, []) if named else []
        parts = [_part(file, split, choices) for split, files in (named or by_split).items() for file in files]
        notes = [f"{file.name} is named after no split and was left out" for file in left_out]
        return Source(parts, listed(place).ignored, notes)


def _files(place: Path) -> list[Path]:
    return [place / file for file in listed(place).files if file.suffix == ".parquet"]


def _splits(place: Path) -> dict[str | None, list[Path]]:
    """The files of each split, in the order of their names, of the only configuration that there is."""
    found: dict[tuple[str, ...], dict[str | None, list[Path]]] = {}
    for file in _files(place):
        folders = file.relative_to(place).parent.parts
        split = _split_of(file.stem) or next((s for s in map(split_named, reversed(folders)) if s), None)
        configuration = tuple(part for part in folders if part != "data" and split_named(part) is None)
        found.setdefault(configuration, {}).setdefault(split, []).append(file)
    if len(found) > 1:
        names = ", ".join("/".join(configuration) or "the folder itself" for configuration in sorted(found))
        raise DataError(f"{place} holds parquet files in several places ({names}); give the path of one of them")
    (only,) = found.values()
    # Training files first, since they are those that others are compared with.
    return {split: only[split] for split in ("train", "validation", "test", None) if split in only}


def _split_of(stem: str) -> str | None:
    named = _NAMED_AFTER_SPLIT.match(stem)
    return split_named(named[1]) if named else None


def _part(file: Path, split: str | None, choices: Choices) -> Part:
    try:
        with pq.ParquetFile(file) as parquet:
            rows = parquet.metadata.num_rows
            if rows > _MOST_ROWS:
                raise DataError(
                    f"{file} says that it has {rows:,} rows, more than the {_MOST_ROWS:,} allowed; split it"
                )
            schema = parquet.schema_arrow
            features = _features(file, schema)
            image, label = (
                _image_column(file, schema, features, choices),
                _label_column(file, schema, features, choices),
            )
            labels = _labels(file, parquet.read([label]).column(0), features.get(label), label)
            groups = _groups(file, parquet, choices)
    except (pa.ArrowException, OSError) as error:
        raise DataError(_unreadable(file, error)) from error
    if not len(labels):
        raise DataError(f"{file} has no rows; remove it, or write it again")
    return Part(split, file.name, labels, partial(_images, file, image), lambda row: f"{file.name} row {row}", groups)


def _unreadable(file: Path, error: Exception) -> str:
    """Say why a file is no parquet; a pointer of git-lfs stands where the file was never fetched."""
    with suppress(OSError), file.open("rb") as opened:
        if opened.read(len(_LFS)) == _LFS:
            return f"{file} is a pointer of git-lfs, not the file itself; fetch it with `git lfs pull`"
    return f"{file} is not a readable parquet file ({error}); write or copy it again"


def _features(file: Path, schema: pa.Schema) -> Mapping[str, Any]:
    """What Hugging Face's libraries say of the columns; nothing where other libraries wrote the file."""
    described = (schema.metadata or {}).get(b"huggingface")
    if described is None:
        return {}
    try:
        features = json.loads(described)["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: the description of its features is damaged ({error!r}); remove or mend it") from error


def _image_column(file: Path, schema: pa.Schema, features: Mapping[str, Any], choices: Choices) -> str:
    fit = [field.name for field in schema if _holds_images(field.type)]
    declared = [name for name, feature in features.items() if feature.get("_type") == "Image" and name in schema.names]
    name = _chosen(file, schema, "image", choices.image_column, _IMAGE_COLUMNS, declared or fit)
    kind = schema.field(name).type
    if not (_holds_images(kind) or _is_text(kind)):
        raise DataError(
            f"{file}: `{name}` must hold encoded images, as binary or as a struct with `bytes`, or paths of images; "
            f"{_present(schema)}"
        )
    return name


def _label_column(file: Path, schema: pa.Schema, features: Mapping[str, Any], choices: Choices) -> str:
    declared = [
        name for name, feature in features.items() if feature.get("_type") == "ClassLabel" and name in schema.names
    ]
    fit = [field.name for field in schema if not _holds_images(field.type) and field.name not in _IMAGE_COLUMNS]
    return _chosen(file, schema, "label", choices.label_column, _LABEL_COLUMNS, declared or fit)


def _chosen(
    file: Path, schema: pa.Schema, what: str, asked: str | None, usual: Sequence[str], fit: Sequence[str]
) -> str:
    """The column that the user names, else one of the usual name, else the only one that fits."""
    if asked is not None:
        _check_present(file, schema, f"{what}_column", asked)
        return asked
    candidates = [name for name in usual if name in schema.names] or list(fit)
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise DataError(f"{file} has no {what} column; {_present(schema)}; name one with `{what}_column`")
    raise DataError(
        f"{file} has {len(candidates)} columns that could hold the {what}s ({', '.join(candidates)}); "
        f"say which with `{what}_column`"
    )


def _check_present(file: Path, schema: pa.Schema, choice: str, column: str) -> None:
    if column not in schema.names:
        raise DataError(f"{file} has no column `{column}`; name another as `{choice}`; {_present(schema)}")


def _present(schema: pa.Schema) -> str:
    return "columns present: " + ", ".join(f"{field.name} ({field.type})" for field in schema)


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _holds_images(kind.value_type)
    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        inner = kind.field(place).type if place >= 0 else None
        return inner is not None and (pa.types.is_null(inner) or _holds_images(inner))
    return any(check(kind) for check in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return any(check(kind) for check in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _labels(file: Path, column: pa.ChunkedArray, feature: Any, name: str) -> Labels:
    if pa.types.is_integer(column.type):
        numbers = column.cast(pa.int64()).fill_null(UNLABELLED).to_numpy()
        names = feature.get("names") if isinstance(feature, dict) else None
        if names is None:
            return Labels(numbers)
        return Labels(numbers, tuple(str(one) for one in names), declared=True)
    try:
        return Labels.of(column.to_pylist(), name)
    except DataError as error:
        raise DataError(f"{file.name}: {error}") from error


def _groups(file: Path, parquet: pq.ParquetFile, choices: Choices) -> list[str] | None:
    if choices.group_column is None:
        return None
    _check_present(file, parquet.schema_arrow, "group_column", choices.group_column)
    return [str(value) for value in parquet.read([choices.group_column]).column(0).to_pylist()]


def _images(file: Path, column: str) -> Iterator[Sequence[RawImage]]:
    """Encoded images in the order of their rows, or the paths of those that lie beside the file."""
    try:
        with pq.ParquetFile(file) as parquet:
            of_a_row = file.stat().st_size // max(1, parquet.metadata.num_rows)
            rows = max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // max(1, of_a_row)))
            for batch in parquet.iter_batches(rows, columns=[column]):
                yield _cells(file, batch.column(0))
    except (pa.ArrowException, OSError) as error:
        raise DataError(_unreadable(file, error)) from error


def _cells(file: Path, values: pa.Array) -> list[RawImage]:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if _is_text(values.type):
        return [_beside(file, path) for path in values.to_pylist()]
    if not pa.types.is_struct(values.type):
        return [data or None for data in values.to_pylist()]
    encoded = pc.struct_field(values, "bytes").to_pylist()
    if all(encoded) or values.type.get_field_index("path") < 0:
        return [data or None for data in encoded]
    paths = pc.struct_field(values, "path").to_pylist()
    return [data or _beside(file, path) for data, path in zip(encoded, paths, strict=True)]


def _beside(file: Path, path: str | None) -> Path | None:
    """An image that a file names by its path; it must lie in the file's own folder or below."""
    if not path or PureWindowsPath(path).is_absolute() or Path(path).is_absolute():
        return None
    image = (file.parent / path.replace("\\", "/")).resolve()
    return image if image.is_relative_to(file.parent.resolve()) and image.is_file() else None

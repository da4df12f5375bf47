"""What is known of a file of weights without torch: its tensors, its size and its content.

A safetensors file begins with the length of a header (8 bytes, little-endian) and the header, JSON that has the type,
the shape and the place of each tensor; their bytes follow (github.com/huggingface/safetensors).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddcore.spec.backbones import BackboneConfig
from ddcore.spec.errors import Problem, SpecError, did_you_mean

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec

VARIABLE = "DD_BACKBONES_DIR"
"""Names the folder of backbones."""
SUFFIX = ".safetensors"
_LENGTH = 8
_LARGEST_HEADER = 100_000_000
_LISTED = 10
_FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_OTHERS = {"I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_BYTES = {**_FLOATS, **_OTHERS}


class WeightsError(ValueError):
    """A file is no safetensors file, or cannot be read; the message is the rest of "the file"."""


@dataclass(frozen=True)
class WeightsFile:
    """A safetensors file.

    Attributes:
        bytes: its size.
        shapes: of its tensors, by name.
        parameters: floating-point numbers in all of them.
    """

    bytes: int
    shapes: Mapping[str, tuple[int, ...]]
    parameters: int


def folder_of_backbones(given: Path | None = None) -> Path | None:
    """Where weights are looked for: what is given, else what :data:`VARIABLE` names, if anything."""
    named = os.environ.get(VARIABLE)
    return given or (Path(named) if named else None)


def place_of(weights: str, folder: Path) -> Path:
    """The file of a name."""
    return folder / f"{weights}{SUFFIX}"


def look_into(path: Path) -> WeightsFile:
    """The header of a safetensors file, checked against its size.

    Raises:
        WeightsError: it cannot be read, or is no such file.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(_LENGTH), "little")
            if size < _LENGTH or length > min(size - _LENGTH, _LARGEST_HEADER):
                raise WeightsError("is no safetensors file: it does not begin with the length of a header")
            header = file.read(length)
    except OSError as error:
        raise WeightsError(f"cannot be read ({error.strerror})") from error
    try:
        tensors: dict[str, Any] = {k: v for k, v in dict(json.loads(header)).items() if k != "__metadata__"}
        return _checked(tensors, size - _LENGTH - length, size)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError("is no safetensors file: its header is not the JSON that such files have") from error


def _checked(tensors: Mapping[str, Mapping[str, Any]], data: int, size: int) -> WeightsFile:
    """The same of a header.

    Raises:
        WeightsError: the bytes that it names are not those that follow it.
    """
    shapes, parameters, taken = dict[str, tuple[int, ...]](), 0, 0
    for name, facts in tensors.items():
        shape, kind = tuple(int(side) for side in facts["shape"]), str(facts["dtype"])
        first, end = (int(each) for each in facts["data_offsets"])
        if kind not in _BYTES:
            raise WeightsError(f"holds `{name}` as {kind}; convert it to F32, F16 or BF16")
        if min(shape, default=0) < 0 or end - first != math.prod(shape) * _BYTES[kind] or not 0 <= first <= end <= data:
            raise WeightsError(f"is damaged: its header gives `{name}` bytes that are not there; fetch it again")
        shapes[name], taken = shape, taken + end - first
        parameters += math.prod(shape) if kind in _FLOATS else 0
    if not parameters:
        raise WeightsError("holds no weights")
    if taken != data:
        raise WeightsError(f"is damaged: {taken:,} bytes of tensors are in its header, and {data:,} follow it")
    return WeightsFile(size, shapes, parameters)


def digest_of(path: Path) -> str:
    """SHA-256 of a file's bytes; one that has not changed since is not read again.

    Raises:
        OSError: it cannot be read.
    """
    facts = path.stat()
    return _digest(path, facts.st_ino, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest(path: Path, *_version: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def backbones_of(spec: JobSpec) -> Iterator[tuple[str, BackboneConfig]]:
    """Each backbone of a job, with the field of the job that holds it: ``method`` or ``evaluation``."""
    for part in ("method", "evaluation"):
        found = getattr(getattr(spec, part), "backbone", None)
        if isinstance(found, BackboneConfig):
            yield part, found


def completed(spec: JobSpec, folder: Path | None) -> JobSpec:
    """A job whose backbones have the hash and the number of weights of their files; any other job as it is.

    Args:
        spec: the job.
        folder: where the files are; ``None`` where nobody has said.

    Raises:
        SpecError: a file is missing, no safetensors file, or another one than the job says; with every fault.
    """
    faults, parts = list[Problem](), dict[str, Any]()
    for part, backbone in backbones_of(spec):
        try:
            known = filled(backbone, folder, f"/{part}/backbone")
        except SpecError as error:
            faults += error.problems
        else:
            parts[part] = getattr(spec, part).model_copy(update={"backbone": known})
    if faults:
        raise SpecError(faults)
    return spec.model_copy(update=parts) if parts else spec


def filled(backbone: BackboneConfig, folder: Path | None, pointer: str) -> BackboneConfig:
    """A backbone with the hash and the number of weights of its file.

    Args:
        backbone: which file.
        folder: where the files are; ``None`` where nobody has said.
        pointer: where it stands in the job, as a JSON pointer.

    Raises:
        SpecError: the file is missing, no safetensors file, or another one than the backbone says.
    """
    name = backbone.weights
    if folder is None:
        detail = f"`weights` is '{name}', but there is no folder of backbones: set {VARIABLE} to the one that holds it"
        raise SpecError([Problem(f"{pointer}/weights", "no_backbones", detail)])
    try:
        found = _parameters_and_digest(place_of(name, folder))
    except WeightsError as error:
        detail = f"`weights` is '{name}', but {name}{SUFFIX} {error}"
        raise SpecError([Problem(f"{pointer}/weights", "unfit_weights", detail)]) from error
    if found is None:
        raise SpecError([Problem(f"{pointer}/weights", "unknown_weights", _missing(name, folder))])
    parameters, digest = found
    if backbone.sha256 not in (None, digest):
        detail = (
            f"`sha256` is {backbone.sha256}, but {name}{SUFFIX} has {digest}: it is another file; put the right one "
            "there, or leave `sha256` and `parameters` out to take the one that is there"
        )
        raise SpecError([Problem(f"{pointer}/sha256", "other_weights", detail)])
    if backbone.parameters not in (None, parameters):
        detail = (
            f"`parameters` is {backbone.parameters}, but {name}{SUFFIX} holds {parameters}; leave it out, and it is "
            "filled in"
        )
        raise SpecError([Problem(f"{pointer}/parameters", "other_weights", detail)])
    return backbone.model_copy(update={"sha256": digest, "parameters": parameters})


def _parameters_and_digest(path: Path) -> tuple[int, str] | None:
    """What a file holds; nothing where there is none.

    Raises:
        WeightsError: it cannot be read, or is no safetensors file.
    """
    try:
        return (look_into(path).parameters, digest_of(path)) if path.is_file() else None
    except OSError as error:
        raise WeightsError(f"cannot be read ({error.strerror})") from error


def _missing(name: str, folder: Path) -> str:
    """Say that there is no file of a name, and which there are."""
    known = sorted(path.stem for path in folder.glob(f"*{SUFFIX}") if path.is_file()) if folder.is_dir() else []
    there = ", ".join(known[:_LISTED]) + (f" and {len(known) - _LISTED} more" if len(known) > _LISTED else "")
    return (
        f"`weights` is '{name}', but the folder of backbones ({VARIABLE}) holds no {name}{SUFFIX}"
        f"{did_you_mean(name, known)}; there {'is none' if not known else f'are: {there}'}"
    )

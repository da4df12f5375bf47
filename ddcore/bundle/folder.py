"""A bundle as a folder of files: written whole, read only when every byte is as written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from ddcore.bundle.card import card
from ddcore.bundle.content import Distilled
from ddcore.bundle.manifest import SCHEMA_VERSION, FileFacts, Manifest, manifest_of
from ddcore.bundle.preview import encode_png, preview_png, to_uint8
from ddcore.data.whitening import Whitening
from ddcore.errors import DataError
from ddcore.machine.files import write_atomically
from ddcore.spec import SpecError, parse
from ddcore.spec.results import LabelsReport, TeacherReport
from ddcore.synthetic.stages import Stages
from ddcore.training.stored_labels import StoredLabels

MANIFEST = "manifest.json"
TENSORS = "distilled.safetensors"
STORED = "stored.safetensors"
TEACHER = "teacher.safetensors"
LABELS = "labels.safetensors"
PARQUET = "data/train-00000-of-00001.parquet"
CARD = "README.md"
PREVIEW = "preview.png"


def write(out: Path, content: Distilled) -> Distilled:
    """Write all files of a bundle into a folder, the manifest last.

    The bytes of ``distilled.safetensors`` depend on the tensors alone, those of the other files on the
    content and the versions of the libraries that encode them.

    Args:
        out: folder, created if absent; files of an earlier bundle are replaced.
        content: what to write.

    Returns:
        The same with what its results say only now: their ``bytes``.
    """
    (out / "data").mkdir(parents=True, exist_ok=True)
    tensors = save_safetensors(_tensors(content))
    sizes: dict[str, object] = {"bytes": len(tensors)}
    files = {TENSORS: tensors}
    if content.teacher is not None:
        files[TEACHER] = save_safetensors(dict(content.teacher))
        report = content.results.teacher or TeacherReport()
        sizes["teacher"] = report.model_copy(update={"bytes": len(files[TEACHER])})
    if content.epoch_labels is not None:
        parts = content.epoch_labels.tensors()
        files[LABELS] = save_safetensors({name: tensor.contiguous() for name, tensor in parts.items()})
        sizes["labels"] = _labels_report(content.epoch_labels, len(files[LABELS]))
    content = replace(content, results=content.results.model_copy(update=sizes))
    files |= {
        PARQUET: _parquet(content),
        PREVIEW: preview_png(*content.shown(), content.dataset.classes),
        CARD: card(content).encode(),
    }
    stored = {**content.parts, **({} if content.stored is None else {"images": content.stored})}
    if stored:
        files[STORED] = save_safetensors({name: tensor.contiguous() for name, tensor in stored.items()})
    for name, data in files.items():
        write_atomically(out / name, data)
    facts = {name: FileFacts(bytes=len(data), sha256=_sha256(data)) for name, data in files.items()}
    write_atomically(out / MANIFEST, manifest_of(content, facts).model_dump_json(indent=2).encode())
    return content


def read(out: Path) -> Distilled:
    """Read a bundle, having verified the SHA-256 of every file. No code in it is ever executed.

    Args:
        out: folder of the bundle's files, or its ``bundle.zip`` unpacked.

    Raises:
        DataError: no bundle, a file is missing or changed, or it was written by a newer version.
    """
    manifest = read_manifest(out)
    tensors = _verified_tensors(out, manifest, TENSORS)
    stored = _verified_tensors(out, manifest, STORED) if STORED in manifest.files else {}
    teacher = _verified_tensors(out, manifest, TEACHER) if TEACHER in manifest.files else None
    of_epochs = _verified_tensors(out, manifest, LABELS) if LABELS in manifest.files else {}
    try:
        return Distilled(
            images=tensors["images"],
            labels=tensors["labels"],
            spec=parse(manifest.spec),
            dataset=manifest.reference(),
            results=manifest.results,
            compute=manifest.compute,
            soft_labels=tensors.get("soft_labels"),
            teacher=teacher,
            epoch_labels=_epoch_labels(of_epochs, manifest),
            learning_rate=manifest.learning_rate,
            stages=_stages(tensors, manifest),
            stored=stored.pop("images", None),
            parts=stored,
            whitening=_whitening(tensors),
            versions=manifest.versions,
        )
    except (SpecError, KeyError, ValueError) as error:
        raise DataError(f"{out / MANIFEST} contradicts itself or {TENSORS}: {error}") from error


def load(path: str | Path) -> tuple[Tensor, Tensor]:
    """The images and labels of a bundle.

    Args:
        path: folder of the bundle's files.

    Returns:
        float32 (N, C, H, W) in pixel units and int64 (N,). For training, normalise the images as the
        manifest says, or call :func:`ddcore.train_on`.

    Raises:
        DataError: see :func:`read`.
    """
    content = read(Path(path))
    return content.images, content.labels


def read_manifest(out: Path) -> Manifest:
    """Read ``manifest.json`` and verify the files it lists."""
    path = out / MANIFEST
    if out.is_file():
        raise DataError(f"{out} is a file; unpack it (`python -m zipfile -e {out.name} out`) and name the folder")
    if not path.is_file():
        raise DataError(f"{out} is not a bundle: it holds no {MANIFEST}")
    try:
        document = json.loads(path.read_bytes())
        version = document["schema_version"]
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise DataError(
                f"{path} has schema version {version}, newer than {SCHEMA_VERSION}: update ddservice to read it"
            )
        manifest = Manifest.model_validate(document)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not the manifest of a bundle: {_first_line(error)}") from error
    _verify(out, manifest.files)
    return manifest


def _verify(out: Path, files: Mapping[str, FileFacts]) -> None:
    for name, facts in files.items():
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts:
            raise DataError(f"{out / MANIFEST} lists '{name}', which lies outside the bundle")
        path = out / name
        if not path.is_file():
            raise DataError(f"{path} is missing; fetch the bundle again")
        if _sha256(path.read_bytes()) != facts.sha256:
            raise DataError(f"{path} was changed or damaged: its SHA-256 is not the one in {MANIFEST}; fetch it again")


def _verified_tensors(out: Path, manifest: Manifest, name: str) -> dict[str, Tensor]:
    if name not in manifest.files:
        raise DataError(f"{out / MANIFEST} does not list {name}")
    try:
        return load_safetensors((out / name).read_bytes())
    except SafetensorError as error:
        raise DataError(f"{out / name} is not a safetensors file: {error}") from error


def _tensors(content: Distilled) -> dict[str, Tensor]:
    tensors = {"images": content.images.contiguous(), "labels": content.labels.contiguous()}
    if content.soft_labels is not None:
        tensors["soft_labels"] = content.soft_labels.contiguous()
    if content.stages is not None:
        tensors["stages"] = content.stages.of_images.cpu().contiguous()
    if content.whitening is not None:
        tensors["whitening_mean"] = content.whitening.mean.cpu().contiguous()
        tensors["whitening_matrix"] = content.whitening.matrix.cpu().contiguous()
    return tensors


def _whitening(tensors: Mapping[str, Tensor]) -> Whitening | None:
    if "whitening_matrix" not in tensors:
        return None
    return Whitening(tensors["whitening_mean"], tensors["whitening_matrix"])


def _epoch_labels(tensors: Mapping[str, Tensor], manifest: Manifest) -> StoredLabels | None:
    stored = manifest.recipe.stored_labels
    if stored is None:
        return None
    return StoredLabels.of_tensors(tensors, classes=len(manifest.classes), seed=stored.seed)


def _labels_report(labels: StoredLabels, size: int) -> LabelsReport:
    report = LabelsReport(epochs=labels.epochs, bytes=size)
    return report if labels.top is None else report.model_copy(update={"top": labels.top})


def _stages(tensors: Mapping[str, Tensor], manifest: Manifest) -> Stages | None:
    if manifest.stages is None:
        return None
    return Stages(tensors["stages"], manifest.stages.sizes, manifest.stages.learning_rates)


def _parquet(content: Distilled) -> bytes:
    """The images as 8-bit PNG files in a table that ``datasets`` reads, with named labels."""
    pngs = [encode_png(image) for image in to_uint8(content.images).numpy()]
    features: dict[str, object] = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": list(content.dataset.classes)},
    }
    columns = {
        "image": pa.array([{"bytes": png, "path": f"{row:05d}.png"} for row, png in enumerate(pngs)]),
        "label": pa.array(content.labels.numpy()),
    }
    if content.soft_labels is not None:
        features["soft_label"] = {"_type": "Sequence", "feature": {"_type": "Value", "dtype": "float32"}}
        columns["soft_label"] = pa.array(content.soft_labels.tolist(), pa.list_(pa.float32()))
    if content.stages is not None:
        features["stage"] = {"_type": "Value", "dtype": "int64"}
        columns["stage"] = pa.array(content.stages.of_images.cpu().numpy())
    table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="none")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors()[0]
        return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
    return f"{type(error).__name__}: {error}".splitlines()[0]

"""Publishing what an attempt leaves behind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.artifacts import service as artifacts
from app.artifacts.service import Output
from app.core.storage import ArtifactStore
from app.events import alerts
from app.events import repository as events
from app.queue.leases import Claim
from ddcore.spec.results import Results
from worker.run_folder import RunFolder

_LENGTH = 8
_LONGEST_HEADER = 1 << 20


def bundle_files(folder: RunFolder) -> list[Output]:
    """The files of a finished bundle.

    Raises:
        FileNotFoundError: the engine said that it was done, but one of them is missing.
    """
    images, manifest = folder.out / "distilled.safetensors", folder.out / "manifest.json"
    shape, dtype = tensor_facts(images, "images")
    files = [
        Output("bundle", folder.path / "bundle.zip", "application/zip"),
        Output("synthetic_images", images, "application/octet-stream", shape, dtype),
        Output("npz", folder.path / "distilled.npz", "application/octet-stream", shape, dtype),
        Output("image_folder", folder.path / "image_folder.zip", "application/zip"),
        Output("manifest", manifest, "application/json", data=_extensible(manifest)),
        Output("preview", folder.out / "preview.png", "image/png"),
    ]
    for file in files:
        if not file.path.is_file():
            raise FileNotFoundError(file.path.name)
    return files


def _extensible(manifest: Path) -> dict[str, Any] | None:
    """What a job that extends this one has to agree with; nothing where the manifest does not say it.

    Raises:
        FileNotFoundError: there is no manifest.
    """
    try:
        document = json.loads(manifest.read_text("utf-8"))
        source = document["dataset"]
        return {
            "digest": source["digest"],
            "classes": document["classes"],
            "shape": document["images"]["shape"],
            "class_digests": bool(source["class_digests"]),
        }
    except (KeyError, TypeError, ValueError):
        return None  # another engine's, which no job can extend


def audit_files(folder: RunFolder) -> list[Output]:
    """What the audit has left beside the bundle, where one was made."""
    files = [
        Output("audit", folder.out / "audit" / "audit.json", "application/json"),
        Output("neighbours", folder.out / "audit" / "neighbours.png", "image/png"),
        Output("nearest", folder.out / "audit" / "nearest.png", "image/png"),
    ]
    return [file for file in files if file.path.is_file()]


def upload(store: ArtifactStore, files: Sequence[Output]) -> list[Output]:
    """Store the contents, before any transaction is opened.

    Raises:
        StorageError: the store cannot take one.
    """
    return [replace(file, blob=store.put_file(file.path)) for file in files]


def publish(session: Session, store: ArtifactStore, claimed: Claim, files: Sequence[Output]) -> None:
    """Make stored files visible, in the transaction that ends the attempt.

    Raises:
        StaleFenceError: somebody else has the job.
    """
    for file in files:
        output = replace(file, attempt=claimed.attempt)
        artifact = artifacts.publish(session, store, claimed.job_id, claimed.fence, output)
        data = {"artifact_id": artifact, "kind": file.kind}
        events.append(session, claimed.job_id, "artifact.ready", "info", f"{file.path.name} is ready", data)


def compare_with_random(session: Session, claimed: Claim, scored: Results) -> None:
    """Alert the user where random real images do better than the distilled ones."""
    random = scored.controls.get("random")
    if scored.accuracy is None or random is None or scored.accuracy.mean >= random.mean:
        return
    accuracy = scored.accuracy.mean
    message = f"the distilled images reach {accuracy:.1f} %, less than the {random.mean:.1f} % of random real ones"
    alerts.record(session, claimed.job_id, "below_random", message, {"accuracy": accuracy, "random": random.mean})


def tensor_facts(path: Path, name: str) -> tuple[list[int] | None, str | None]:
    """Shape and element type of a tensor in a safetensors file, read from its header alone.

    Raises:
        FileNotFoundError: there is no such file.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH), "little")
        if length > _LONGEST_HEADER:
            return None, None
        header = json.loads(file.read(length))
    facts = header.get(name)
    return (None, None) if facts is None else (facts["shape"], facts["dtype"])

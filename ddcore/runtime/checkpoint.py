"""The whole state of a run in one file, written atomically and verified before it is believed.

A checkpoint is a safetensors file whose header carries a JSON manifest and whose name carries the
SHA-256 of its bytes, so that one rename makes it whole and a flipped bit shows.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ddcore.errors import CheckpointError
from ddcore.machine.files import write_atomically
from ddcore.version import __version__

_NAME = re.compile(r"^(\d{10})-([0-9a-f]{64})\.safetensors$")


@dataclass(frozen=True)
class Checkpoint:
    """State of a run.

    Attributes:
        step: steps completed.
        tensors: everything that is a tensor, by slash-separated name.
        facts: everything else, as JSON values.
    """

    step: int
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Tensors below ``prefix/``, with the prefix taken off."""
        start = prefix + "/"
        return {name.removeprefix(start): value for name, value in self.tensors.items() if name.startswith(start)}


class Stateful:
    """Something with tensors that a checkpoint must keep; by default it has none."""

    def state(self) -> dict[str, Tensor]:
        """Tensors to save, by name."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from saved tensors."""


def versions() -> dict[str, str]:
    """Versions on which equal bytes depend."""
    return {"ddcore": __version__, "torch": str(torch.__version__), "numpy": np.__version__}


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep: int = 2) -> tuple[Path, str]:
    """Write a checkpoint so that a crash at any moment leaves the older ones untouched.

    Args:
        folder: where checkpoints live; created if absent.
        checkpoint: what to save.
        keep: how many of the newest files stay.

    Returns:
        The file and the SHA-256 of its bytes, in hexadecimal.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().cpu().contiguous() for name, value in checkpoint.tensors.items()}
    manifest = {"step": checkpoint.step, "facts": checkpoint.facts, "versions": versions()}
    data = save(tensors, metadata={"manifest": json.dumps(manifest, sort_keys=True)})
    digest = hashlib.sha256(data).hexdigest()
    path = folder / f"{checkpoint.step:010d}-{digest}.safetensors"
    write_atomically(path, data)
    for old in list_checkpoints(folder)[keep:]:
        old.unlink(missing_ok=True)
    return path, digest


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoint files of a folder, newest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _NAME.match(path.name)]
    return sorted(found, key=lambda path: (path.name[:10], path.stat().st_mtime_ns), reverse=True)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint, after its digest has been verified.

    Raises:
        CheckpointError: the name, the digest or the contents are not those of a checkpoint.
    """
    match = _NAME.match(path.name)
    if match is None:
        raise CheckpointError(f"{path.name} is not named like a checkpoint (step, dash, SHA-256)")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != match[2]:
        raise CheckpointError(f"{path.name} is damaged: its bytes have SHA-256 {digest}")
    try:
        with safe_open(path, framework="pt") as file:
            manifest = json.loads(file.metadata()["manifest"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path.name} does not hold a checkpoint: {error}") from error
    facts = {**manifest["facts"], "versions": manifest["versions"]}
    return Checkpoint(manifest["step"], tensors, facts)


def newest_valid(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that can be believed, and what was wrong with those passed over."""
    complaints: list[str] = []
    for path in list_checkpoints(folder):
        try:
            return load_checkpoint(path), complaints
        except CheckpointError as error:
            complaints.append(str(error))
    return None, complaints

"""Checkpoints: whole or absent, verified, and the newest good one wins."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from ddcore.errors import CheckpointError
from ddcore.runtime import checkpoint
from ddcore.runtime.checkpoint import Checkpoint


def make(step: int) -> Checkpoint:
    return Checkpoint(step, {"synthetic/images": torch.full((2, 3), float(step))}, {"spec": "abc", "scores": [step]})


def test_round_trip_and_digest_in_the_name(tmp_path: Path) -> None:
    path, digest = checkpoint.save_checkpoint(tmp_path / "deep" / "folder", make(12))
    assert path.name == f"0000000012-{digest}.safetensors"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    loaded = checkpoint.load_checkpoint(path)
    assert (loaded.step, loaded.facts["spec"], loaded.facts["scores"]) == (12, "abc", [12])
    assert loaded.facts["versions"] == checkpoint.versions()
    assert torch.equal(loaded.part("synthetic")["images"], torch.full((2, 3), 12.0))


def test_only_the_newest_are_kept_and_nothing_half_written_remains(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        checkpoint.save_checkpoint(tmp_path, make(step), keep=2)
    assert [path.name[:10] for path in checkpoint.list_checkpoints(tmp_path)] == ["0000000015", "0000000010"]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_flipped_bit_falls_back_to_the_one_before(tmp_path: Path) -> None:
    checkpoint.save_checkpoint(tmp_path, make(1))
    path, _ = checkpoint.save_checkpoint(tmp_path, make(2))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    found, complaints = checkpoint.newest_valid(tmp_path)
    assert found is not None
    assert found.step == 1
    assert len(complaints) == 1
    assert "damaged" in complaints[0]


@pytest.mark.parametrize("data", [b"", b"not a checkpoint", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_foreign_files_with_a_matching_digest_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / f"{7:010d}-{hashlib.sha256(data).hexdigest()}.safetensors"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="does not hold a checkpoint"):
        checkpoint.load_checkpoint(path)


def test_a_failed_write_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"the disk is full: [0-9,]+ bytes are needed"):
        checkpoint.save_checkpoint(tmp_path, make(3))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_or_absent_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoint.newest_valid(tmp_path) == (None, [])
    assert checkpoint.newest_valid(tmp_path / "absent") == (None, [])

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ddcore.data.ingest import spool as module
from ddcore.data.ingest.spool import Spool


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spool:
    """A spool whose blocks are two small images."""
    monkeypatch.setattr(module, "_BLOCK", 2 * 3 * 4)
    return Spool(tmp_path / "images.npy")


def images(count: int, channels: int = 3, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (count, channels, 2, 2), dtype=np.uint8)


def test_images_come_out_as_they_went_in(spool: Spool) -> None:
    spool.append(images(1))
    spool.append(images(4, seed=1))
    expected = np.concatenate([images(1), images(4, seed=1)])
    assert [(start, len(block)) for start, block in spool.blocks()] == [(0, 2), (2, 2), (4, 1)]
    assert np.array_equal(np.concatenate([block for _, block in spool.blocks()]), expected)
    spool.save()
    assert np.array_equal(np.load(spool.path, mmap_mode="r"), expected)
    spool.append(images(1, seed=2))
    spool.save()
    spool.close()
    assert np.array_equal(np.load(spool.path)[5:], images(1, seed=2))


def test_a_coloured_image_makes_all_of_them_coloured(spool: Spool) -> None:
    grey, coloured = images(3, channels=1), images(2)
    for piece in (grey, coloured, grey[:1]):
        spool.append(piece)
    spool.save()
    spool.close()
    expected = np.concatenate([grey.repeat(3, axis=1), coloured, grey[:1].repeat(3, axis=1)])
    assert np.array_equal(np.load(spool.path), expected)


def test_images_are_changed_and_dropped_in_blocks(spool: Spool) -> None:
    values = images(5)
    spool.append(values)
    keep = np.array([False, False, True, True, False])
    spool.rewrite(lambda block, start: 255 - block[keep[start : start + len(block)]])
    assert len(spool) == 2
    spool.append(values[:1])
    spool.save()
    spool.close()
    assert np.array_equal(np.load(spool.path), np.concatenate([255 - values[2:4], values[:1]]))
    assert [path.name for path in spool.path.parent.iterdir()] == ["images.npy"]


def test_an_empty_spool_is_no_file(spool: Spool) -> None:
    spool.widen(3)
    spool.save()
    spool.close()
    assert (len(spool), list(spool.blocks()), spool.path.exists()) == (0, [], False)

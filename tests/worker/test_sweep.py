"""Room is made of what nobody comes back to, least recently used first."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from tests.chaos.harness import Cluster
from worker import sweep

HOUR = 3600.0


def test_folders_of_ended_jobs_are_swept(service: Cluster) -> None:
    job_id = service.submit(ring=False)
    for name in (job_id, "job_ended"):
        (service.settings.runs_dir / name / "1").mkdir(parents=True)
    assert sweep.remove_finished(service.settings.runs_dir, service.database) == 1
    assert [path.name for path in service.settings.runs_dir.iterdir()] == [job_id]
    shutil.rmtree(service.settings.runs_dir)
    assert sweep.remove_finished(service.settings.runs_dir, service.database) == 0


def entry(cache: Path, name: str, size: int, hours_ago: float) -> Path:
    """A folder with one file in it, last used so long ago."""
    folder = cache / name
    folder.mkdir(parents=True)
    (folder / "0000.safetensors").write_bytes(bytes(size))
    when = time.time() - hours_ago * HOUR
    os.utime(folder / "0000.safetensors", (when - HOUR, when - HOUR))
    os.utime(folder, (when, when))
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Entries of a megabyte each, used 40, 30, 20 and 1 hours ago, and a download that is older."""
    for hours_ago, name in (
        (90, "torchvision/a"),
        (40, "experts/a"),
        (30, "teachers/b"),
        (20, "experts/c"),
        (1, "starts/d"),
    ):
        entry(tmp_path, name, 1_000_000, hours_ago)
    return tmp_path


def names(cache: Path) -> set[str]:
    return {str(path.relative_to(cache)) for path in cache.glob("*/*")}


@pytest.mark.parametrize(
    ("most", "kept"),
    [
        (5e6, {"experts/a", "teachers/b", "experts/c", "starts/d"}),
        (3.9e6, {"teachers/b", "experts/c", "starts/d"}),
        (2.9e6, {"experts/c", "starts/d"}),
        (0, {"starts/d"}),
    ],
)
def test_the_cache_is_cut_down_to_its_limit(cache: Path, most: float, kept: set[str]) -> None:
    freed = sweep.trim_cache(cache, most)
    assert names(cache) == {*kept, "torchvision/a"}
    assert freed >= 1_000_000 * (4 - len(kept))
    assert [path.name for path in cache.iterdir() if path.name.startswith(".")] == []
    assert sweep.trim_cache(cache, most) == 0


def test_what_is_in_use_stays_over_the_limit(cache: Path) -> None:
    os.utime(cache / "experts/a")
    sweep.trim_cache(cache, 0)
    assert names(cache) == {"torchvision/a", "experts/a", "starts/d"}
    sweep.trim_cache(cache, 0, in_use_s=0)
    assert names(cache) == {"torchvision/a"}


def test_single_files_are_entries_too(tmp_path: Path) -> None:
    file = tmp_path / "whitening" / "map.safetensors"
    file.parent.mkdir()
    file.write_bytes(bytes(1000))
    os.utime(file, (0, 0))
    assert sweep.trim_cache(tmp_path, 100) == 1000
    assert not file.exists()


def test_what_a_killed_worker_was_removing_goes_first(cache: Path) -> None:
    entry(cache, ".removed_1/x", 10, 0)
    assert sweep.trim_cache(cache, 1e9) == 0
    assert not (cache / ".removed_1").exists()


def test_no_cache_needs_no_room(tmp_path: Path) -> None:
    assert sweep.trim_cache(tmp_path / "none", 0) == 0


def test_an_entry_that_another_worker_removes_meanwhile_is_no_fault(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Path.rename

    def late(path: Path, target: Path) -> Path:
        shutil.rmtree(path)
        return original(path, target)

    monkeypatch.setattr(Path, "rename", late)
    assert sweep.trim_cache(cache, 0) == 0
    assert names(cache) == {"torchvision/a", "starts/d"}

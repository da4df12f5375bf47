"""Whatever a job reads from the cache is known to be in use."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ddcore import engine
from ddcore.machine.cache import note_use
from ddcore.spec import parse

JOB = {
    "dataset": "digits",
    "ipc": 2,
    "method": {
        "name": "seqmatch",
        "stages": 2,
        "epochs": 1,
        "base": {"name": "mtt", "iterations": 1, "student_steps": 1, "max_start": 1, "experts": {"count": 1}},
    },
    "regularizers": [
        {"name": "cmi", "weight": 1.0, "teacher": {"network": {"name": "convnet", "width": 4}, "epochs": 1}}
    ],
    "whitening": True,
    "network": {"name": "convnet", "width": 4, "depth": 2},
    "compile": "off",
    "metrics": {"every": 1, "probe": "random"},
    "evaluation": {"repeats": 0},
}


def run(folder: Path, cache: Path) -> None:
    engine.run(parse({**JOB, "ipc": 4}), folder / "out", run_dir=folder / "run", cache=cache)


def test_a_second_job_sets_the_time_of_all_that_it_reads(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    run(tmp_path / "first", cache)
    entries = list(cache.glob("*/*"))
    assert {entry.parent.name for entry in entries} == {"experts", "starts", "teachers", "whitening"}
    for entry in entries:
        os.utime(entry, (0, 0))
    run(tmp_path / "second", cache)
    assert [str(entry) for entry in entries if entry.stat().st_mtime < time.time() - 600] == []


def test_an_entry_that_has_gone_is_no_fault(tmp_path: Path) -> None:
    note_use(tmp_path / "gone")

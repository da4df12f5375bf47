"""Accuracy of whole jobs on the real datasets, with their metric curves: ``python -m benchmarks.quality``.

Every job has a process of its own. Results are stored as they finish, one file a study, with the specification, the
minutes of every phase, the memory added at the peak and the readings of every reported step. Several commands may share
a study and a cache: each takes jobs that no other works on, with ``--missing`` only those that are not stored yet.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from filelock import FileLock, Timeout
from typing_extensions import override

from benchmarks.harness import RESULTS, machine, peak_mib
from benchmarks.studies import STUDIES, Job
from ddcore import engine
from ddcore.runtime.callback import Callback, Phase
from ddcore.spec import parse
from ddcore.spec.results import ProbeReport, Score


class Clock:
    """Minutes of each phase, by one of the functions of :mod:`time`."""

    def __init__(self, read: Callable[[], float]) -> None:
        self._read, self._start = read, read()
        self._phase, self._since = "starting", self._start
        self._seconds: dict[str, float] = {}

    def enter(self, phase: str) -> None:
        """End the phase of before."""
        now = self._read()
        self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - self._since
        self._phase, self._since = phase, now

    def minutes(self) -> dict[str, float]:
        """Of the phases that have ended, and of all together as ``whole``."""
        seconds = {**self._seconds, "whole": self._since - self._start}
        return {phase: round(value / 60, 2) for phase, value in seconds.items()}


class Recorder(Callback):
    """Keeps the readings and the time of each phase: by the clock, and of the processor's cores."""

    def __init__(self) -> None:
        self.curves: dict[str, list[tuple[int, float]]] = {}
        self.wall, self.cores = Clock(time.perf_counter), Clock(time.process_time)

    @override
    def on_phase(self, phase: Phase, total: int | None) -> None:
        self.wall.enter(phase)
        self.cores.enter(phase)

    @override
    def on_metrics(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.curves.setdefault(name, []).append((step, round(value, 5)))


def run_job(study: str, name: str, fields: Job, cache: Path) -> dict[str, Any]:
    """One job to its end: accuracy in percent, control, minutes, peak of memory, curves."""
    spec, root, recorder = parse(fields), Path(os.environ["DD_DATA_ROOT"]), Recorder()

    def work() -> engine.Result:
        with TemporaryDirectory() as folder:
            out, run_dir = Path(folder) / "out", Path(folder) / "run"
            return engine.run(spec, out, run_dir=run_dir, data_root=root, cache=cache, callback=recorder)

    result, memory = peak_mib(work)
    recorder.on_phase("finalizing", None)
    return {
        "job": fields,
        "accuracy": result.results["accuracy"],
        "random": result.results["controls"].get("random"),
        "probe": result.results["probe"],
        "minutes": recorder.wall.minutes(),
        "core_minutes": recorder.cores.minutes(),
        "peak_mib": round(memory),
        "curves": recorder.curves,
        "command": f"python -m benchmarks.quality {study} --only '{name}' --cache CACHE",
        "machine": machine(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


class StudyFile:
    """The results of a study, which several processes add to.

    Args:
        study: its name.
        locks: folder for lock files, of one machine.
    """

    def __init__(self, study: str, locks: Path) -> None:
        self._path, self._study, self._locks = RESULTS / "quality" / f"{study}.json", study, locks
        self._path.parent.mkdir(parents=True, exist_ok=True)
        locks.mkdir(parents=True, exist_ok=True)

    def jobs(self) -> dict[str, Any]:
        """Results of the jobs that have finished, by name."""
        if not self._path.exists():
            return {}
        jobs: dict[str, Any] = json.loads(self._path.read_text())["jobs"]
        return jobs

    def add(self, name: str, job: dict[str, Any]) -> None:
        """Store a job's result."""
        with FileLock(self._locks / f"{self._study}.lock"):
            document = {"study": self._study, "jobs": {**self.jobs(), name: job}}
            self._path.write_text(json.dumps(document) + "\n")

    def claim(self, name: str) -> FileLock | None:
        """A lock, held, on a job; ``None`` where another process runs it."""
        lock = FileLock(self._locks / f"{self._study} {name}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return None
        return lock


class Stored(Protocol):
    """A run that is stored under its name."""

    @property
    def name(self) -> str:
        """What it is called."""

    def work(self) -> dict[str, Any]:
        """Run it to its end, in a process of its own; what is stored of it."""


def run_stored(
    runs: Iterable[Stored], file: StudyFile, summary: Callable[[dict[str, Any]], str], *, again: bool = False
) -> None:
    """Run what is not stored and no other process runs, one after another.

    Args:
        runs: what to run.
        file: of the results.
        summary: a result in a line, which is printed.
        again: whether to run what is stored once more.
    """
    for one in runs:
        lock = file.claim(one.name)
        if lock is None:
            continue
        with lock:
            if one.name in file.jobs() and not again:
                continue
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                found = process.submit(one.work).result()
            file.add(one.name, found)
            print(f"{one.name}: {summary(found)}", flush=True)


def run_study(study: str, cache: Path, only: str, missing: bool) -> None:
    """Run the jobs whose name contains ``only``, or those of them that are ``missing``, one after another."""
    file = StudyFile(study, cache / "studies")
    for name, fields in STUDIES[study].items():
        if only not in name or (lock := file.claim(name)) is None:
            continue
        with lock:
            if missing and name in file.jobs():
                continue
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                job = process.submit(run_job, study, name, fields, cache).result()
            file.add(name, job)
            print(f"{study}: {name}: {_summary(job)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("studies", nargs="+", choices=sorted(STUDIES))
    parser.add_argument("--only", default="", help="run only the jobs whose name contains this")
    parser.add_argument("--missing", action="store_true", help="leave out jobs that are stored")
    parser.add_argument("--cache", type=Path, required=True, help="folder for decoded data, teachers, compiled code")
    arguments = parser.parse_args()
    if "DD_DATA_ROOT" not in os.environ:
        parser.error("the studies need real images: set DD_DATA_ROOT to their folder")
    for study in arguments.studies:
        run_study(study, arguments.cache, arguments.only, arguments.missing)


def _summary(job: Mapping[str, Any]) -> str:
    accuracy, probe = Score.model_validate(job["accuracy"]), ProbeReport.model_validate(job["probe"])
    control = f" (random {Score.model_validate(job['random']).mean:.1f})" if job["random"] else ""
    return (
        f"{accuracy.mean:.1f} +- {accuracy.std:.1f}{control}, {job['minutes']['whole']} min, "
        f"MI bound {probe.mi_lower_bound:.3f}, CMI {probe.cmi:.4f}"
    )


if __name__ == "__main__":
    main()

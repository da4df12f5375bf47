"""Accuracy of whole jobs on the real datasets, with their metric curves: ``python -m benchmarks.quality``.

Each study is a list of jobs that differ in one thing. Results are stored as they finish, one file a
study, with the specification, the minutes of every phase and the readings of every reported step.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from typing_extensions import override

from benchmarks.harness import RESULTS, machine
from ddcore import engine
from ddcore.hooks import Callback, Phase
from ddcore.spec import parse

BENCHMARKS = ()
"""Nothing to compare in turn; the studies have a command of their own."""

CIFAR10_IPC10: dict[str, Any] = {
    "dataset": "cifar10",
    "ipc": 10,
    "method": {"name": "dm", "iterations": 300},
    "evaluation": {"repeats": 3, "epochs": 300},
}
MNIST_IPC1: dict[str, Any] = {**CIFAR10_IPC10, "dataset": "mnist", "ipc": 1}


def _with(*terms: dict[str, Any], seed: int = 0, **fields: Any) -> dict[str, Any]:
    return {**CIFAR10_IPC10, "regularizers": list(terms), "seed": seed, **fields}


UNCONTROLLED: dict[str, Any] = {**CIFAR10_IPC10["evaluation"], "controls": []}
"""Scoring of a job whose control is that of another job of the same seed."""


def _term(name: str, strength: float, seed: int, **fields: Any) -> dict[str, Any]:
    """A job with one regulariser; its control is that of the plain job of the same seed."""
    return _with({"name": name, "relative": strength, **fields}, seed=seed, evaluation=UNCONTROLLED)


STUDIES: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "dm": {
        "cifar10 ipc 10 seed 0": _with(),
        "cifar10 ipc 10 seed 1": _with(seed=1),
        "mnist ipc 1 seed 0": MNIST_IPC1,
    },
    "mim": {f"relative {r} seed {s}": _term("mim", r, s) for r, s in ((1.0, 0), (1.0, 1), (3.0, 0))},
    "mim-paper": {"relative 1.0 seed 0": _term("mim", 1.0, 0, objective="nce", layers="blocks")},
    "cmi": {f"relative {r} seed {s}": _term("cmi", r, s) for r, s in ((0.2, 0), (0.2, 1), (0.5, 0))},
    "precision": {
        f"{p} seed {s}": _with(seed=s, precision=p, compile="on", evaluation=UNCONTROLLED)
        for s in (0, 1, 2)
        for p in ("fp32", "bf16")
    },
}


class Recorder(Callback):
    """Keeps the readings and the time of each phase."""

    def __init__(self) -> None:
        self.curves: dict[str, list[tuple[int, float]]] = {}
        self.seconds: dict[str, float] = {}
        self._phase, self._since = "starting", time.perf_counter()

    @override
    def on_phase(self, phase: Phase, total: int | None) -> None:
        now = time.perf_counter()
        self.seconds[self._phase] = self.seconds.get(self._phase, 0.0) + now - self._since
        self._phase, self._since = phase, now

    @override
    def on_metrics(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.curves.setdefault(name, []).append((step, round(value, 5)))


def run_job(fields: dict[str, Any], cache: Path) -> dict[str, Any]:
    """One job to its end: accuracy in percent, control, minutes, curves."""
    spec = parse(fields)
    recorder = Recorder()
    start = time.perf_counter()
    with TemporaryDirectory() as folder:
        root = Path(os.environ["DD_DATA_ROOT"])
        result = engine.run(
            spec, Path(folder) / "out", run_dir=Path(folder), data_root=root, cache=cache, callback=recorder
        )
    recorder.on_phase("finalizing", None)
    return {
        "job": fields,
        "accuracy": result.results["accuracy"],
        "random": result.results["controls"].get("random"),
        "probe": result.results["probe"],
        "minutes": round((time.perf_counter() - start) / 60, 2),
        "minutes_by_phase": {phase: round(seconds / 60, 2) for phase, seconds in recorder.seconds.items()},
        "curves": recorder.curves,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("studies", nargs="+", choices=sorted(STUDIES))
    parser.add_argument("--only", default="", help="run only the jobs whose name contains this")
    parser.add_argument("--cache", type=Path, required=True, help="folder for decoded data, teachers, compiled code")
    arguments = parser.parse_args()
    for study in arguments.studies:
        path = RESULTS / "quality" / f"{study}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        document = json.loads(path.read_text()) if path.exists() else {"study": study, "jobs": {}}
        for name, fields in STUDIES[study].items():
            if arguments.only not in name:
                continue
            job = run_job(fields, arguments.cache)
            document["jobs"][name] = {**job, "date": datetime.now(UTC).isoformat(timespec="seconds")}
            document |= {"command": f"python -m benchmarks.quality {study} --cache CACHE", "machine": machine()}
            path.write_text(json.dumps(document) + "\n")
            print(f"{study}: {name}: {_summary(job)}", flush=True)


def _summary(job: Mapping[str, Any]) -> str:
    accuracy, random, probe = job["accuracy"], job["random"], job["probe"]
    control = f" (random {random['mean']:.1f})" if random else ""
    return (
        f"{accuracy['mean']:.1f} +- {accuracy['std']:.1f}{control}, {job['minutes']} min, "
        f"MI bound {probe['mi_lower_bound']:.3f}, CMI {probe['cmi']:.4f}"
    )


if __name__ == "__main__":
    main()

"""Successive halving beside the whole grid: ``python -m benchmarks.halving [--only 'seed 0'] [--again]``.

A study of 12 jobs of ``dm``, ``idm`` and ``idc`` with four weights of CMI each, and of ``herding``, on the digits. The
grid is the same study with a single rung: every job runs to its end and is scored like the others. Both run through a
service of their own with one worker, and end with the same bytes where a job is the same. Results are stored as seeds
finish; seeds that are stored are left out.

What is told of a seed: the share of the grid's image steps that halving took, and whether it found the grid's winner,
or a job that the grid's scores hold to be no worse by more than two pooled deviations.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from app.studies.halving import CLOSE
from benchmarks.harness import machine
from benchmarks.quality import StudyFile, run_stored
from ddclient.client import Client
from ddclient.embedded import Service, running
from ddclient.study import Study

SEEDS = range(5)
RUNGS, REDUCTION = 3, 3
JOB: Mapping[str, Any] = {
    "dataset": "digits",
    "ipc": 5,
    "iterations": 90,
    "network": {"name": "convnet", "width": 32},
    "compile": "off",
    "metrics": {"every": 30},
    "evaluation": {"repeats": 3, "epochs": 200, "controls": ["random", "best_coreset"], "audit": False},
}
SPACE: Mapping[str, Any] = {
    "method": ["dm", "idm", "idc", "herding"],
    "regularizers.cmi": [None, {"relative": 0.1}, {"relative": 0.4}, {"relative": 1.6}],
}
"""Herding takes no regulariser: three of the 16 points are refused."""
SCORING: Mapping[str, Any] = {"networks": 3, "epochs": 200}


@dataclass(frozen=True)
class Run:
    """Both studies with one seed.

    Attributes:
        seed: of every job.
        job: what all jobs share.
        space: what they differ in.
    """

    seed: int
    job: Mapping[str, Any]
    space: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What it is called."""
        return f"seed {self.seed}"

    def request(self, rungs: int) -> dict[str, Any]:
        """A study with so many rungs."""
        points = math.prod(len(values) for values in self.space.values())
        return {
            "base": dict(self.job), "space": dict(self.space), "budget": {"jobs": points}, "seeds": [self.seed],
            "rungs": rungs, "reduction": REDUCTION, "scoring": dict(SCORING),
        }  # fmt: skip

    def work(self) -> dict[str, Any]:
        """Run both to their end; what is stored of them."""
        with TemporaryDirectory(prefix="halving-") as folder:
            service = Service(Path(folder) / "home", port=0, isolated=True)
            with running(service), Client(service.url, service.api_key) as client:
                grid, halving = (client.submit_study(self.request(rungs)).wait() for rungs in (1, RUNGS))
                told = compared(grid, halving)
        return {
            **told,
            "job": dict(self.job),
            "space": dict(self.space),
            "command": f"python -m benchmarks.halving --only '{self.name}'",
            "machine": machine(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def compared(grid: Study, halving: Study) -> dict[str, Any]:
    """What both found, and by how many steps."""
    scores = {trial.index: trial.scores[-1] for trial in grid.trials if trial.scores}
    best, found = (_winner(study) for study in (grid, halving))
    variances = [score.deviation**2 for score in scores.values() if score.deviation is not None]
    pooled = math.sqrt(fmean(variances)) if variances else 0.0
    behind = scores[best["trial"]].accuracy - scores[found["trial"]].accuracy
    return {
        "grid": {**best, "scores": {grid.trials[index].title: score.accuracy for index, score in scores.items()}},
        "halving": found,
        "share_of_steps": round(halving.document.spent.steps / grid.document.spent.steps, 3),
        "same": best["trial"] == found["trial"],
        "behind": round(behind, 2),
        "pooled_deviation": round(pooled, 2),
        "as_good": behind <= CLOSE * pooled,
    }


def _winner(study: Study) -> dict[str, Any]:
    winner = study.winner
    if winner is None or winner.accuracy is None:
        raise ValueError(f"{study.id} has no winner that was scored")
    spent = study.document.spent
    return {
        "trial": winner.trial,
        "title": study.trials[winner.trial].title,
        "validation": winner.validation.model_dump(mode="json"),
        "accuracy": winner.accuracy.model_dump(mode="json"),
        "gap": winner.gap,
        "steps": spent.steps,
        "minutes": round(spent.minutes, 2),
    }


def summary(found: Mapping[str, Any]) -> str:
    """A seed in a line."""
    same = "the same" if found["same"] else f"{found['halving']['title']} for"
    return (
        f"{same} {found['grid']['title']}, {found['behind']:.1f} points behind (pooled deviation "
        f"{found['pooled_deviation']:.1f}), in {found['share_of_steps']:.2f} of {found['grid']['steps']} steps"
    )


def table(stored: Mapping[str, Any]) -> Iterator[str]:
    """A line for each seed, and one for all."""
    for name, found in sorted(stored.items()):
        yield f"{name}: {summary(found)}"
    if stored:
        good = sum(found["as_good"] for found in stored.values())
        share = fmean(found["share_of_steps"] for found in stored.values())
        yield f"as good as the grid's winner in {good} of {len(stored)} seeds, in {share:.2f} of its steps"


def runs(only: str = "") -> list[Run]:
    """Those whose name contains ``only``."""
    every: Iterable[Run] = (Run(seed, JOB, SPACE) for seed in SEEDS)
    return [one for one in every if only in one.name]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.halving", description=__doc__)
    parser.add_argument("--only", default="", help="run only what has this in its name, such as 'seed 0'")
    parser.add_argument("--again", action="store_true", help="run what is stored once more")
    arguments = parser.parse_args()
    file = StudyFile("halving", Path(gettempdir()) / "ddservice-halving")
    run_stored(runs(arguments.only), file, summary, again=arguments.again)
    print("\n".join(table(file.jobs())))


if __name__ == "__main__":
    main()

"""Whether the interval of a set's worth holds what a second scoring finds: ``python -m benchmarks.worth``.

For each seed a set is distilled by ``dm`` and scored twice, by networks and real images that have nothing in common.
The second interval (of 95 %) should hold the number of real images a class that the first scoring found. Results are
stored as seeds finish; seeds that are stored are left out.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from benchmarks.harness import machine
from benchmarks.quality import StudyFile, run_stored
from ddcore import bundle, engine
from ddcore.bundle.folder import TENSORS
from ddcore.spec import parse
from ddcore.spec.results import WorthReport
from ddcore.spec.worth import in_words

SEEDS = range(20)
SECOND = 1000
"""Added to a seed for the second scoring."""
NARROW: Mapping[str, Any] = {"name": "convnet", "width": 32}
SCORING: Mapping[str, Any] = {"repeats": 3, "epochs": 100, "controls": [], "worth": {}}
UNSCORED: Mapping[str, Any] = {"repeats": 0, "controls": [], "audit": False}
JOBS: Mapping[str, Mapping[str, Any]] = {
    "digits": {"dataset": "digits", "ipc": 5, "method": {"name": "dm", "iterations": 100}, "network": NARROW},
    "cifar10": {
        "dataset": "cifar10",
        "ipc": 2,
        "method": {"name": "dm", "iterations": 50, "batch_real": 64},
        "network": NARROW,
        "compile": "on",
    },
}


@dataclass(frozen=True)
class Run:
    """A set and its two scorings.

    Attributes:
        dataset: a key of :data:`JOBS`.
        seed: of the distillation and of the first scoring.
        cache: folder for decoded datasets.
    """

    dataset: str
    seed: int
    cache: Path

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.dataset} seed {self.seed}"

    def work(self) -> dict[str, Any]:
        """Distil the set and score it twice; what is stored of it."""
        root = Path(os.environ["DD_DATA_ROOT"]) if "DD_DATA_ROOT" in os.environ else None
        job: dict[str, Any] = {**JOBS[self.dataset], "seed": self.seed, "evaluation": dict(UNSCORED)}
        scoring = {name: job[name] for name in ("network", "compile") if name in job} | {"evaluation": dict(SCORING)}
        with TemporaryDirectory(prefix="worth-") as folder:
            made = Path(folder) / "bundle"
            engine.run(parse(job), made, run_dir=Path(folder) / "run", data_root=root, cache=self.cache)
            scored = [
                bundle.score(
                    made / TENSORS,
                    self.dataset,
                    {**scoring, "seed": seed},
                    values="unit",
                    data_root=root,
                    cache=self.cache,
                ).results
                for seed in (self.seed, self.seed + SECOND)
            ]
        first, second = (results.worth for results in scored)
        if first is None or second is None:
            raise ValueError(f"{self.name} has no worth")
        return {
            "accuracies": [results.model_dump(mode="json")["accuracy"] for results in scored],
            "first": first.model_dump(mode="json"),
            "second": second.model_dump(mode="json"),
            "holds": holds(second, first),
            "job": job,
            "scoring": scoring,
            "command": f"python -m benchmarks.worth --only '{self.name}'",
            "machine": machine(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def holds(interval: WorthReport, found: WorthReport) -> bool:
    """Whether an interval has in it what another scoring found; an end that is beyond the curve is open."""
    low = -math.inf if interval.low is None else interval.low
    high = math.inf if interval.high is None else interval.high
    beyond = {"less than": -math.inf, "more than": math.inf}
    number = found.images if found.bound is None else beyond[found.bound]
    if number is None:
        raise ValueError("a worth has a number or says on which side of the curve it is")
    return low <= number <= high


def summary(found: Mapping[str, Any]) -> str:
    """A seed in a line."""
    first, second = (WorthReport.model_validate(found[each]) for each in ("first", "second"))
    verdict = "holds" if found["holds"] else "does NOT hold"
    return f"{in_words(first)}; a second scoring: {in_words(second)}, which {verdict} the first"


def table(stored: Mapping[str, Any]) -> Iterator[str]:
    """A line for each seed, and one for each dataset."""
    for dataset in JOBS:
        of_it = {name: found for name, found in stored.items() if name.startswith(f"{dataset} ")}
        for name, found in sorted(of_it.items()):
            yield f"{name} {summary(found)}"
        if of_it:
            yield f"{dataset}: held in {sum(found['holds'] for found in of_it.values())} of {len(of_it)} seeds"


def runs(only: str, cache: Path) -> list[Run]:
    """Those whose name contains ``only``."""
    every: Iterable[Run] = (Run(dataset, seed, cache) for dataset in JOBS for seed in SEEDS)
    return [one for one in every if only in one.name]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worth", description=__doc__)
    parser.add_argument("--only", default="", help="run only what has this in its name, such as 'digits'")
    parser.add_argument("--again", action="store_true", help="run what is stored once more")
    parser.add_argument("--cache", type=Path, default=Path(gettempdir()) / "ddservice-worth", help="of datasets")
    arguments = parser.parse_args()
    file = StudyFile("worth", arguments.cache / "studies")
    run_stored(runs(arguments.only, arguments.cache), file, summary, again=arguments.again)
    print("\n".join(table(file.jobs())))


if __name__ == "__main__":
    main()

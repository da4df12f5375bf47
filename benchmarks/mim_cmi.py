"""What CMI and MIM add to a method: ``python -m benchmarks.mim_cmi --cache DIR [--only 'mnist dm']``.

Five methods on two datasets, each alone, with CMI, with MIM, and with both: as many steps, and five seeds. Runs of one
seed begin with the same images, draw the same real images and are scored by networks of the same seeds, so what a term
adds is the mean of paired differences, with its interval of 95 % by Student's t.

Both terms look through a teacher of width 32, trained for two epochs. One of the default width costs four times as much
as the rest of a run, and changes accuracy by nothing that was measured (the study ``teachers`` of
:mod:`benchmarks.studies`).

How strong a term is comes from a study of the service for each method and dataset, on validation images and a seed of
its own; the test images play no part in it. ``+cmi`` and ``+mim`` take the better of two trials that have this term
alone, and ``+both`` has each term as strong as it is alone.

Results are stored as runs finish; runs that are stored are left out. Several commands may share a cache: each takes
runs that no other works on. A run whose strengths another one still looks for is left to the next command.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any

from scipy.stats import t

from benchmarks.harness import machine
from benchmarks.quality import StudyFile, run_job, run_stored
from benchmarks.studies import BPTT, DM, IDC, IDM, MTT, NARROWER, TEACHERS, Job
from ddclient.client import Client
from ddclient.embedded import Service, running
from ddclient.study import Study
from ddcore.spec.results import Score

SEEDS = range(5)
CHOICE_SEED = 100
"""Of the study that chooses strengths: none that is reported."""
STRENGTHS: Mapping[str, Sequence[float]] = {"cmi": (0.1, 0.5), "mim": (0.3, 1.5)}
"""Of the gradient of a term, relative to that of the method."""
TEACHER = TEACHERS["width 32, 2 epochs"]
SCORING: Job = {"repeats": 3, "epochs": 300, "controls": [], "audit": False}
ARMS: Mapping[str, Sequence[str]] = {"alone": (), "+cmi": ("cmi",), "+mim": ("mim",), "+both": ("cmi", "mim")}
COMMAND = "python -m benchmarks.mim_cmi --cache CACHE"


@dataclass(frozen=True)
class Case:
    """A method on a dataset.

    Attributes:
        dataset: its name.
        method: its configuration, with the number of steps.
    """

    dataset: str
    method: Job

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.dataset} {self.method['name']}"

    @property
    def job(self) -> Job:
        """The method alone, with 10 images a class; neither seed nor scoring."""
        return {
            "dataset": self.dataset, "ipc": 10, "network": NARROWER, "method": self.method,
            "metrics": {"probe": "teacher"},
        }  # fmt: skip


CASES: Sequence[Case] = [
    Case(dataset, {**method, "iterations": steps})
    for dataset, budget in {
        "cifar10": ((DM, 400), (IDM, 100), (IDC, 40), (MTT, 60), (BPTT, 40)),
        "mnist": ((DM, 300), (IDM, 80), (IDC, 40), (MTT, 60), (BPTT, 40)),
    }.items()
    for method, steps in budget
]


def term(strength: float) -> Job:
    """The fields of a term, its name apart."""
    return {"relative": strength, "teacher": TEACHER}


@dataclass(frozen=True)
class Choice:
    """The study that finds how strong the terms of a case are.

    Attributes:
        case: the method and the dataset.
        cache: folder for decoded data, teachers and compiled code.
    """

    case: Case
    cache: Path

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.case.name} strengths"

    def request(self) -> dict[str, Any]:
        """A trial for every strength of each term alone; each runs to its end."""
        terms = [{name: term(strength)} for name, of in STRENGTHS.items() for strength in of]
        return {
            "base": {**self.case.job, "evaluation": {**SCORING, "repeats": 1}},
            "space": {"regularizers": terms}, "budget": {"jobs": len(terms)},
            "seeds": [CHOICE_SEED], "rungs": 1, "scoring": {"networks": 3, "epochs": 300},
        }  # fmt: skip

    def work(self) -> dict[str, Any]:
        """Run the study in a service of its own; the strengths of each arm and what they were chosen by."""
        settings = {"DD_CACHE_DIR": str(self.cache)}
        with TemporaryDirectory(prefix="mim-cmi-") as home:
            root = Path(os.environ["DD_DATA_ROOT"])
            service = Service(Path(home), port=0, isolated=True, data_root=root, settings=settings)
            with running(service), Client(service.url, service.api_key) as client:
                study = client.submit_study(self.request()).wait()
        found = validated(study)
        return {
            "strengths": strengths(found),
            "validation": [{"term": name, "strength": tried, "accuracy": found[name, tried]} for name, tried in found],
            "failed": failed(study),
            "request": self.request(),
            "command": f"{COMMAND} --only '{self.name}'",
            "machine": machine(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def validated(study: Study) -> dict[tuple[str, float], float]:
    """Percent of the validation images, by the term of a trial and its strength; trials that failed are missing."""
    return {
        (name, fields["relative"]): score.accuracy
        for trial in study.trials
        for name, fields in trial.values["regularizers"].items()
        for score in trial.scores[-1:]
    }


def failed(study: Study) -> dict[str, str | None]:
    """Why trials were not scored, by their titles."""
    return {trial.title: trial.reason for trial in study.trials if not trial.scores}


def strengths(found: Mapping[tuple[str, float], float]) -> dict[str, dict[str, float]]:
    """The strength of each term of each arm: the best of those that were tried.

    >>> strengths({("cmi", 0.1): 40.0, ("cmi", 0.5): 41.0, ("mim", 0.3): 42.0})["+both"]
    {'cmi': 0.5, 'mim': 0.3}
    """
    best = {name: max((one for one in found if one[0] == name), key=lambda one: found[one])[1] for name in STRENGTHS}
    return {arm: {name: best[name] for name in terms} for arm, terms in ARMS.items()}


@dataclass(frozen=True)
class Run:
    """A case with the terms of an arm, and with a seed.

    Attributes:
        case: the method and the dataset.
        arm: one of :data:`ARMS`.
        seed: of the job.
        strengths: of its terms.
        cache: as for :class:`Choice`.
    """

    case: Case
    arm: str
    seed: int
    strengths: Mapping[str, float]
    cache: Path

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.case.name} {self.arm} seed {self.seed}"

    def work(self) -> dict[str, Any]:
        """Distil and score; what is stored of it."""
        fields = {
            **self.case.job,
            "seed": self.seed,
            "regularizers": [{"name": name, **term(strength)} for name, strength in self.strengths.items()],
            "evaluation": SCORING,
        }
        return {**run_job("mim-cmi", self.name, fields, self.cache), "command": f"{COMMAND} --only '{self.name}'"}


def runs(file: StudyFile, cache: Path, only: str = "") -> Iterator[Choice | Run]:
    """The choices; then every case and arm seed by seed, as far as their strengths are known."""
    yield from (Choice(case, cache) for case in CASES if only in f"{case.name} strengths" or case.name in only)
    for seed, case, arm in product(SEEDS, CASES, ARMS):
        if only in f"{case.name} {arm} seed {seed}" and (chosen := file.jobs().get(f"{case.name} strengths")):
            yield Run(case, arm, seed, chosen["strengths"][arm], cache)


def summary(found: Mapping[str, Any]) -> str:
    """A choice or a run in a line."""
    if "strengths" in found:
        return ", ".join(f"{arm}: {strengths}" for arm, strengths in found["strengths"].items() if strengths)
    return f"{Score.model_validate(found['accuracy']).mean:.1f} %, {found['minutes']['whole']} min"


def difference(plain: Sequence[float], changed: Sequence[float]) -> tuple[float, float]:
    """Mean of paired differences, and half of its interval of 95 %.

    >>> difference([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])
    (1.0, 0.0)
    """
    found = [b - a for a, b in zip(plain, changed, strict=True)]
    half = float(t.ppf(0.975, len(found) - 1)) * stdev(found) / math.sqrt(len(found))
    return fmean(found), half


def table(stored: Mapping[str, Any]) -> Iterator[str]:
    """A row in Markdown for each case that has two seeds or more of every arm."""
    yield "| dataset | method | steps | alone | + CMI | + MIM | + both | seeds |"
    yield "|---|---|---|---|---|---|---|---|"
    for case in CASES:
        names = {arm: [f"{case.name} {arm} seed {seed}" for seed in SEEDS] for arm in ARMS}
        seeds = [seed for seed in SEEDS if all(names[arm][seed] in stored for arm in ARMS)]
        if len(seeds) < 2:
            continue
        means = {arm: [stored[names[arm][seed]]["accuracy"]["mean"] for seed in seeds] for arm in ARMS}
        alone = means.pop("alone")
        added = (difference(alone, changed) for changed in means.values())
        cells = (
            case.dataset, f"`{case.method['name']}`", f"{case.method['iterations']}",
            f"{fmean(alone):.1f} ± {stdev(alone):.1f}", *(f"{mean:+.1f} ± {half:.1f}" for mean, half in added),
            f"{len(seeds)}",
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mim_cmi", description=__doc__)
    parser.add_argument("--only", default="", help="run only what has this in its name, such as 'mnist dm'")
    parser.add_argument("--cache", type=Path, required=True, help="folder for decoded data, teachers, compiled code")
    parser.add_argument("--table", action="store_true", help="print what is stored, and run nothing")
    arguments = parser.parse_args()
    cache = arguments.cache.resolve()
    file = StudyFile("mim-cmi", cache / "studies")
    if not arguments.table:
        if "DD_DATA_ROOT" not in os.environ:
            parser.error("the runs need real images: set DD_DATA_ROOT to their folder")
        run_stored(runs(file, cache, arguments.only), file, summary)
    print("\n".join(table(file.jobs())))


if __name__ == "__main__":
    main()

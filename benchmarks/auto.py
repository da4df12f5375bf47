"""The automatic study beside what else the same minutes could buy: ``python -m benchmarks.auto [--only digits-2]``.

``auto`` runs through a service of its own, with one worker, as a user would run it. Its rivals get the same minutes for
their search, and the scoring of their images on top:

- ``coreset``: the best of the rules that keep real images, by accuracy on validation images;
- ``dm``: distribution matching, stopped when the minutes are over;
- ``optuna``: the jobs of the automatic study as a space, searched by Optuna's TPE sampler and pruned by its
  SuccessiveHalvingPruner, which decides without waiting for the others.

Every run has a process and a cache of its own. All images are scored by one recipe on the whole test set. Results are
stored as runs finish; runs that are stored are left out, so that the command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from typing_extensions import override

from app import migrate
from app.core.database import Database
from app.core.security import Principal, Scope
from app.core.settings import Settings
from app.studies import planning
from app.studies.service import StudyService
from benchmarks.harness import machine
from benchmarks.quality import StudyFile, run_stored
from ddclient.client import Client
from ddclient.embedded import Service, running
from ddcore import bundle, engine
from ddcore.errors import DistillationError
from ddcore.runtime.callback import Callback, Stop
from ddcore.spec import CoresetConfig, JobSpec, parse
from ddcore.spec.readings import ACCURACY_DURING
from ddcore.spec.results import Score

SEEDS = (0, 1, 2)
NETWORKS = 3
"""Trained on each set of images, to score it."""
RUNGS, REDUCTION = 3, 3
"""Of the automatic study, and of the pruner."""
ENDLESS = 1_000_000
"""Steps of a job that ends when its minutes are over."""
ACCURACY = ACCURACY_DURING["validation"]


@dataclass(frozen=True)
class Case:
    """What is to be distilled, and in how many minutes.

    Attributes:
        job: what all jobs share.
        minutes: for the search.
    """

    job: Mapping[str, Any]
    minutes: float

    def request(self, seed: int) -> dict[str, Any]:
        """The automatic study."""
        return {
            "base": {**self.job, "method": "auto"}, "budget": {"minutes": self.minutes}, "seeds": [seed],
            "rungs": RUNGS, "reduction": REDUCTION,
        }  # fmt: skip


def _case(dataset: str, minutes: float, **fields: Any) -> Case:
    scoring = {"repeats": NETWORKS, "controls": [], "audit": False}
    return Case({"dataset": dataset, "ipc": 10, **fields, "evaluation": scoring}, minutes)


CASES: Mapping[str, Case] = {
    "digits-2": _case("digits", 2, compile="off"),
    "digits-5": _case("digits", 5, compile="off"),
    "digits-10": _case("digits", 10, compile="off"),
    "cifar10-20": _case("cifar10", 20),
}
"""On the digits, compiling would cost the rivals a part of the minutes and save nothing."""


@dataclass(frozen=True)
class Outcome:
    """What the minutes came to.

    Attributes:
        accuracy: of networks trained on the images, on the test images.
        what: the job that made them.
        minutes: until the images were there; of ``auto``, until they were scored too.
        trials: jobs that were begun.
    """

    accuracy: Score
    what: str
    minutes: float
    trials: int = 1


@dataclass
class Watch(Callback):
    """Ends a run when its time is over, or when who reads its scores says so.

    Attributes:
        until: of :func:`time.perf_counter`.
        judge: told the rung and its score in percent; whether the run shall end.
        scores: percent of the validation images, rung by rung.
        dropped: whether the judge ended it.
    """

    until: float
    judge: Callable[[int, float], bool] = lambda _rung, _score: False
    scores: list[float] = field(default_factory=list)
    dropped: bool = False

    @override
    def on_metrics(self, step: int, values: Mapping[str, float]) -> None:
        if ACCURACY in values:
            self.scores.append(values[ACCURACY])
            self.dropped = self.dropped or self.judge(len(self.scores) - 1, self.scores[-1])

    @override
    def should_stop(self) -> Stop | None:
        return Stop.FINALIZE if self.dropped or time.perf_counter() >= self.until else None


@dataclass(frozen=True)
class Bench:
    """Runs jobs in a folder of their own.

    Attributes:
        folder: for caches and bundles.
        data_root: where the real datasets are.
    """

    folder: Path
    data_root: Path | None

    def run(self, spec: JobSpec, name: str, watch: Watch) -> None:
        """Make the images of a job, unscored."""
        unscored = spec.evaluation.model_copy(update={"repeats": 0})
        engine.run(
            changed(spec, evaluation=unscored),
            self.folder / name,
            run_dir=self.folder / f"{name}.run",
            data_root=self.data_root,
            cache=self.folder / "cache",
            callback=watch,
        )

    def accuracy(self, name: str) -> Score:
        """Of fresh networks on the test images."""
        folder, cache = self.folder / name, self.folder / "cache"
        found = bundle.train_on(folder, repeats=NETWORKS, data_root=self.data_root, cache=cache).accuracy
        if found is None:
            raise ValueError(f"no network was trained on {name}")
        return found


def planned(request: Mapping[str, Any], data_root: Path | None = None) -> Sequence[planning.PlannedTrial]:
    """The trials of a study, as a service makes them that has run nothing yet."""
    with TemporaryDirectory(prefix="study-plan-") as home:
        settings = Settings(home=Path(home), data_root=data_root or Path(home))
        database = Database(settings)
        migrate.upgrade(database)
        with database.read() as session:
            service = StudyService(session, Principal("default", None, frozenset(Scope)), settings)
            plan = service.plan(planning.read(request))
        database.dispose()
    return plan.trials


def auto(case: Case, seed: int, bench: Bench) -> Outcome:
    """The automatic study, through a service."""
    service = Service(bench.folder / "home", port=0, isolated=True, data_root=bench.data_root)
    with running(service), Client(service.url, service.api_key) as client:
        begun = time.perf_counter()
        study = client.submit_study(case.request(seed)).wait()
        minutes = (time.perf_counter() - begun) / 60
        title = next(trial.title for trial in study.trials if study.winner and trial.index == study.winner.trial)
        results = study.job.results
        if results is None or results.accuracy is None:
            raise ValueError(f"the winner of {study.id} was not scored")
        return Outcome(results.accuracy, title, minutes, len(study.trials))


def coreset(case: Case, seed: int, bench: Bench) -> Outcome:
    """The best coreset by validation images; it takes as long as it takes."""
    begun, found = time.perf_counter(), []
    trials = [each for each in planned(case.request(seed), bench.data_root) if _takes_no_steps(each)]
    for number, trial in enumerate(trials):
        watch = Watch(until=float("inf"))
        bench.run(trial.requests[0].spec, f"coreset-{number}", watch)
        found.append((watch.scores[-1], -number))
    best = -max(found)[1]
    minutes = (time.perf_counter() - begun) / 60
    return Outcome(bench.accuracy(f"coreset-{best}"), trials[best].title, minutes, len(trials))


def dm(case: Case, seed: int, bench: Bench) -> Outcome:
    """Distribution matching for all of the minutes, with the smaller batches that the automatic study uses."""
    begun = time.perf_counter()
    method = {"name": "dm", "batch_real": 64, "iterations": ENDLESS}
    bench.run(parse({**case.job, "seed": seed, "method": method}), "dm", Watch(begun + case.minutes * 60))
    minutes = (time.perf_counter() - begun) / 60
    return Outcome(bench.accuracy("dm"), "dm", minutes)


def optuna(case: Case, seed: int, bench: Bench) -> Outcome:
    """The jobs of the automatic study, chosen and pruned by Optuna, one after another until the minutes are over.

    A job that is tried again has another seed. The winner is the best of the highest rung that any has reached.
    """
    from optuna import TrialPruned, create_study
    from optuna.pruners import SuccessiveHalvingPruner
    from optuna.samplers import TPESampler
    from optuna.trial import Trial

    begun = time.perf_counter()
    until = begun + case.minutes * 60
    trials = planned(case.request(seed), bench.data_root)
    reached: list[tuple[int, float, int, str]] = []

    def tried(trial: Trial) -> float:
        point = trials[trial.suggest_categorical("point", range(len(trials)))]
        spec = point.requests[0].spec

        def judge(rung: int, score: float) -> bool:
            trial.report(score, REDUCTION**rung)
            return trial.should_prune()

        watch = Watch(until, judge)
        bench.run(changed(spec, seed=seed * 1000 + trial.number), f"trial-{trial.number}", watch)
        if not watch.scores:
            raise TrialPruned("its first score would have come after the end")
        # A coreset takes no steps: its one score counts in every rung.
        rung = RUNGS - 1 if _takes_no_steps(point) else len(watch.scores) - 1
        reached.append((rung, watch.scores[-1], -trial.number, point.title))
        if watch.dropped or rung < RUNGS - 1:
            raise TrialPruned
        return watch.scores[-1]

    pruner = SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION)
    study = create_study(direction="maximize", sampler=TPESampler(seed=seed), pruner=pruner)
    while time.perf_counter() < until:
        study.optimize(tried, n_trials=1, catch=(DistillationError,))
    if not reached:
        raise ValueError(f"no job was scored in {case.minutes:g} minutes; give more")
    _, _, number, title = max(reached)
    minutes = (time.perf_counter() - begun) / 60
    return Outcome(bench.accuracy(f"trial-{-number}"), title, minutes, len(study.trials))


CONTENDERS: Mapping[str, Callable[[Case, int, Bench], Outcome]] = {
    "auto": auto, "coreset": coreset, "dm": dm, "optuna": optuna,
}  # fmt: skip


def changed(spec: JobSpec, **fields: Any) -> JobSpec:
    """The same job with other fields, which are not checked."""
    copy = spec.model_copy(update=fields)
    return copy if spec.facts is None else copy.knowing(spec.facts)


def _takes_no_steps(trial: planning.PlannedTrial) -> bool:
    return isinstance(trial.requests[0].spec.method, CoresetConfig)


@dataclass(frozen=True)
class Run:
    """A contender in a case, with a seed.

    >>> Run("digits-2", "auto", 0).name
    'digits-2 auto seed 0'
    """

    case: str
    contender: str
    seed: int

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.case} {self.contender} seed {self.seed}"

    def work(self) -> dict[str, Any]:
        """Run it to its end; what is stored of it."""
        case, root = CASES[self.case], os.environ.get("DD_DATA_ROOT")
        with TemporaryDirectory(prefix="auto-") as folder:
            bench = Bench(Path(folder), Path(root) if root else None)
            outcome = CONTENDERS[self.contender](case, self.seed, bench)
        return {
            "accuracy": outcome.accuracy.model_dump(mode="json", exclude_unset=True),
            "what": outcome.what,
            "minutes": round(outcome.minutes, 2),
            "trials": outcome.trials,
            "budget_minutes": case.minutes,
            "job": dict(case.job),
            "command": f"python -m benchmarks.auto --only '{self.name}'",
            "machine": {**machine(), "optuna": version("optuna")},
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def runs(only: str = "") -> list[Run]:
    """Those whose name contains ``only``: every case and contender with the first seed, then with the next one."""
    every = (Run(case, contender, seed) for seed, case, contender in product(SEEDS, CASES, CONTENDERS))
    return [one for one in every if only in one.name]


def summary(found: Mapping[str, Any]) -> str:
    """A run in a line."""
    return f"{found['accuracy']['mean']:.1f} % by {found['what']}, {found['minutes']} min"


def table(stored: Mapping[str, Any]) -> Iterator[str]:
    """A line for each case and contender: mean accuracy over seeds with its deviation, and the minutes."""
    for case, contender in product(CASES, CONTENDERS):
        found = [stored[one.name] for one in runs(f"{case} {contender} ") if one.name in stored]
        if found:
            means = [each["accuracy"]["mean"] for each in found]
            spread = f" ± {stdev(means):.1f}" if len(means) > 1 else ""
            minutes = fmean(each["minutes"] for each in found)
            yield f"{case:<11} {contender:<8} {fmean(means):5.1f}{spread} % of {len(found)}, {minutes:.1f} min"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.auto", description=__doc__)
    parser.add_argument("--only", default="", help="run only what has this in its name, such as digits-2")
    parser.add_argument("--again", action="store_true", help="run what is stored once more")
    arguments = parser.parse_args()
    chosen = runs(arguments.only)
    if not chosen:
        parser.error(f"no run has {arguments.only!r} in its name; there are such as {runs()[0].name!r}")
    if "DD_DATA_ROOT" not in os.environ and any(CASES[one.case].job["dataset"] != "digits" for one in chosen):
        parser.error("cifar10 needs its images: set DD_DATA_ROOT to their folder, or choose --only digits")
    file = StudyFile("auto", Path(gettempdir()) / "ddservice-auto")
    run_stored(chosen, file, summary, again=arguments.again)
    print("\n".join(table(file.jobs())))


if __name__ == "__main__":
    main()

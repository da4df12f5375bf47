"""The rivals of the automatic study keep to their minutes, and what is stored is not run again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typing_extensions import override

from benchmarks import auto, quality
from benchmarks.auto import Bench, Case, Outcome, Run
from benchmarks.quality import StudyFile
from ddcore.spec.results import Score

JOB: dict[str, Any] = {
    "dataset": "digits",
    "ipc": 1,
    "network": {"name": "convnet", "depth": 2, "width": 8},
    "metrics": {"probe": "random"},
    "evaluation": {"repeats": 1, "epochs": 2, "controls": [], "audit": False},
    "compile": "off",
}


@dataclass(frozen=True)
class Small(Case):
    """A case whose study is a small one, so that nothing depends on how fast this machine is."""

    @override
    def request(self, seed: int) -> dict[str, Any]:
        return {
            "base": {**self.job, "iterations": 9}, "space": {"method": ["dm", "random"]},
            "budget": {"jobs": 2}, "seeds": [seed], "scoring": {"networks": 1, "epochs": 1},
        }  # fmt: skip


@pytest.mark.parametrize("rival", ["coreset", "dm", "optuna"])
def test_a_rival_ends_in_time_with_scored_images(rival: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock that goes on by a second whenever somebody looks at it: at the start, and after every unit of work.
    monkeypatch.setattr(auto, "time", SimpleNamespace(perf_counter=count().__next__))
    case = Small(JOB, minutes=1)
    found = auto.CONTENDERS[rival](case, 1, Bench(tmp_path, None))
    assert found.accuracy.networks == auto.NETWORKS
    assert found.what in {"coreset": ["random"], "dm": ["dm"], "optuna": ["dm", "random"]}[rival]
    if rival != "coreset":
        assert case.minutes <= found.minutes < case.minutes + 0.2
    assert (found.trials > 1) == (rival == "optuna")


@pytest.mark.parametrize("case", ["digits-2", "cifar10-20"])
def test_the_shortest_automatic_study_of_a_dataset_has_methods_to_try(case: str) -> None:
    trials = auto.planned(auto.CASES[case].request(0))
    assert {"random", "herding", "k_center", "k_means"} < {trial.title for trial in trials}
    assert any(trial.iterations for trial in trials)


def test_runs_are_stored_once_and_summed_up_over_seeds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quality, "RESULTS", tmp_path)
    monkeypatch.setattr(auto, "CASES", {"tiny-1": Case(JOB, minutes=1)})

    def made(case: Case, seed: int, _bench: Bench) -> Outcome:
        assert case.job is JOB
        return Outcome(Score(mean=70.0 + seed, std=0.5, networks=3), "dm, lr_img 1", 0.5, 4)

    monkeypatch.setattr(auto, "CONTENDERS", {"dm": made})
    file = StudyFile("auto", tmp_path / "locks")
    stored = Run("tiny-1", "dm", 0).work()
    assert (stored["accuracy"]["mean"], stored["trials"], stored["budget_minutes"]) == (70.0, 4, 1)
    assert stored["command"] == "python -m benchmarks.auto --only 'tiny-1 dm seed 0'"
    assert {"optuna", "torch", "processor"} < stored["machine"].keys()
    for seed in (0, 2):
        file.add(f"tiny-1 dm seed {seed}", Run("tiny-1", "dm", seed).work())

    monkeypatch.setattr(quality, "ProcessPoolExecutor", InProcess)
    quality.run_stored(auto.runs("tiny-1"), file, auto.summary)
    assert capsys.readouterr().out == "tiny-1 dm seed 1: 71.0 % by dm, lr_img 1, 0.5 min\n"
    assert list(auto.table(file.jobs())) == ["tiny-1      dm        71.0 ± 1.0 % of 3, 0.5 min"]


class InProcess:
    """Does work here and now."""

    def __init__(self, _processes: int, **_how: Any) -> None:
        pass

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *_raised: object) -> None:
        pass

    def submit(self, work: Callable[[], dict[str, Any]]) -> InProcess:
        self._found = work()
        return self

    def result(self) -> dict[str, Any]:
        return self._found

"""What the comparison with and without CMI and MIM chooses, runs and tells."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from benchmarks import mim_cmi
from benchmarks.auto import planned
from benchmarks.mim_cmi import ARMS, CASES, SEEDS, Choice, Run
from benchmarks.quality import StudyFile
from ddclient import Client
from ddclient.study import Study
from ddclient.study_models import StudyDocument

CHOSEN = {"strengths": {"alone": {}, "+cmi": {"cmi": 0.5}, "+mim": {"mim": 0.3}, "+both": {"cmi": 0.5, "mim": 0.3}}}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyFile:
    """An empty one of this test's own."""
    monkeypatch.setattr("benchmarks.quality.RESULTS", tmp_path)
    return StudyFile("mim-cmi", tmp_path / "locks")


def trial(index: int, name: str, strength: float, *accuracies: float) -> dict[str, Any]:
    values = {"regularizers": {name: {"relative": strength}}}
    scores = [{"rung": 0, "step": 9, "accuracy": a, "deviation": 1.0, "objective": a} for a in accuracies]
    ended = {"status": "succeeded"} if scores else {"status": "failed", "reason": "the loss became nan"}
    return {"index": index, "title": f"{name} {strength}", "values": values, "scores": scores, **ended}


def test_each_arm_takes_the_strengths_that_validation_images_like_best() -> None:
    trials = [trial(0, "cmi", 0.1, 50.0), trial(1, "cmi", 0.5, 51.0), trial(2, "mim", 0.3, 53.0), trial(3, "mim", 1.5)]
    document = {
        "id": "study_1",
        "status": "succeeded",
        "version": 1,
        "spent": {"jobs": 4, "steps": 9},
        "trials": trials,
    }
    study = Study(Client("http://service.test", "dd_key"), StudyDocument.model_validate(document))
    found = mim_cmi.validated(study)
    assert len(found) == 3
    assert mim_cmi.failed(study) == {"mim 1.5": "the loss became nan"}
    assert mim_cmi.strengths(found) == CHOSEN["strengths"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_service_takes_the_study_of_every_case(case: mim_cmi.Case, tmp_path: Path) -> None:
    trials = planned(Choice(case, tmp_path).request())
    assert len(trials) == 4
    steps = {each.requests[0].spec.method.iterations for each in trials}
    assert steps == {case.method["iterations"]}, "every arm takes as many"


def test_choices_come_first_and_runs_wait_for_theirs(file: StudyFile, tmp_path: Path) -> None:
    assert [one.name for one in mim_cmi.runs(file, tmp_path)] == [f"{case.name} strengths" for case in CASES]
    file.add("mnist dm strengths", CHOSEN)
    known = [one for one in mim_cmi.runs(file, tmp_path) if isinstance(one, Run)]
    assert [(one.seed, one.arm) for one in known] == [(seed, arm) for seed in SEEDS for arm in ARMS]
    assert [dict(one.strengths) for one in known[:4]] == list(CHOSEN["strengths"].values())


def test_one_run_can_be_chosen_with_the_study_that_it_needs(file: StudyFile, tmp_path: Path) -> None:
    file.add("cifar10 idm strengths", CHOSEN)
    names = [one.name for one in mim_cmi.runs(file, tmp_path, "cifar10 idm +both seed 3")]
    assert names == ["cifar10 idm strengths", "cifar10 idm +both seed 3"]


def test_differences_are_paired_and_have_an_interval() -> None:
    plain, changed = [40.0, 42.0, 39.0, 41.0, 43.0], [41.0, 42.5, 39.0, 43.0, 43.5]
    mean, half = mim_cmi.difference(plain, changed)
    test = stats.ttest_rel(changed, plain).confidence_interval(0.95)
    assert (mean - half, mean + half) == pytest.approx((test.low, test.high))


def test_the_table_says_what_each_term_adds_to_what() -> None:
    added = {"alone": 0.0, "+cmi": 1.0, "+mim": -0.5, "+both": 2.0}
    stored: dict[str, Any] = {"mnist dm strengths": CHOSEN}
    for seed in (0, 1):
        for arm, points in added.items():
            # What a term adds differs by one point between the two seeds.
            mean = 90.0 + seed + points + (0.0 if arm == "alone" else seed)
            stored[f"mnist dm {arm} seed {seed}"] = {"accuracy": {"mean": mean}}
    half = float(stats.t.ppf(0.975, 1)) * math.sqrt(0.5) / math.sqrt(2)
    *_, row = mim_cmi.table(stored)
    cells = " | ".join(f"{points + 0.5:+.1f} ± {half:.1f}" for points in (1.0, -0.5, 2.0))
    assert row == f"| mnist | `dm` | 300 | 90.5 ± 0.7 | {cells} | 2 |"

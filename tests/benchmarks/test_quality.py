"""Studies keep what their jobs arrived at, and several processes share one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import quality, report
from benchmarks.quality import StudyFile, run_study
from benchmarks.studies import STUDIES
from ddcore.spec import parse


def job(seed: int) -> dict[str, Any]:
    return {
        "dataset": "digits",
        "ipc": 1,
        "seed": seed,
        "network": {"name": "convnet", "width": 8},
        "method": {"name": "dm", "iterations": 2 + seed, "batch_real": 8},
        "metrics": {"probe": "random"},
        "evaluation": {"repeats": 2, "epochs": 2},
        "compile": "off",
    }


def job_names() -> tuple[str, str]:
    return "digits ipc 1 dm seed 0", "digits ipc 1 dm seed 1"


@pytest.fixture(autouse=True)
def study(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A study of two jobs whose results belong to the test; its file."""
    for module in (quality, report):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
        monkeypatch.setattr(module, "STUDIES", {"tiny": dict(zip(job_names(), map(job, (0, 1)), strict=True))})
    monkeypatch.setenv("DD_DATA_ROOT", str(tmp_path))
    return tmp_path / "quality" / "tiny.json"


@pytest.mark.parametrize(
    "fields", [pytest.param(fields, id=f"{s} {n}") for s, jobs in STUDIES.items() for n, fields in jobs.items()]
)
def test_every_job_of_a_study_is_a_valid_one(fields: dict[str, Any]) -> None:
    assert parse(fields).dataset in ("cifar10", "mnist")


def test_a_study_stores_its_jobs_and_then_only_what_is_missing(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier, missing = job_names()
    StudyFile("tiny", tmp_path).add(earlier, {"stored": "before"})
    run_study("tiny", tmp_path / "cache", "", missing=True)
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith(f"tiny: {missing}: ")
    jobs = json.loads(study.read_text())["jobs"]
    assert jobs[earlier] == {"stored": "before"}
    stored = jobs[missing]
    assert stored["job"] == job(1)
    assert len(stored["accuracy"]["values"]) == 2
    assert [step for step, _ in stored["curves"]["loss"]] == [1, 3]
    assert stored["minutes"]["whole"] >= stored["minutes"]["distilling"]


def test_a_job_that_one_process_runs_is_left_to_it(tmp_path: Path) -> None:
    ours, theirs = StudyFile("tiny", tmp_path), StudyFile("tiny", tmp_path)
    lock = ours.claim("a")
    assert lock is not None
    assert theirs.claim("a") is None
    assert theirs.claim("b") is not None
    lock.release()
    assert theirs.claim("a") is not None


def test_the_report_has_a_row_for_the_seeds_of_a_method(study: Path) -> None:
    def stored(seed: int, accuracy: float, control: float | None) -> dict[str, Any]:
        return {
            "job": job(seed),
            "accuracy": {"mean": accuracy, "std": 9.0, "networks": 2},
            "random": control and {"mean": control, "std": 9.0, "networks": 2},
            "probe": {"mi_lower_bound": 1.0, "cmi": 0.05, "network": ("teacher", "random")[seed]},
            "core_minutes": {"distilling": 1.0 + seed / 4} | ({"pretraining": 0.5} if seed else {}),
            "peak_mib": 1000 + seed,
        }

    study.parent.mkdir()
    jobs = dict(zip(job_names(), (stored(0, 80.0, 70.0), stored(1, 82.0, None)), strict=True))
    study.write_text(json.dumps({"jobs": jobs}))
    head, _, row = report.table(["tiny"]).splitlines()
    assert head.count("|") == row.count("|")
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        "`tiny`", "`digits ipc 1 dm seed`", "", "81.0 ± 1.4", "70.0", "1.00", "0.050", "2", "0.5",
        "1.0 to 1.2", "1,001",
    ]  # fmt: skip


def test_the_report_quotes_what_was_published() -> None:
    assert report.Row("any", "cifar10 ipc 10 dm", []).published() == "48.9 ± 0.6"
    assert report.Row("any", "cifar10 ipc 3 dm", []).published() == ""

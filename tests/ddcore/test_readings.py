"""Every number that a run reports is in the catalogue of readings."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ddcore
from ddcore import engine
from ddcore.spec import parse
from ddcore.spec.readings import known
from tests.ddcore.recorder import Recorder

pytestmark = pytest.mark.usefixtures("plain_map")

SMALL: dict[str, Any] = {
    "dataset": "digits",
    "ipc": 2,
    "network": {"name": "convnet", "width": 4, "depth": 2},
    "metrics": {"every": 1, "probe": "random"},
    "evaluation": {"repeats": 0},
}
TEACHER = {"network": {"name": "convnet", "width": 4, "depth": 2}, "epochs": 1}
TERMS = [
    {"name": "mim", "weight": 1.0, "projection": 4},
    {"name": "cmi", "relative": 0.1, "teacher": TEACHER},
    {"name": "iid", "weight": 1.0, "teacher": TEACHER},
    {"name": "bacon", "weight": 0.1},
]
JOBS: dict[str, dict[str, Any]] = {
    "dm with every regulariser": {"method": {"name": "dm", "iterations": 1, "batch_real": 8}, "regularizers": TERMS},
    "idm": {"method": {"name": "idm", "iterations": 1, "batch_real": 8}},
    "cafe": {"method": {"name": "cafe", "iterations": 1, "batch_real": 8}},
    "ncfm": {"method": {"name": "ncfm", "iterations": 1, "batch_real": 8, "pairs": {"count": 1, "epochs": 1}}},
}


@pytest.mark.parametrize("name", JOBS)
def test_what_a_job_reports_is_known(name: str, tmp_path: Path, cache: Path) -> None:
    seen = Recorder()
    engine.run(parse({**SMALL, **JOBS[name]}), tmp_path / "out", run_dir=tmp_path, cache=cache, callback=seen)
    reported = {reading for values in seen.metrics.values() for reading in values}
    assert {"loss", "mi_lower_bound", "cmi"} < reported
    assert {reading for reading in reported if known(reading) is None} == set()


def written_in(package: str) -> Iterator[str]:
    """Names of the readings that each ``backward`` and ``advance`` of a package spells out."""
    for path in sorted((Path(ddcore.__file__).parent / package).rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(function, ast.FunctionDef) and function.name in ("backward", "advance"):
                returned = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
                for node in (node for one in returned for node in ast.walk(one)):
                    if isinstance(node, ast.Dict):
                        keys = (key.value for key in node.keys if isinstance(key, ast.Constant))
                        yield from (key for key in keys if isinstance(key, str))


@pytest.mark.parametrize(("package", "examples"), [("methods", {"penalty", "lr"}), ("regularizers", {"loss/mim"})])
def test_what_the_sources_report_is_known(package: str, examples: set[str]) -> None:
    names = set(written_in(package))
    assert examples <= names
    assert {name for name in names if known(name) is None} == set()

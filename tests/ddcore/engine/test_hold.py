"""Runs that are held at some steps and go on later: the same images as without, whatever the method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ddcore import engine
from ddcore.errors import Held, Interrupted
from ddcore.spec import parse
from tests.ddcore.recorder import Recorder

DURING = {"at": [0, 2, 6], "epochs": 2, "networks": 2, "held_out": True}


def job(method: dict[str, Any], during: dict[str, Any]) -> dict[str, Any]:
    return {
        "dataset": "digits", "ipc": 1, "method": method, "network": {"name": "convnet", "width": 8}, "compile": "off",
        "metrics": {"every": 4, "probe": "random"},
        "evaluation": {"repeats": 1, "epochs": 2, "audit": False, "during": during},
    }  # fmt: skip


def run(spec: dict[str, Any], folder: Path, cache: Path, hold_at: int | None) -> Recorder:
    said = Recorder()
    engine.run(parse(spec), folder / "out", run_dir=folder, cache=cache, callback=said, hold_at=hold_at)
    return said


DM = {"name": "dm", "iterations": 6, "batch_real": 16}


def test_held_twice_it_delivers_what_it_would_have_at_once(tmp_path: Path, cache: Path) -> None:
    spec = job(DM, DURING)
    seen: dict[int, dict[str, float]] = {}
    for hold_at in (2, 6):
        said = Recorder()
        with pytest.raises(Held) as held:
            engine.run(
                parse(spec), tmp_path / "held" / "out", run_dir=tmp_path / "held", cache=cache, callback=said,
                hold_at=hold_at,
            )  # fmt: skip
        assert held.value.step == hold_at
        assert held.value.checkpoint is not None
        assert not (tmp_path / "held" / "out").exists()
        assert "accuracy/validation" in said.metrics[hold_at]
        seen |= said.metrics
    seen |= run(spec, tmp_path / "held", cache, None).metrics
    at_once = run(spec, tmp_path / "at once", cache, None)
    assert seen == at_once.metrics
    files = [(tmp_path / name / "out" / "distilled.safetensors").read_bytes() for name in ("held", "at once")]
    assert files[0] == files[1]


def test_a_coreset_is_held_at_its_start(tmp_path: Path, cache: Path) -> None:
    spec = job({"name": "random"}, {**DURING, "at": [0]})
    said = Recorder()
    with pytest.raises(Held):
        engine.run(parse(spec), tmp_path / "out", run_dir=tmp_path, cache=cache, callback=said, hold_at=0)
    assert "accuracy/validation" in said.metrics[0]
    assert run(spec, tmp_path, cache, None).metrics
    assert (tmp_path / "out" / "distilled.safetensors").exists()


def test_a_method_that_is_done_early_is_scored_and_held(tmp_path: Path, cache: Path) -> None:
    cafe = {"name": "cafe", "iterations": 500, "networks": 1, "max_image_steps": 3, "batch_real": 8, "query_images": 8}
    spec = job(cafe, {**DURING, "at": [500]})
    said = Recorder()
    with pytest.raises(Held) as held:
        engine.run(parse(spec), tmp_path / "out", run_dir=tmp_path, cache=cache, callback=said, hold_at=500)
    assert 0 < held.value.step < 500
    assert "accuracy/validation" in said.metrics[held.value.step]


def test_to_hold_is_to_be_interrupted() -> None:
    assert issubclass(Held, Interrupted)

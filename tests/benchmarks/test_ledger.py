"""A published preset is run in sittings, and stored beside the published figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ledger
from benchmarks.ledger import Sitting, run
from ddcore.spec.presets import Preset, Published, all_presets

JOB: dict[str, Any] = {
    "dataset": "digits",
    "ipc": 1,
    "method": {"name": "dm", "iterations": 4},
    "network": {"name": "convnet", "width": 8},
    "metrics": {"probe": "random"},
    "evaluation": {"repeats": 1, "epochs": 2},
    "compile": "off",
}


@pytest.fixture
def preset(monkeypatch: pytest.MonkeyPatch) -> Preset:
    """A published one that takes a second."""
    published = Published(accuracy=50, std=1, tolerance=3, reading="from_memory", source="nobody")
    small = Preset(name="paper/small", title="Small", citation="nobody", job=JOB, published=published, measured=None)
    monkeypatch.setattr("ddcore.spec.presets.all_presets", lambda: {**all_presets(), small.name: small})
    return small


def test_a_run_is_continued_by_the_next_sitting(preset: Preset, tmp_path: Path) -> None:
    assert run(preset, tmp_path, Sitting(minutes=0)) is None
    entry = run(preset, tmp_path, Sitting())
    assert entry is not None
    assert entry["steps"] == {"taken": 4, "of": 4}
    assert entry["sittings"] == 2
    assert entry["published"]["accuracy"] == 50
    assert 0 < entry["accuracy"]["mean"] <= 100
    assert json.dumps(entry)


def test_a_long_run_says_how_far_it_is(
    preset: Preset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ledger, "TELL_S", 0.0)
    run(preset, tmp_path, Sitting())
    assert {"distilling 4 of 4", "evaluating 1 of 6"} <= {*capsys.readouterr().out.splitlines()}


def test_images_are_scored_as_they_are(preset: Preset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(preset, tmp_path, Sitting(minutes=0)) is None
    entry = run(preset, tmp_path, Sitting(as_it_is=True))
    assert entry is not None
    assert entry["steps"]["taken"] < 4
    assert 0 < entry["accuracy"]["mean"] <= 100

    monkeypatch.setattr(ledger, "LEDGER", tmp_path / "stored")
    ledger.LEDGER.mkdir()
    (ledger.LEDGER / "small.json").write_text(json.dumps(entry))
    row = ledger.table().splitlines()[2]
    assert row.startswith("| `paper/small` | 50.0 ± 1.0 | ")
    assert f"| {entry['steps']['taken']} of 4 |" in row

    (ledger.LEDGER / "small.json").write_text(json.dumps(entry | {"published": None}))
    assert ledger.table().splitlines()[2].startswith("| `paper/small` |  | ")

"""Quick presets are measured beside the images that they start from."""

from __future__ import annotations

import pytest

from benchmarks.quick import measure
from ddcore import parse


@pytest.mark.parametrize("method", ["dm", "herding"])
def test_a_preset_is_measured_beside_its_start(method: str) -> None:
    small = {
        "network": {"name": "convnet", "width": 8},
        "metrics": {"probe": "random"},
        "evaluation": {"repeats": 1, "epochs": 2},
        "compile": "off",
    }
    fields = {"preset": f"quick/{method}-digits", **small}
    if method == "dm":
        fields["method"] = {"iterations": 2}
    spec = parse(fields)
    measured = measure(spec)
    assert measured["seconds"] > 0
    assert 0 < measured["accuracy"]["mean"] <= 100
    assert ("start" in measured) == (method == "dm")

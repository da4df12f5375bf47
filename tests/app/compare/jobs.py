"""What jobs of these tests are, and what came of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from ddcore.spec import parse


def spec_of(**fields: Any) -> dict[str, Any]:
    body = {"dataset": "digits", "ipc": 2, "method": {"name": "dm", "iterations": 100}, **fields}
    return parse(body).model_dump(mode="json")


def score(*values: float) -> dict[str, Any]:
    return {
        "mean": statistics.fmean(values), "std": statistics.pstdev(values), "networks": len(values), "values": values,
    }  # fmt: skip


def results(accuracy: Sequence[float], digest: str | None = None, **controls: Sequence[float]) -> dict[str, Any]:
    probe = {"network": "teacher", "temperature": 0.1} | ({"digest": digest} if digest else {})
    return {
        "accuracy": score(*accuracy),
        "controls": {name: score(*values) for name, values in controls.items()},
        "probe": probe,
    }

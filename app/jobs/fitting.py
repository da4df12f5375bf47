"""The changes nearest to what a user asked for with which a job fits, each found by predicting the changed job."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.costs.prediction import DeviceClass
from app.costs.spans import Prediction
from app.jobs.estimate import Costing
from ddcore.spec import JobSpec, SpecError

TUNABLE = (
    ("method", "iterations"),
    ("method", "experts", "count"),
    ("method", "batch_real"),
    ("method", "base", "batch_real"),
    ("ipc",),
    ("evaluation", "repeats"),
)
"""Whole numbers that cost grows with."""
Parse = Callable[[Mapping[str, Any]], JobSpec]


def nearest(costing: Costing, classes: Sequence[DeviceClass], parse: Parse, fits: Callable[[Prediction], bool]) -> str:
    """The largest value of each field with which a job fits while the others stay, in words; nothing where none does.

    Args:
        costing: the job.
        classes: kinds of device that it may run on.
        parse: reads a changed specification; raises ``SpecError`` where it cannot be run.
        fits: whether a prediction does.
    """

    def fit(path: Sequence[str], value: int) -> bool:
        try:
            spec = parse(changed(costing.spec, path, value))
        except SpecError:
            return False
        predicted = costing.of(spec).predicted
        return any(fits(predicted[name]) for name in classes if name in predicted)

    found = [(path, _largest(costing.spec, path, fit)) for path in TUNABLE]
    ways = [f"`{'.'.join(path)}` of at most {value:,}" for path, value in found if value is not None]
    return f"it should fit with {' or '.join(ways)}; otherwise " if ways else ""


def _largest(spec: JobSpec, path: Sequence[str], fit: Callable[[Sequence[str], int], bool]) -> int | None:
    """The largest whole number of at least 1 below the present one that fits; ``None`` where there is none."""
    present: Any = spec.model_dump(mode="json")
    for name in path:
        present = present.get(name) if isinstance(present, Mapping) else None
    if not isinstance(present, int) or present <= 1 or not fit(path, 1):
        return None
    low, high = 1, present
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fit(path, middle) else (low, middle)
    return low


def changed(spec: JobSpec, path: Sequence[str], value: int) -> dict[str, Any]:
    """A specification with one field changed.

    >>> from ddcore.spec import parse
    >>> changed(parse({"dataset": "digits", "ipc": 2, "method": "dm"}), ("ipc",), 7)["ipc"]
    7
    """
    body = spec.model_dump(mode="json")
    inner = body
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return body

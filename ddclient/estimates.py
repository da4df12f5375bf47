"""What a job should cost, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ddclient.live import duration
from ddclient.output import summary

DEVICES = {"cpu": "a CPU", "cuda": "a GPU"}
GB = 1e9


def text_of(validation: Mapping[str, Any]) -> str:
    """Estimate and warnings of a job, one a line.

    Args:
        validation: what ``Client.validate`` returns.

    >>> print(text_of({"warnings": ["`evaluation.repeats` is 0"], "estimate": None}))
    estimate  none: the size of the dataset is not known beforehand
    warning   `evaluation.repeats` is 0
    """
    warnings = (f"warning   {text}" for text in validation["warnings"])
    return "\n".join([*_estimate(validation.get("estimate")), *warnings])


def report(validation: Mapping[str, Any]) -> str:
    """The job in a line, and the same.

    Args:
        validation: what ``Client.validate`` returns.
    """
    return f"valid     {summary(validation['spec'])}\n{text_of(validation)}"


def _estimate(found: Mapping[str, Any] | None) -> Iterator[str]:
    if found is None:
        yield "estimate  none: the size of the dataset is not known beforehand"
        return
    for device, seconds in found["seconds"].items():
        span = f"{duration(seconds['low'])} to {duration(seconds['high'])}"
        peak = found.get("peak_bytes", {}).get(device)
        memory = f", {peak / GB:.1f} GB of memory" if peak else ""
        yield f"estimate  on {DEVICES.get(device, device)} about {duration(seconds['expected'])} ({span}){memory}"
        yield f"          {seconds['basis']}"

"""What a job should cost, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ddclient.live import duration
from ddclient.output import summary
from ddcore.spec.words import memory

DEVICES = {"cpu": "a CPU", "cuda": "a GPU"}


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
    there = found.get("available") or list(found["seconds"])
    seconds = {device: each for device, each in found["seconds"].items() if device in there}
    bases = [each["basis"] for each in seconds.values()]
    for number, (device, each) in enumerate(seconds.items()):
        peak = found.get("peak_bytes", {}).get(device)
        needed = f", {memory(peak)} of memory" if peak else ""
        yield f"estimate  on {DEVICES.get(device, device)} {_span(each)}{needed}"
        if each["basis"] not in bases[number + 1 :]:
            yield f"          {each['basis']}"


def _span(seconds: Mapping[str, Any]) -> str:
    """The likely time and the span around it; nobody asks for parts of a second.

    >>> _span({"low": 0.01, "expected": 0.03, "high": 0.1}), _span({"low": 0.3, "expected": 2.0, "high": 80.0})
    ('less than 1 s', 'about 2 s (at most 1 min 20 s)')
    """
    low, likely, high = (seconds[name] for name in ("low", "expected", "high"))
    if high < 1:
        return "less than 1 s"
    span = f"at most {duration(high)}" if low < 1 else f"{duration(low)} to {duration(high)}"
    return f"about {duration(max(likely, 1))} ({span})"

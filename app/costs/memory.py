"""How much memory a job should take, by what others took. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from app.costs.likeness import Keys
from app.costs.measured import NEWEST, Measured
from ddcore.spec.workload import Workload

MEMORY_SPREAD = 1.3
"""Factor that the memory of a job may be below the prediction."""
PROCESS_BYTES = 930_000_000
"""What the process of a small job on a CPU takes beyond the model (``python -m benchmarks.estimates``)."""


def least_bytes(peak: int, workload: Workload, measured: Sequence[str]) -> int:
    """What a job takes at least; of a machine that nothing was measured on, its tensors alone are sure."""
    return round((peak if measured else workload.peak_bytes) / MEMORY_SPREAD)


def peak_bytes(workload: Workload, keys: Mapping[str, Keys], measured: Sequence[Measured]) -> int:
    """Most memory: that of the model, and what the likest jobs took beyond it."""
    steps = keys["distilling"]
    for level, key in enumerate(steps):
        like = [job for job in measured if job.keys("distilling")[level : level + 1] == (key,)]
        if like:
            break
    else:
        like = list(measured)
    like = like[:NEWEST]
    usual = PROCESS_BYTES if workload.machine.device_class == "cpu" else 0
    beyond = median(job.beyond_model for job in like) if like else usual
    return max(0, round(workload.peak_bytes + beyond))

"""How fast machines are, roughly: only to judge whether a job is long enough to compile something for it."""

from __future__ import annotations

from collections.abc import Mapping

EAGER_MACS_PER_S: Mapping[str, float] = {"cpu": 30e9, "cuda": 20e12}
"""Rough speed of passes that are not compiled, in multiply-accumulates a second.

On CPUs that of one fast core, or of two slow ones. A job that is compiled too early loses a part of the warm-up, and
one that is compiled too late loses the more, the slower its machine is.
"""

WARM_UP_S = 60.0
"""Eager seconds from which compilation pays: it costs 10 to 20 s for each of a run's few graphs."""

OWN_KERNELS_S = 10.0
"""Eager seconds from which our own kernels pay: they halve them, and compiling takes two seconds, once for a cache."""


def eager_seconds(macs: float, device: str) -> float:
    """Seconds that so many multiply-accumulates take about where passes are not compiled.

    Args:
        macs: multiply-accumulates of a job.
        device: ``cpu`` or ``cuda``.
    """
    return macs / EAGER_MACS_PER_S[device]


def earns_compilation(macs: float, device: str) -> bool:
    """Whether a job of so much work is long enough to be compiled; see :func:`eager_seconds`.

    >>> earns_compilation(1e12, "cpu"), earns_compilation(2e12, "cpu")
    (False, True)
    """
    return eager_seconds(macs, device) >= WARM_UP_S


def earns_own_kernels(macs: float, device: str) -> bool:
    """Whether uncompiled passes of a job of so much work are worth our own kernels, which are for CPUs.

    >>> earns_own_kernels(1e11, "cpu"), earns_own_kernels(1e12, "cpu"), earns_own_kernels(1e16, "cuda")
    (False, True, False)
    """
    return device == "cpu" and eager_seconds(macs, device) >= OWN_KERNELS_S

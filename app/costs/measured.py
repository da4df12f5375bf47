"""Measurements in memory: what predictions are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

NEWEST = 5
"""Like measurements that count."""


@dataclass(frozen=True)
class MeasuredPhase:
    """A phase of a job as it went.

    Attributes:
        seconds: in all.
        warm_up: those that its first unit took beyond the others.
        flop: floating-point operations of its work; 0 where its length does not depend on any.
        passes: images through networks.
        keys: from the most specific to the least, see :mod:`app.costs.likeness`.
    """

    seconds: float
    warm_up: float
    flop: float
    passes: float
    keys: tuple[str, ...]

    @property
    def per_flop(self) -> float | None:
        """Seconds an operation after the warm-up; nothing where there are no operations."""
        return max(self.seconds - self.warm_up, 0.0) / self.flop if self.flop > 0 else None


@dataclass(frozen=True)
class Measured:
    """A job as it went.

    Attributes:
        device: name of the machine.
        precision: fp32 or bf16.
        compiled: whether passes were compiled.
        method: its name.
        dataset: name of a published set, ``None`` for any other.
        networks: digests of the networks that the cache has since.
        phases: by name; ``around`` is what passed before the first phase and after the last.
        model_bytes: most memory by the cost model.
        peak_bytes: most memory as it was.
    """

    device: str
    precision: str
    compiled: bool
    method: str
    dataset: str | None
    networks: frozenset[str]
    phases: Mapping[str, MeasuredPhase]
    model_bytes: int
    peak_bytes: int

    def keys(self, phase: str) -> tuple[str, ...]:
        """What tells like phases; nothing where the job had no such phase."""
        return self.phases[phase].keys if phase in self.phases else ()

    @property
    def beyond_model(self) -> int:
        """Bytes that the job took and the model does not count: the process itself, most of all."""
        return self.peak_bytes - self.model_bytes

"""What a prediction is: spans of seconds for the phases of a job, and its memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Span:
    """Seconds: the likely value, and a span that the true one should lie in.

    Attributes:
        level: how like the measured phases are, 0 the same, ``None`` where none was measured on this kind of device.
        jobs: how many of them there are.
    """

    low: float
    expected: float
    high: float
    level: int | None = None
    jobs: int = 0

    def longer(self, high: float) -> Span:
        """The same with a higher end."""
        return replace(self, high=self.high + high)


NOTHING = Span(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Prediction:
    """What a job should take on a kind of device.

    Attributes:
        phases: seconds by phase, with ``around``: before the first and after the last.
        cached: whether earlier jobs have trained networks that it needs, so that only the high end counts that work.
        peak_bytes: most memory: of the process on a CPU, of tensors on an accelerator.
        low_bytes: what it takes at least, if the model is as far off as it has been seen to be.
        devices: names of the machines that were measured.
    """

    phases: Mapping[str, Span]
    cached: bool
    peak_bytes: int
    low_bytes: int
    devices: tuple[str, ...]

    @property
    def calibrated(self) -> bool:
        """Whether any job was measured on this kind of device."""
        return bool(self.devices)

    @property
    def total(self) -> Span:
        """Of all phases."""
        spans = self.phases.values()
        return Span(*(sum(getattr(span, name) for span in spans) for name in ("low", "expected", "high")))

    @property
    def main(self) -> str:
        """The phase that takes longest."""
        return max(self.phases, key=lambda phase: self.phases[phase].expected)

"""How a run talks to the outside: one observer, told what happens and asked whether to go on."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from ddcore.spec.cost import Cost

Phase = Literal["validating", "loading", "pretraining", "distilling", "evaluating", "finalizing"]


class Stop(Enum):
    """How a run is asked to end early."""

    CHECKPOINT = "checkpoint"
    """Save the state and raise :class:`ddcore.errors.Interrupted`; the run can be resumed."""
    FINALIZE = "finalize"
    """Write the bundle of the images as they are, unscored, and return normally."""


class Callback:
    """Observer of a run; the methods do nothing here, so override those you need.

    Calls come from the thread of the run and should return quickly.
    """

    def on_phase(self, phase: Phase, total: int | None) -> None:
        """A phase begins; ``total`` counts its units of work where they are known."""

    def on_plan(self, cost: Cost, compute: Mapping[str, Any]) -> None:
        """The dataset is there: what the run is going to cost, and what it computes with (device, precision, …)."""

    def on_progress(self, done: int, total: int) -> None:
        """``done`` of ``total`` units of the current phase are finished (steps, while distilling)."""

    def on_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Readings after ``step`` steps; values may be NaN or infinite."""

    def on_snapshot(self, step: int, png: bytes) -> None:
        """A picture of the synthetic set after ``step`` steps, one row of tiles per class."""

    def on_checkpoint(self, step: int, path: Path, sha256: str) -> None:
        """The state after ``step`` steps is safely on disk."""

    def on_resumed(self, step: int, exact: bool) -> None:
        """The run continues after ``step`` steps; ``exact`` promises the bytes of an undisturbed run."""

    def on_log(self, level: Literal["info", "warning"], message: str) -> None:
        """A remark for the user."""

    def should_stop(self) -> Stop | None:
        """Asked when the steps begin, and after every unit of work."""
        return None

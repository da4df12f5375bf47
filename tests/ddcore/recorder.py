"""An observer of a run, for tests that ask what it says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ddcore.runtime.callback import Callback, Phase, Stop


class Recorder(Callback):
    """Keeps everything a run says, and stops it after a given step."""

    def __init__(self, stop_after: int | None = None, how: Stop = Stop.CHECKPOINT) -> None:
        self.metrics: dict[int, dict[str, float]] = {}
        self.phases: list[str] = []
        self.snapshots: dict[int, bytes] = {}
        self.checkpoints: list[int] = []
        self.resumed: list[tuple[int, bool]] = []
        self.logs: list[str] = []
        self.done = 0
        self._stop_after, self._how = stop_after, how

    def on_phase(self, phase: Phase, total: int | None) -> None:
        self.phases.append(phase)

    def on_progress(self, done: int, total: int) -> None:
        if self.phases[-1] == "distilling":
            self.done = done

    def on_metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.metrics.setdefault(step, {}).update(values)

    def on_snapshot(self, step: int, png: bytes) -> None:
        self.snapshots[step] = png

    def on_checkpoint(self, step: int, path: Path, sha256: str) -> None:
        assert sha256 in path.name
        self.checkpoints.append(step)

    def on_resumed(self, step: int, exact: bool) -> None:
        self.resumed.append((step, exact))

    def on_log(self, level: str, message: str) -> None:
        self.logs.append(message)

    def should_stop(self) -> Stop | None:
        reached = self._stop_after is not None and self.phases[-1] == "distilling" and self.done >= self._stop_after
        return self._how if reached else None

"""The engine in this process, without a service: how it is followed and how it is stopped."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Literal

from ddclient.live import Display, RunView
from ddcore.runtime.callback import Callback, Phase, Stop

REDRAW_S = 0.25


class EngineView(Callback):
    """Shows a run of the engine; once ``stop`` is set, asks it to save its state and end.

    Args:
        view: what is shown.
        screen: where.
    """

    def __init__(self, view: RunView, screen: Display) -> None:
        self.stop = False
        self._view = view
        self._screen = screen
        self._drawn_at = 0.0
        self._phase_at = time.monotonic()
        self._phase_from: int | None = None
        view.state = "running"

    def on_phase(self, phase: Phase, total: int | None) -> None:
        """Start the bar again."""
        self._view.phase, self._view.done, self._view.total, self._view.eta_s = phase, 0, total, None
        self._phase_at, self._phase_from = time.monotonic(), None
        self._draw(now=True)

    def on_progress(self, done: int, total: int) -> None:
        """Move the bar; the time left follows the mean speed of the phase in this process."""
        view = self._view
        view.done, view.total = done, total
        if self._phase_from is None:
            self._phase_from = done
        elif done > self._phase_from:
            elapsed = time.monotonic() - self._phase_at
            view.eta_s = elapsed / (done - self._phase_from) * (total - done)
        self._draw()

    def on_metrics(self, step: int, values: Mapping[str, float]) -> None:  # noqa: ARG002 - drawn in order
        """Add to the curves."""
        for name, value in values.items():
            self._view.series.setdefault(name, []).append(float(value))
        self._draw()

    def on_resumed(self, step: int, exact: bool) -> None:
        """Say where the run goes on."""
        self._view.note = f"resumed after step {step}" + ("" if exact else "; other versions, so not bit for bit")
        self._draw(now=True)

    def on_log(self, level: Literal["info", "warning"], message: str) -> None:
        """Show the remark under the numbers."""
        self._view.note = message if level == "info" else f"warning: {message}"
        self._draw(now=True)

    def should_stop(self) -> Stop | None:
        """Save and end, once the user wants to."""
        return Stop.CHECKPOINT if self.stop else None

    def finish(self) -> None:
        """Show that the run has ended well."""
        self._view.state, self._view.phase, self._view.total, self._view.eta_s = "succeeded", None, None, None
        self._draw(now=True)

    def _draw(self, *, now: bool = False) -> None:
        if now or time.monotonic() - self._drawn_at >= REDRAW_S:
            self._screen.show(self._view)
            self._drawn_at = time.monotonic()


@contextmanager
def stop_on_signals(callback: EngineView) -> Iterator[None]:
    """Have the first Ctrl-C or SIGTERM stop the run after its step; a second one ends at once."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def request(_received: int, _frame: FrameType | None) -> None:
        callback.stop = True
        restore()

    for number in numbers:
        signal.signal(number, request)
    try:
        yield
    finally:
        restore()


def run_folder(out: Path) -> Path:
    """Where the checkpoints of a run into ``out`` are kept: beside it, so that the bundle stays clean.

    >>> run_folder(Path("results/digits")).as_posix()
    'results/digits.run'
    """
    resolved = out if out.name else out.resolve()
    return resolved.with_name(resolved.name + ".run")

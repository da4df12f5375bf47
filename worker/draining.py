"""How a worker learns that it is to shut down: a file for its pool processes, and SIGTERM."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

LOOK_EVERY_S = 1.0


class Asked:
    """Whether a worker is to hand its job back: it shuts down, or its operator drains it.

    Args:
        shuts_down: looked at each time.
        told: looked at once a second, since it asks the database.
    """

    def __init__(self, shuts_down: Callable[[], bool], told: Callable[[], bool]) -> None:
        self._shuts_down, self._told = shuts_down, told
        self._look_at = 0.0
        self._drains = False

    def __call__(self) -> bool:
        """Whether it is."""
        now = time.monotonic()
        if not self._drains and now >= self._look_at:
            self._look_at = now + LOOK_EVERY_S
            self._drains = self._told()
        return self._drains or self._shuts_down()


class Drain:
    """The drain flag of one worker.

    The main process raises it when Celery begins a warm shutdown. The pool process, whose task is running,
    looks at it; a service manager that signals every process of the worker reaches it directly.

    Args:
        home: the service's state folder.
        worker_id: the worker.
    """

    def __init__(self, home: Path, worker_id: str) -> None:
        self._flag = home / "workers" / f"{worker_id}.drain"
        self._signalled = False

    def begin(self) -> None:
        """Raise the flag."""
        self._flag.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._flag.touch()

    def end(self) -> None:
        """Remove the flag of a worker that is gone."""
        self._flag.unlink(missing_ok=True)

    def __call__(self) -> bool:
        """Whether the worker is to shut down."""
        return self._signalled or self._flag.exists()

    @contextmanager
    def heeding_sigterm(self) -> Iterator[None]:
        """Take SIGTERM for the flag while a job runs, instead of dying of it."""
        before = signal.signal(signal.SIGTERM, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signalled = True

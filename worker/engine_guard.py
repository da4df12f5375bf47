"""What every engine process needs before it does anything else: not to outlive its parent, and to hear stops."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from types import FrameType

from ddcore.runtime.callback import Stop

MEMORY_VARIABLE = "DD_ENGINE_MEMORY_BYTES"
"""Environment variable with the bytes of main memory that an engine may have."""
PARENT_VARIABLE = "DD_PARENT_PID"
"""Process that started the engine."""
_PR_SET_PDEATHSIG = 1
_LOOK_S = 1.0


def die_with_parent() -> None:
    """Have this process killed when the process that started it is gone.

    On Linux the kernel does it, at once. Everywhere, a thread looks as well: the parent may have died
    before the kernel was asked.
    """
    parent = int(os.environ.get(PARENT_VARIABLE, os.getppid()))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=_watch, args=(parent,), name="parent-watch", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)


class StopRequest:
    """The supervisor's wish to end the run, heard as a signal: SIGTERM saves, SIGUSR1 finalises."""

    def __init__(self) -> None:
        self.wish: Stop | None = None

    def listen(self) -> None:
        """Install the signal handlers; the wish that came last counts, except that a finalisation gives way."""
        signal.signal(signal.SIGTERM, self._save)
        signal.signal(signal.SIGUSR1, self._finalize)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _save(self, _number: int, _frame: FrameType | None) -> None:
        self.wish = Stop.CHECKPOINT

    def _finalize(self, _number: int, _frame: FrameType | None) -> None:
        if self.wish is None:
            self.wish = Stop.FINALIZE

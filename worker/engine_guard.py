"""What every engine process needs before it does anything else: not to outlive its parent, and to hear stops."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType

from ddcore.runtime.callback import Stop

MEMORY_VARIABLE = "DD_ENGINE_MEMORY_BYTES"
"""Environment variable with the bytes of main memory that an engine may have."""
PARENT_VARIABLE = "DD_PARENT_PID"
"""Process that started the engine."""
WISHES = (signal.SIGTERM, signal.SIGUSR1)
"""Signals by which the supervisor asks an engine to end."""
_PR_SET_PDEATHSIG = 1
_LOOK_S = 1.0


def die_with_parent() -> None:
    """Have this process killed when the process that started it is gone.

    On Linux the kernel does it, at once. Everywhere, a thread looks as well.
    """
    be_killed_with_parent()
    threading.Thread(target=_watch, args=(_parent(),), name="parent-watch", daemon=True).start()


def be_killed_with_parent() -> None:
    """On Linux, have the kernel kill this process with the thread that started it; end now if that is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != _parent():
        os._exit(1)


def _parent() -> int:
    return int(os.environ.get(PARENT_VARIABLE, os.getppid()))


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)


def kill_all(pid: int) -> None:
    """Kill a process with the group that it leads; also one that was forked just now and leads none yet."""
    for end in (os.killpg, os.kill):
        with suppress(ProcessLookupError):
            end(pid, signal.SIGKILL)


class StopRequest:
    """The supervisor's wish to end the run, heard as a signal: SIGTERM saves, SIGUSR1 finalises."""

    def __init__(self) -> None:
        self.wish: Stop | None = None

    def listen(self) -> None:
        """Install the signal handlers; the wish that came last counts, except that a finalisation gives way.

        Wishes that were held back until now are heard at once.
        """
        signal.signal(signal.SIGTERM, self._save)
        signal.signal(signal.SIGUSR1, self._finalize)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WISHES)

    def _save(self, _number: int, _frame: FrameType | None) -> None:
        self.wish = Stop.CHECKPOINT

    def _finalize(self, _number: int, _frame: FrameType | None) -> None:
        if self.wish is None:
            self.wish = Stop.FINALIZE

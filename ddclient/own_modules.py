"""Modules of the service, run in a process of their own: the client never imports the service."""

from __future__ import annotations

import subprocess
import sys


def run_module(module: str, *arguments: str, timeout_s: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run a module with this interpreter, and wait for its end.

    Args:
        module: its full name.
        *arguments: of its command line.
        timeout_s: seconds that it may take; any time by default.

    Raises:
        TimeoutExpired: it took longer, and was stopped.
    """
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(  # noqa: S603 - our own interpreter and modules
        command, capture_output=True, text=True, timeout=timeout_s, check=False
    )

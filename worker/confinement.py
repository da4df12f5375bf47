"""What a process may do that reads files which strangers have sent: little, and nothing beyond this machine.

It may use so much memory, write files of such a size, and open no connection: a fault in a decoder then costs one job.
"""

from __future__ import annotations

import ctypes
import logging
import platform
import resource
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_EPERM = 1
_AF_UNIX = 1
_LOAD, _EQUALS, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | _EPERM
_CALLS = {"x86_64": (0xC000003E, 41, 425), "aarch64": (0xC00000B7, 198, 425)}
"""The kernel's numbers of an architecture, of ``socket`` and of ``io_uring_setup``, by the machine's name."""
_LOOK_S = 0.2

_log = logging.getLogger(__name__)


def without_network() -> bool:
    """Refuse this process, and all that it starts, every socket but those within this machine's file system.

    Call it before other threads begin: they would keep what they have. It needs no privileges.

    Returns:
        Whether it is so now; only Linux on common machines can.
    """
    calls = _CALLS.get(platform.machine()) if sys.platform == "linux" else None
    if calls is None:
        return False
    architecture, socket, io_uring = calls
    rules = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUALS, 0, 6, architecture),  # a foreign calling convention would have other numbers: refused
        (_LOAD, 0, 0, _NUMBER_AT),
        (_EQUALS, 4, 0, io_uring),  # it opens sockets without the call
        (_EQUALS, 0, 2, socket),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_EQUALS, 0, 1, _AF_UNIX),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    code = b"".join(struct.pack("HBBI", *rule) for rule in rules)
    held = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(rules), ctypes.addressof(held))
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(library.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0) == 0)


def limit_files(most_bytes: int) -> None:
    """Let no file grow beyond a size, and write no memory image after a crash; writing more is an ``OSError``."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    most = most_bytes if hard == resource.RLIM_INFINITY else min(most_bytes, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def watch_memory(
    most_bytes: int, give_up: Callable[[], None], helpers: Callable[[], Iterable[int]] = lambda: ()
) -> None:
    """Call ``give_up`` in a thread of its own once this process and its helpers hold more memory than they may.

    Counted is what is their own: mapped files, of which a set has many gigabytes, are the kernel's to keep or drop.

    Args:
        most_bytes: how much they may hold together.
        give_up: what then happens.
        helpers: tells the numbers of the processes that work for this one.
    """
    if own_memory() is None:
        _log.warning("this system does not tell how much memory a process has; it is not limited")
        return
    arguments = (most_bytes, give_up, helpers)
    threading.Thread(target=_watch, args=arguments, name="memory-watch", daemon=True).start()


def prefer_for_killing() -> None:
    """Have the system end this process before others where memory runs short; nothing where it does not ask."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", "ascii")


def own_memory(process: int | None = None) -> int | None:
    """Bytes of memory that are a process's own (default: this one), or ``None`` where the system does not tell."""
    try:
        lines = Path(f"/proc/{process or 'self'}/status").read_text("ascii").splitlines()
    except OSError:
        return None
    own = [int(line.split()[1]) for line in lines if line.startswith("RssAnon:")]
    return own[0] * 1024 if own else None


def _watch(most_bytes: int, give_up: Callable[[], None], helpers: Callable[[], Iterable[int]]) -> None:
    # A helper that has ended meanwhile holds nothing.
    while sum(own_memory(process) or 0 for process in (None, *helpers())) <= most_bytes:
        time.sleep(_LOOK_S)
    give_up()

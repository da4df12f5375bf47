"""Deliberate failures at named points, for tests of what survives them; without ``DD_FAULT`` they cost nothing.

``DD_FAULT="finish.before:kill9"`` fails at the first passage of that point, ``"…:kill9:3"`` at the third;
several are joined by commas.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping


def _kill_group() -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _raise() -> None:
    raise RuntimeError("deliberate failure")


def _no_space() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


ACTIONS: Mapping[str, Callable[[], None]] = {
    "kill9": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "killgroup": _kill_group,
    "stop": lambda: os.killpg(os.getpgrp(), signal.SIGSTOP),
    "exit": lambda: os._exit(1),
    "abort": os.abort,
    "raise": _raise,
    "enospc": _no_space,
    "hang": lambda: time.sleep(3600),
}


def parse(text: str) -> dict[tuple[str, int], Callable[[], None]]:
    """Which passage of which point does what.

    Raises:
        ValueError: an unknown action, or not of the form ``point:action[:passage]``.

    >>> sorted(parse("claim.after:kill9,steps:exit:3"))
    [('claim.after', 1), ('steps', 3)]
    """
    plan = {}
    for part in filter(None, text.split(",")):
        point, action, passage = (*part.split(":"), "1")[:3] if part.count(":") in (1, 2) else ("", "", "")
        if action not in ACTIONS or not passage.isdigit():
            raise ValueError(f"DD_FAULT {part!r}: give point:action[:passage] with action one of {', '.join(ACTIONS)}")
        plan[point, int(passage)] = ACTIONS[action]
    return plan


_plan = parse(os.environ.get("DD_FAULT", ""))
_passages: Counter[str] = Counter()


def fault_point(name: str) -> None:
    """Fail here if ``DD_FAULT`` says so."""
    if not _plan:
        return
    _passages[name] += 1
    action = _plan.get((name, _passages[name]))
    if action is not None:
        action()

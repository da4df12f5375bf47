"""A study as it runs, on a terminal: a line for each rung, kept up to date or written as it changes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from ddclient import study_text
from ddclient.live import LINE_EVERY_S, STYLES
from ddclient.study_models import StudyDocument

if TYPE_CHECKING:
    from ddclient.study import Study

LOOK_S = 2.0
"""Longest wait for news, so that Ctrl-C and a dead service are noticed soon."""


def watch(
    study: Study,
    *,
    timeout: float | None = None,
    check: Callable[[], None] | None = None,
    console: Console | None = None,
) -> StudyDocument:
    """Show a study until it ends, is paused, or ``timeout`` seconds have passed.

    Args:
        study: the study.
        timeout: seconds, or ``None`` for no limit.
        check: called before every look; what it raises ends the watching.
        console: where to show it. Default: standard error.

    Returns:
        The study's last document.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    with _display(console or Console(file=sys.stderr)) as screen:
        study.refresh()
        while True:
            screen.show(study.document)
            left = LOOK_S if deadline is None else deadline - time.monotonic()
            if left <= 0 or study.document.finished or study.status == "paused":
                return study.document
            if check is not None:
                check()
            study.document = study.client.next_study(study.document, min(left, LOOK_S))


def lines(document: StudyDocument) -> list[str]:
    """A line for each rung that some trial has reached, with the final evaluation as the last."""
    found = [study_text.rung_line(document, rung) for rung in document.rungs if rung.trials]
    if document.winner is not None:
        found.append(_evaluation(document))
    return found


def _evaluation(document: StudyDocument) -> str:
    winner = document.winner
    if winner is None or winner.accuracy is None:
        return "evaluation of the winner: under way" if not document.finished else "evaluation of the winner: none"
    return f"evaluation of the winner: {study_text.spread(winner.accuracy.mean, winner.accuracy.deviation)}"


class _Screen(Protocol):
    def show(self, document: StudyDocument) -> None: ...


class _Redrawn:
    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, document: StudyDocument) -> None:
        style = f"bold {STYLES.get(document.status, 'blue')}"
        state = Text.assemble((document.status, style), (f"  {study_text.cost(document)}", "dim"))
        self._live.update(Group(state, *map(Text, lines(document))), refresh=True)


class _Written:
    """A line for each rung: when it is decided, and in between what the last one is at, now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._written: dict[int, str] = {}
        self._status = ""
        self._at = float("-inf")

    def show(self, document: StudyDocument) -> None:
        now, found = time.monotonic(), lines(document)
        due = now - self._at >= LINE_EVERY_S or document.finished or document.status != self._status
        settled = sum(rung.decided for rung in document.rungs)
        for place, line in enumerate(found):
            if line != self._written.get(place) and (due or place < settled):
                self._console.print(f"{document.status}: {line}", highlight=False, markup=False, soft_wrap=True)
                self._written[place], self._at = line, now
        self._status = document.status


@contextmanager
def _display(console: Console) -> Iterator[_Screen]:
    if not console.is_terminal:
        yield _Written(console)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield _Redrawn(live)

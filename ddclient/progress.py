"""How far a set or a score is, on a terminal: a bar; nothing where nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ddclient.uploads import Tell

_WORDS = {
    "sending": "sending",
    "queued": "waiting for a worker",
    "ingesting": "taking in",
    "loading": "loading the dataset",
    "reading": "reading the file",
    "pretraining": "training a teacher",
    "evaluating": "training networks",
    "finalizing": "writing",
    "paused": "paused",
    "cancelling": "stopping",
}


@contextmanager
def bar() -> Iterator[Tell]:
    """A bar on standard error, to be told what is going on."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as shown:
        task, doing = shown.add_task("preparing", total=None), ""

        def tell(what: str, done: int, total: int | None) -> None:
            nonlocal doing
            if what != doing:
                shown.reset(task, total=total, description=_WORDS.get(what, what))
                doing = what
            shown.update(task, completed=done, total=total)

        yield tell


def nothing(_what: str, _done: int, _total: int | None) -> None:
    """For when nobody wants to be told."""


def told(progress: bool | Tell) -> AbstractContextManager[Tell]:
    """What to tell: a function of the user's, a bar, or nobody."""
    if callable(progress):
        return nullcontext(progress)
    return bar() if progress else nullcontext(nothing)

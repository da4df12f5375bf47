"""A job as it runs, on a terminal: a panel that redraws itself, or plain lines where there is none."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ddclient.models import JobDocument, Plan
from ddcore.spec import DATASETS
from ddcore.spec.readings import HEADLINE, Reading, catalogue

if TYPE_CHECKING:
    from ddclient.job import Job

BLOCKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 40
LINE_EVERY_S = 5.0
"""Pause between two lines where the panel cannot be drawn."""
STYLES = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "expired": "red", "paused": "yellow"}


@dataclass
class RunView:
    """What is known about a run at one moment; its follower fills it in."""

    title: str
    classes: int | None = None
    state: str = "queued"
    phase: str | None = None
    done: int = 0
    total: int | None = None
    eta_s: float | None = None
    """Seconds until the phase ends."""
    plan: Plan | None = None
    """Of the whole job, where a service tells it."""
    series: dict[str, list[float]] = field(default_factory=dict)
    note: str | None = None

    def panel(self) -> Panel:
        """The run as a rich panel."""
        rows: list[Table | Text | Padding] = [self._headline()]
        if self.total:
            # a bar by itself does not end its line
            rows.append(Padding(ProgressBar(total=self.total, completed=self.done), 0))
        numbers = self._numbers()
        if numbers.row_count:
            rows.append(numbers)
        if self.note:
            rows.append(Text(self.note, style="dim"))
        return Panel(
            Group(*rows), title=Text(self.title), title_align="left", border_style=STYLES.get(self.state, "blue")
        )

    def line(self) -> str:
        """The run in one line, for logs."""
        parts = [self.state if self.phase is None else f"{self.state}: {self.phase}"]
        if self.total:
            parts.append(f"{self.done}/{self.total}")
        parts += self._outlook()
        parts += [f"{name} {self.series[name][-1]:.4g}" for name in HEADLINE if self.series.get(name)]
        return ", ".join(parts)

    def _headline(self) -> Text:
        headline = Text(self.state, style=f"bold {STYLES.get(self.state, 'blue')}")
        if self.phase:
            headline.append(f"  {self.phase}", style="default not bold")
        if self.total:
            headline.append(f"  {self.done}/{self.total}", style="default not bold")
        for text in self._outlook():
            headline.append(f"  {text}", style="dim not bold")
        return headline

    def _outlook(self) -> list[str]:
        """How far the whole job is, and how long it still takes."""
        if self.plan is None:
            return [] if self.eta_s is None else [f"about {duration(self.eta_s)} left"]
        whole = f"{self.plan.done:.0%} of the job"
        if self.plan.remaining_s is not None:
            return [whole, f"about {duration(self.plan.remaining_s)} left"]
        return [whole] if self.eta_s is None else [whole, f"about {duration(self.eta_s)} left in this phase"]

    def _numbers(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for name in HEADLINE:
            values = self.series.get(name)
            if not values:
                continue
            table.add_row(name, Text(sparkline(values), style="cyan"), self._number(catalogue()[name], values[-1]))
        return table

    def _number(self, reading: Reading, value: float) -> str:
        ceiling = reading.ceiling_with(self.classes)
        limit = "" if ceiling is None else f" of at most {ceiling:.3f}"
        return f"{value:.4g}{limit} {reading.unit}".rstrip()


class Display(Protocol):
    """Where a view is shown."""

    def show(self, view: RunView) -> None:
        """Draw the view as it is now."""


class _Redrawn:
    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, view: RunView) -> None:
        self._live.update(view.panel(), refresh=True)


class _Lines:
    """One line when state or phase changes, and every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: tuple[str, str | None] | None = None
        self._at = -math.inf

    def show(self, view: RunView) -> None:
        now, what = time.monotonic(), (view.state, view.phase)
        if what != self._last or now - self._at >= LINE_EVERY_S:
            self._console.print(view.line(), highlight=False, markup=False, soft_wrap=True)
            self._last, self._at = what, now


@contextmanager
def display(console: Console | None = None) -> Iterator[Display]:
    """Something to show a view on: a live panel on a terminal, lines elsewhere. Default: standard error."""
    console = console or Console(file=sys.stderr)
    if not console.is_terminal:
        yield _Lines(console)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield _Redrawn(live)


def watch(
    job: Job,
    *,
    timeout: float | None = None,
    check: Callable[[], None] | None = None,
    console: Console | None = None,
    pause_s: float = 0.5,
) -> JobDocument:
    """Show a job until it ends, is paused, or ``timeout`` seconds have passed.

    Args:
        job: the job.
        timeout: seconds, or ``None`` for no limit.
        check: called before every look; what it raises ends the watching.
        console: where to show it. Default: standard error.
        pause_s: seconds between two looks.

    Returns:
        The job's last document.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    view = RunView(job.id, classes_of(job.document.spec))
    with display(console) as screen:
        while True:
            if check is not None:
                check()
            job.refresh()
            update(view, job)
            screen.show(view)
            over = deadline is not None and time.monotonic() > deadline
            if over or job.document.finished or job.status == "paused":
                return job.document
            time.sleep(pause_s)


def update(view: RunView, job: Job) -> None:
    """Bring a view up to date with a job that has just been read."""
    document = job.document
    progress = document.progress
    view.state, view.phase = document.status, None if document.finished else document.phase
    view.done = progress.phase_done if progress else 0
    view.total = progress.phase_total if progress else None
    view.eta_s = progress.eta_s if progress else None
    view.plan = progress.plan if progress else None
    view.note = document.error.message if document.error else None
    if document.last_metrics:
        for name, points in job.metrics(HEADLINE, max_points=SPARK_WIDTH).items():
            view.series[name] = [math.nan if point.last is None else point.last for point in points]


def classes_of(spec: Mapping[str, object]) -> int | None:
    """Number of classes of the dataset of a specification, where it is known without loading it."""
    facts = DATASETS.get(str(spec.get("dataset")))
    return len(facts.classes) if facts else None


def sparkline(values: Sequence[float], width: int = SPARK_WIDTH) -> str:
    """The last ``width`` values as a row of blocks; what is not finite shows as a cross.

    >>> sparkline([0.0, 1.0, float("nan"), 0.5])
    '▁█✗▄'
    """
    shown = list(values[-width:])
    finite = [value for value in shown if math.isfinite(value)]
    if not finite:
        return "✗" * len(shown)
    low, high = min(finite), max(finite)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[int((v - low) * scale)] if math.isfinite(v) else "✗" for v in shown)


def duration(seconds: float) -> str:
    """A length of time for people.

    >>> duration(4.2), duration(75), duration(8000)
    ('4 s', '1 min 15 s', '2 h 13 min')
    """
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"

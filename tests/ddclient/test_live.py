from __future__ import annotations

import io
import math

import httpx
import pytest
from rich.console import Console

from ddclient import Client
from ddclient.live import RunView, display, sparkline, watch
from ddclient.models import Plan
from tests.ddclient.conftest import JOB_ID, FakeService, job_document


def terminal(width: int = 100) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)


def text_of(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def rendered(view: RunView) -> str:
    console = terminal()
    console.print(view.panel())
    return text_of(console)


def test_the_panel_shows_progress_time_left_and_the_bound_with_its_ceiling() -> None:
    view = RunView(
        "job_x", 10, state="running", phase="distilling", done=30, total=200, eta_s=75,
        series={"loss": [3.0, 1.0], "mi_lower_bound": [1.5], "cmi": [0.25]},
    )  # fmt: skip
    shown = rendered(view)
    assert [line.split()[1] for line in shown.splitlines()[1:-1]][-3:] == ["loss", "mi_lower_bound", "cmi"]
    for part in ("running", "distilling", "30/200", "1 min 15 s left", "1.5 of at most 2.303 nats", "0.25 nats", "█▁"):
        assert part in shown


@pytest.mark.parametrize(
    ("remaining_s", "left"), [(75.0, "about 1 min 15 s left"), (None, "about 4 s left in this phase")]
)
def test_the_whole_job_is_shown_where_its_plan_is_known(remaining_s: float | None, left: str) -> None:
    view = RunView("job_x", state="running", phase="distilling", done=30, total=200, eta_s=4)
    view.plan = Plan(done=0.42, remaining_s=remaining_s)
    assert view.line() == f"running: distilling, 30/200, 42% of the job, {left}"
    assert left in rendered(view)


def test_an_unknown_number_of_classes_promises_no_ceiling() -> None:
    assert "at most" not in rendered(RunView("job_x", None, series={"mi_lower_bound": [1.5]}))


def test_a_reading_that_is_not_finite_is_shown_as_such() -> None:
    assert "nan" in rendered(RunView("job_x", series={"loss": [1.0, math.nan]}))


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], ""), ([5.0], "▁"), ([1.0, 1.0], "▁▁"), ([math.nan], "✗"), ([0.0, math.inf, 7.0], "▁✗█")],
)
def test_sparkline_of_odd_series(values: list[float], expected: str) -> None:
    assert sparkline(values) == expected


def test_a_sparkline_keeps_the_newest_values() -> None:
    assert sparkline([9.0, 0.0, 1.0], width=2) == "▁█"


def follow(client: Client, service: FakeService, console: Console) -> str:
    progress = {"step": 10, "total_steps": 20, "phase_done": 10, "phase_total": 20, "eta_s": 4.0}
    metrics = {"loss": 2.0, "mi_lower_bound": 1.0, "cmi": 0.1, "at_step": 10}
    service.on(
        "GET",
        f"/v1/jobs/{JOB_ID}",
        job_document("queued"),
        job_document("running", phase="distilling", progress=progress, last_metrics=metrics),
        job_document("succeeded", progress=progress | {"phase_done": 20, "eta_s": None}, last_metrics=metrics),
    )
    series = {"key": "loss", "step_min": [1, 10], "step_max": [1, 10], "last": [4.0, 2.0]}
    service.on("GET", f"/v1/jobs/{JOB_ID}/metrics:query", httpx.Response(200, json={"series": [series]}))
    document = watch(client.job(JOB_ID), console=console, pause_s=0)
    assert document.status == "succeeded"
    return text_of(console)


def test_a_job_is_followed_on_a_terminal(client: Client, service: FakeService) -> None:
    shown = follow(client, service, terminal())
    assert "10/20" in shown
    assert "█▁" in shown
    assert "succeeded" in shown


def test_a_job_is_followed_in_a_log(client: Client, service: FakeService) -> None:
    shown = follow(client, service, Console(file=io.StringIO(), force_terminal=False, width=40))
    assert shown.splitlines() == ["running: distilling, 10/20, about 4 s left, loss 2", "succeeded, 20/20, loss 2"]


def test_a_log_is_not_flooded() -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    view = RunView("x", state="running", phase="distilling", total=100)
    with display(console) as screen:
        for view.done in range(100):
            screen.show(view)
    assert len(text_of(console).splitlines()) == 1


def test_a_paused_job_is_not_watched_for_ever(client: Client, service: FakeService) -> None:
    service.on("GET", f"/v1/jobs/{JOB_ID}", job_document("paused"))
    assert watch(client.job(JOB_ID), console=terminal(), pause_s=0).status == "paused"

"""Rules on a job's numbers, and that each is told once."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from app.events import alerts
from app.events.names import ALERT
from tests.worker.conftest import Desk
from worker import watchdog
from worker.log_book import LogBook
from worker.protocol import Frame, Metrics, PhaseStarted, Progress, Resumed
from worker.sink import Sink
from worker.watchdog import Watchdog


def losses(values: Iterable[float], start: int = 1) -> list[Frame]:
    return [Metrics(step=start + i, wall_ms=1, values={"loss": value}) for i, value in enumerate(values)]


def rules(frames: Iterable[Frame]) -> list[str]:
    return [alert.rule for alert in Watchdog().look(frames)]


def test_a_noisy_loss_that_falls_is_no_news() -> None:
    noise = random.Random(0)
    assert rules(losses(10 / (1 + step / 100) + noise.gauss(0, 0.5) for step in range(2000))) == []
    assert rules(losses([float("nan")] * 400)) == []
    assert rules(losses([5.0] * 400)) == []


def test_a_loss_that_rises_above_its_beginning_diverges() -> None:
    noise = random.Random(0)
    fallen = [10 / (1 + step / 20) + noise.gauss(0, 0.2) for step in range(100)]
    assert rules(losses(fallen + [12.0] * 40)) == []
    assert rules(losses([*fallen, 500.0, 500.0, *fallen[-38:]])) == []
    (alert,) = Watchdog().look(losses(fallen + [30.0] * 40))
    assert alert.rule == "diverging"
    assert alert.numbers["last"] == 30.0


def test_a_loss_that_falls_no_more_has_reached_a_plateau() -> None:
    noise = random.Random(0)
    values = [5 + 10 * 0.9**step + noise.gauss(0, 0.001) for step in range(2000)]
    (alert,) = Watchdog().look(losses(values))
    assert (alert.rule, round(alert.numbers["lowest"], 1)) == ("plateau", 5.0)


def test_many_readings_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    monkeypatch.setattr(watchdog, "plateau", lambda medians: looks.append(len(medians)))
    monkeypatch.setattr(watchdog, "WINDOW", 1)
    rules(losses(1 / step for step in range(1, 5001)))
    assert sum(looks) < 1_500_000
    assert looks[-1] > 4900


def test_a_phase_that_takes_twice_as_long_slips() -> None:
    now = [0.0]
    seen = Watchdog(lambda: now[0])

    def after(seconds: float, done: int) -> list[str]:
        now[0] = seconds
        return [alert.rule for alert in seen.look([Progress(done=done, total=1000)])]

    seen.look([PhaseStarted(phase="distilling", total=1000)])
    # It goes on after 900 steps: what it has done before tells nothing of its pace.
    assert after(5, 900) == []
    assert after(40, 935) == []  # 100 s are expected
    assert after(95, 960) == []  # 150 s
    assert after(155, 970) == ["eta_slipping"]  # 214 s
    assert after(200, 972) == []


def test_a_rule_is_told_once_whatever_becomes_of_the_attempts(desk: Desk) -> None:
    def attempt() -> Sink:
        return Sink(desk.cluster.database, desk.store, desk.claimed, desk.folder, LogBook(1, limit=1000))

    first, rising = attempt(), [1.0] * 20 + [9.0] * 20
    first.write(losses(rising))
    first.write(losses(rising, start=100))
    attempt().write([Resumed(step=0, exact=True), *losses(rising)])
    told = [event for event in desk.cluster.events(desk.claimed.job_id) if event.type == ALERT]
    assert [(event.level, event.data["rule"], event.data["last"]) for event in told] == [("warning", "diverging", 9.0)]
    with desk.cluster.database.read() as session:
        found = alerts.since(session, desk.claimed.tenant_id, told[0].at, alerts.LISTED, 10)
    assert [event.id for event in found] == [told[0].id]

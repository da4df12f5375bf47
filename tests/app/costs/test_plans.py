"""How far a job is over all its phases, against figures worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from app.costs.plans import Place, ahead, remaining, share_done

PHASES = {"loading": 5.0, "pretraining": 20.0, "distilling": 50.0, "evaluating": 20.0, "finalizing": 5.0}


def plan(*, measured: bool = True, **expected: float) -> dict[str, Any]:
    phases = [{"phase": name, "expected_s": seconds} for name, seconds in {**PHASES, **expected}.items()]
    return {"measured": measured, "network_epochs": 40.0, "phases": phases}


@pytest.mark.parametrize(
    ("place", "done", "left"),
    [
        (Place("loading", 0, None, None, 0.0), 0.0, 100.0),
        (Place("pretraining", 10, 20, None, 0.0), 0.05 + 0.2 * 0.25, 15 + 75),
        (Place("pretraining", 10, 20, 1.0, 0.0), 0.05 + 0.2 * 0.25, 30 + 75),
        (Place("distilling", 30, 100, 2.0, 0.3), 0.25 + 0.15, 35 + 25),
        (Place("evaluating", 4, 8, 0.1, 1.0), 0.75 + 0.1, 40 + 5),
        (Place("finalizing", 0, None, None, 1.0), 0.95, 5.0),
    ],
)
def test_a_measured_plan(place: Place, done: float, left: float) -> None:
    """The phase under way goes by its own speed where that is known; more networks may come than are announced."""
    phases = ahead(plan(), place)
    assert share_done(phases) == pytest.approx(done)
    assert remaining(phases) == pytest.approx(left)


def test_phases_that_found_their_networks_count_as_done() -> None:
    phases = {phase.phase: phase for phase in ahead(plan(), Place("distilling", 0, 100, None, 0.0))}
    assert (phases["pretraining"].done, phases["pretraining"].remaining_s) == (1.0, 0.0)
    begun = ahead(plan(pretraining=0.0), Place("loading", 0, None, None, 0.0))
    assert {phase.phase: phase.done for phase in begun}["pretraining"] == 1.0


def test_what_is_not_known_is_null_until_the_speed_shows() -> None:
    """Without measurements, later phases are as much longer than expected as this one is."""
    guess = plan(measured=False)
    assert remaining(ahead(guess, Place("loading", 0, None, None, 0.0))) is None
    assert remaining(ahead(guess, Place("distilling", 10, 100, None, 0.1))) is None
    assert remaining(ahead(guess, Place("distilling", 20, 100, 0.5, 0.2))) == pytest.approx(160 + 25 * 4)


def test_a_job_that_learns_in_stages_goes_back_to_networks_and_loses_no_step() -> None:
    phases = {phase.phase: phase for phase in ahead(plan(), Place("pretraining", 30, 40, None, 0.5))}
    assert (phases["distilling"].done, phases["distilling"].remaining_s) == (0.5, 25.0)

from __future__ import annotations

import pytest

from app.jobs.estimate import Costing
from app.jobs.schemas import Estimate
from ddcore.spec import DATASETS, NETWORKS, ConvNetConfig, DatasetFacts, JobSpec, parse
from ddcore.spec.cost import Cost
from ddcore.spec.work import DataSizes

DM = {"dataset": "cifar10", "ipc": 10, "method": {"name": "dm", "iterations": 100}}
UNSCORED = {"repeats": 0, "audit": False}
SAMPLE = 10 * 50
"""Real images that the probe reads with."""
PROBE = 3 * 2 * (50_000 - 3 * SAMPLE) + 3 * SAMPLE + 100
"""Passes before the first step: two epochs without what is read or calibrated with, a look at both, and at the set."""
READINGS = 11 * 100
"""Passes of the probe at steps 1, 10, 20 … 100."""


def known(spec: JobSpec) -> DatasetFacts | None:
    return DATASETS.get(spec.dataset)


def estimated(**fields: object) -> Estimate:
    spec = parse({**DM, "evaluation": UNSCORED, **fields})
    found = Costing(spec, known(spec)).estimate()
    assert found is not None
    return found


def passes(**fields: object) -> dict[str, float | None]:
    """Of each phase of the plan."""
    spec = parse({**DM, "evaluation": UNSCORED, **fields})
    return {phase.phase: phase.image_passes for phase in Costing(spec, known(spec)).plan()}


def units(**fields: object) -> dict[str, int | None]:
    spec = parse({**DM, "evaluation": UNSCORED, **fields})
    return {phase.phase: phase.units for phase in Costing(spec, known(spec)).plan()}


def test_passes_of_dm_are_counted_by_hand() -> None:
    steps = 100 * 10 * (256 + 3 * 10)
    assert passes() == {"loading": PROBE, "distilling": steps + READINGS, "finalizing": 0}
    assert estimated().image_passes == PROBE + steps + READINGS


@pytest.mark.parametrize("preset", ["paper/dm-cifar10-ipc10", "quick/dm-mim-cmi-digits", "quick/pdd-digits"])
def test_phases_add_up_and_come_from_the_one_model(preset: str) -> None:
    spec = parse({"preset": preset})
    found = Costing(spec, known(spec)).estimate()
    model = Cost(spec, DataSizes.of(DATASETS[spec.dataset]))
    assert found is not None
    assert (found.image_passes, found.flop) == (model.passes(), model.flop)
    assert sum(phase.image_passes or 0 for phase in Costing(spec, known(spec)).plan()) == found.image_passes


def test_work_of_an_unlisted_phase_goes_to_its_neighbour() -> None:
    """The set of a job without scoring is labelled while it is written, by a teacher that is trained before."""
    found = passes(evaluation=UNSCORED | {"labels": "soft"})
    assert list(found) == ["loading", "pretraining", "distilling", "finalizing"]
    assert (found["loading"], found["finalizing"]) == (0, 100)


def test_passes_of_gradient_matching_are_counted_by_hand() -> None:
    """Real images forward and backward, synthetic ones through second derivatives, and nine trainings in ten steps."""
    found = passes(method={"name": "dsa", "iterations": 100})
    assert found["distilling"] == 100 * 10 * (3 * 256 + 9 * 10 + 3 * 50 * 10 * 9 / 10) + READINGS


def test_a_coreset_costs_the_training_of_one_network_and_a_look_at_every_image() -> None:
    method = {"name": "herding", "teacher": {"epochs": 4, "pool": 20}}
    assert passes(method=method)["pretraining"] == (3 * 4 + 1) * 50_000 + PROBE
    assert units(method=method) == {"loading": None, "pretraining": 1, "finalizing": None}
    assert estimated(method="random").image_passes == PROBE


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_has_a_price_of_its_own(name: str) -> None:
    dm = 100 * 10 * (256 + 3 * 10)
    probe = (PROBE + READINGS) * ConvNetConfig(width=32).flop((3, 32, 32), 10)
    assert estimated(network=name).flop == dm * NETWORKS.parse(name).flop((3, 32, 32), 10) + probe


def test_width_has_its_price() -> None:
    narrow, wide = (estimated(network={"name": "mlp", "width": width}).flop for width in (16, 65_536))
    assert wide > 1000 * narrow


def test_real_batch_is_capped_at_what_is_left_of_the_class() -> None:
    """141 to 144 images a class, less 14 of the probe."""
    found = passes(dataset="digits")
    assert found["distilling"] == 100 * (127 + 9 * 130 + 3 * 100) + READINGS


def test_regulariser_scoring_and_teachers_cost() -> None:
    plain, regularised, scored = estimated(), estimated(regularizers={"cmi": 10}), estimated(evaluation={"repeats": 3})
    assert plain.flop < regularised.flop
    assert plain.flop < scored.flop


def test_iid_passes_the_images_through_both_networks() -> None:
    both, alone = (
        estimated(regularizers={"iid": {"weight": 1, **fields}}).image_passes for fields in ({}, {"centralization": 0})
    )
    assert alone - estimated().image_passes == 100 * 3 * 100
    assert both - alone == 100 * 3 * 100 + 3 * 4 * 50_000


def test_scoring_is_counted_by_hand() -> None:
    """Two networks on 100 distilled images, on 100 random ones and on all, with a teacher for the soft labels."""
    scoring = {"repeats": 2, "epochs": 300, "labels": "soft", "controls": ["random", "full"], "full_images": 500_000}
    found = passes(method="random", evaluation=scoring)
    trained = 2 * (301 * 100 + 301 * 100 + 11 * 50_000)
    labelled = 100 + 2 * (100 + 50_000)
    assert found["evaluating"] == pytest.approx(3 * trained + 6 * 10_000 + labelled)
    assert units(method="random", evaluation=scoring)["pretraining"] == 1
    assert units(method="random", evaluation=scoring)["evaluating"] == 6


def test_scores_are_made_with_the_first_architecture() -> None:
    scoring = {"repeats": 1, "networks": ["mlp", "convnet"], "scores": ["augmentation_robust"]}
    assert units(evaluation=scoring)["evaluating"] == 4 + 2


def test_plan_lists_the_phases_with_work() -> None:
    full = units(regularizers={"mim": 1, "cmi": 1}, evaluation={"repeats": 3})
    assert list(full) == ["loading", "pretraining", "distilling", "evaluating", "finalizing"]
    assert (full["pretraining"], full["evaluating"]) == (1, 6)
    assert list(units()) == ["loading", "distilling", "finalizing"]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_measured_dm_step_lies_in_the_spread(device: str) -> None:
    """The published loop takes 2.4 s an iteration on two cores, the compiled one 0.4 to 0.6 s."""
    found = estimated(method={"name": "dm", "iterations": 1}, metrics={"probe": "random"})
    if device == "cpu":
        assert 0.2 < found.seconds["cpu"].low < 0.63
        assert 2.4 < found.seconds["cpu"].high < 10
    else:
        assert found.seconds["cuda"].high < found.seconds["cpu"].low


def test_passes_of_trajectory_matching_are_counted_by_hand() -> None:
    """Experts as far as a window reaches, N steps forwards and back; MIM has the student, so no teacher is trained."""
    method = {"name": "mtt", "iterations": 100, "student_steps": 30, "max_start": 3, "experts": {"count": 5}}
    found = passes(method=method)
    assert found["pretraining"] == 3 * 5 * 4 * 50_000 + PROBE
    assert found["distilling"] == 100 * 12 * 30 * 100 + READINGS
    assert units(method=method)["pretraining"] == 5
    assert units(method=method, regularizers={"mim": 1})["pretraining"] == 5
    assert units(method=method, regularizers={"mim": {"weight": 1, "networks": "teacher"}})["pretraining"] == 6


def test_passes_of_bptt_are_counted_by_hand() -> None:
    found = passes(method={"name": "bptt", "iterations": 100, "window": 50})
    assert found["distilling"] == 100 * 10 * ((3 * 150 + 9 * 50) * 10 + 3 * 64) + READINGS


def test_passes_of_windows_are_counted_by_hand() -> None:
    """Half of what may lie before a window, the window both ways, and the real batch; a training more to choose it."""
    method = {"name": "rat_bptt", "iterations": 100, "student_steps": 50, "window": 20, "min_start": 4}
    found = passes(method=method)
    assert found["distilling"] == 100 * 10 * ((3 * 37 + 9 * 20) * 10 + 3 * 500) + READINGS
    found = passes(method={**method, "window_rule": "at", "window_spread": 6})
    assert found["distilling"] == 100 * 10 * ((3 * (50 + 34) + 9 * 14) * 10 + 3 * 500) + READINGS

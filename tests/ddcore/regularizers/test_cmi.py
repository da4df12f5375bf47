"""The CMI term: its gradient in pieces, its reach, and its direction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ddcore import engine
from ddcore.errors import ConfigurationError, Interrupted
from ddcore.formulas.information import empirical_cmi
from ddcore.machine.compute import Compute
from ddcore.regularizers.cmi import CMI
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Step
from ddcore.spec import CMIConfig, parse
from tests.ddcore.recorder import Recorder

TEACHER = {"network": {"name": "convnet", "width": 8}, "epochs": 2, "pool": 2}


def ready(run: Run) -> CMI:
    (config,) = run.spec.regularizers
    assert isinstance(config, CMIConfig)
    cmi = CMI(config, run)
    cmi.prepare()
    return cmi


@pytest.mark.parametrize("piece", [1, 128])
def test_pieces_of_classes_add_up_to_the_gradient_of_the_whole(make_run: Callable[..., Run], piece: int) -> None:
    compute = Compute(torch.device("cpu"), piece=piece, training_piece=piece, graph=piece)
    run = make_run(compute=compute, ipc=6, regularizers=[{"name": "cmi", "weight": 3, "teacher": TEACHER}])
    cmi = ready(run)
    synthetic = run.synthetic_set(1.0, 0.5)
    value = cmi.backward(Step(0, synthetic), 3.0)["loss/cmi"].item()

    teacher = cmi._teacher
    params = teacher._pool[int(cmi.state()["teacher"])]
    images = synthetic.images.detach().clone().requires_grad_()
    whole = empirical_cmi(teacher.functional.features(params, images), synthetic.labels)
    (3.0 * whole).backward()
    assert value == pytest.approx(whole.item(), rel=1e-5)
    assert images.grad is not None
    assert torch.allclose(synthetic.gradient, images.grad, rtol=1e-4, atol=1e-5 * images.grad.abs().max().item())


def test_following_the_gradient_lowers_the_term(make_run: Callable[..., Run]) -> None:
    run = make_run(ipc=4, regularizers=[{"name": "cmi", "weight": 1, "teacher": {**TEACHER, "pool": 1}}])
    cmi = ready(run)
    synthetic = run.synthetic_set(20.0, 0.0)
    values = []
    for index in range(8):
        synthetic.clear_gradient()
        values.append(cmi.backward(Step(index, synthetic), 1.0)["loss/cmi"].item())
        synthetic.step()
    assert values[-1] < 0.9 * values[0]


def test_one_image_a_class_is_refused_with_the_reason(make_run: Callable[..., Run]) -> None:
    run = make_run(ipc=2, regularizers=[{"name": "cmi", "weight": 1}])
    (config,) = run.spec.regularizers
    assert isinstance(config, CMIConfig)
    run.spec = run.spec.model_copy(update={"ipc": 1})
    with pytest.raises(ConfigurationError, match="identically zero"):
        CMI(config, run)


def test_the_teacher_stays_as_long_as_the_network_of_the_method(make_run: Callable[..., Run]) -> None:
    many = {**TEACHER, "pool": 40, "epochs": 1}
    run = make_run(ipc=2, regularizers=[{"name": "cmi", "weight": 1, "teacher": many}])
    cmi, synthetic, seen = ready(run), run.synthetic_set(1.0, 0.5), []
    for index in range(9):
        cmi.backward(Step(index, synthetic, fresh_network=index % 3 == 0), 1.0)
        seen.append(int(cmi.state()["teacher"]))
    assert seen[0::3] == seen[1::3] == seen[2::3]
    assert len(set(seen)) == 3


def test_a_teacher_kept_over_an_interruption_gives_the_same_readings(tmp_path: Path, cache: Path) -> None:
    """Stopped in the middle of an outer iteration, among enough teachers that another would be drawn."""
    spec = parse(
        {
            "dataset": "digits",
            "ipc": 2,
            "method": {"name": "dc", "iterations": 6, "outer_loop": 3, "inner_loop": 1, "batch_real": 8},
            "network": {"name": "convnet", "width": 4, "depth": 2},
            "regularizers": [{"name": "cmi", "weight": 1, "teacher": {**TEACHER, "pool": 6, "epochs": 1}}],
            "metrics": {"every": 1, "probe": "random"},
            "evaluation": {"repeats": 0},
        }
    )
    whole, first, second = Recorder(), Recorder(stop_after=2), Recorder()
    engine.run(spec, tmp_path / "whole", run_dir=tmp_path / "a", cache=cache, callback=whole)
    with pytest.raises(Interrupted):
        engine.run(spec, tmp_path / "parts", run_dir=tmp_path / "b", cache=cache, callback=first)
    engine.run(spec, tmp_path / "parts", run_dir=tmp_path / "b", cache=cache, callback=second)
    assert second.resumed == [(2, True)]
    assert {**first.metrics, **second.metrics} == whole.metrics

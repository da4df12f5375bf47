"""The IID term: figures worked out beforehand, plain loops, what it refuses, and the teacher it keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ddcore.augment import siamese
from ddcore.errors import ConfigurationError
from ddcore.machine.compute import Compute
from ddcore.methods.dm import DM
from ddcore.methods.shared.feature_matching import MatchingStep
from ddcore.nets import build
from ddcore.regularizers.iid import IID, covariance_distance, covariances, scatter
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Step
from ddcore.spec import DMConfig, IIDConfig, SpecError, parse

Make = Callable[..., Run]
TEACHER = {"network": {"name": "convnet", "width": 8}, "epochs": 2, "pool": 2}


def ready(make_run: Make, compute: Compute | None = None, **fields: Any) -> tuple[IID, MatchingStep]:
    term = {"name": "iid", "weight": 3, "teacher": TEACHER, **fields.pop("term", {})}
    run = make_run(
        compute=compute, **{"ipc": 3, "method": {"name": "dm", "batch_real": 6}, **fields, "regularizers": [term]}
    )
    (config,) = run.spec.regularizers
    assert isinstance(config, IIDConfig)
    iid = IID(config, run)
    iid.prepare()
    assert isinstance(run.spec.method, DMConfig)
    dm = DM(run.spec.method, run)
    return iid, dm.draw(0, dm.start())


def test_printed_covariance_distance(fill: Callable[..., Tensor]) -> None:
    real, synthetic = fill(6, 3, 4), fill(3, 3, 4, a=0.7, b=0.5)
    distance = covariance_distance(covariances(real), covariances(synthetic))
    assert distance.item() == pytest.approx(11.057352, rel=1e-5)


def test_printed_centralisation(fill: Callable[..., Tensor]) -> None:
    assert scatter(fill(3, 4, a=0.7, b=0.5)).item() == pytest.approx(5.924317, rel=1e-5)


def test_the_slope_in_the_class_mean_is_zero(fill: Callable[..., Tensor]) -> None:
    detached, whole = fill(3, 4).requires_grad_(), fill(3, 4).requires_grad_()
    scatter(detached).backward()
    (whole - whole.mean(dim=0)).square().sum().backward()
    assert detached.grad is not None
    assert whole.grad is not None
    torch.testing.assert_close(detached.grad, whole.grad, rtol=1e-6, atol=1e-6)


def plain(iid: IID, step: MatchingStep) -> tuple[float, float, Tensor]:
    """Both parts and the slope of their published sum, image by image and class by class in one graph."""
    run, n = step.run, step.synthetic.per_class
    network = build(run.spec.network, run.dataset.shape, 3)
    network.load_state_dict(step.params)
    teacher = build(iid.config.teacher.network, run.dataset.shape, 3)
    assert iid._teacher is not None
    teacher.load_state_dict(iid._teacher._pool[int(iid.state()["teacher"])])
    stored = step.synthetic.stored.detach().clone().requires_grad_()
    images = step.synthetic.decoder.decode(stored, step.synthetic.ipc)
    matching, gathering = torch.zeros(()), torch.zeros(())
    for c, (rows, drawn) in enumerate(zip(step.rows, step.draws, strict=True)):
        sides = (run.real_images(rows), images[c * n : (c + 1) * n])
        of_real, of_synthetic = (siamese.apply(drawn, side) for side in sides)
        found = []
        for side in (of_real, of_synthetic):
            maps = network.block_outputs(side)[-1].flatten(2)
            centred = maps - maps.mean(dim=0)
            found.append(torch.stack([z @ z.T for z in centred]).sum(dim=0) / len(side))
        matching = matching + ((found[0].detach() - found[1]) ** 2).sum()
        embedded = teacher.features(of_synthetic)
        gathering = gathering + sum(((e - embedded.mean(dim=0)) ** 2).sum() for e in embedded)
    (0.01 * matching + 0.05 * gathering).backward()
    assert stored.grad is not None
    return matching.item(), gathering.item(), stored.grad


@pytest.mark.parametrize("piece", [1, 128])
@pytest.mark.parametrize("decoder", ["identity", "mosaic"])
def test_groups_of_classes_add_up_to_the_plain_loop(make_run: Make, piece: int, decoder: str) -> None:
    compute = Compute(torch.device("cpu"), piece=piece, training_piece=piece, graph=piece)
    iid, step = ready(make_run, compute, decoder=decoder)
    readings = iid.backward(step, 3.0)
    matching, gathering, gradient = plain(iid, step)
    assert readings["iid/covariance"].item() == pytest.approx(matching, rel=1e-5)
    assert readings["iid/centralization"].item() == pytest.approx(gathering, rel=1e-5)
    assert readings["loss/iid"].item() == pytest.approx(0.01 * matching + 0.05 * gathering, rel=1e-5)
    largest = gradient.abs().max().item()
    torch.testing.assert_close(step.synthetic.gradient, 3 * gradient, rtol=1e-4, atol=3e-5 * largest)


def test_classes_of_unequal_size_are_averaged_over_what_they_have(make_run: Make) -> None:
    iid, step = ready(make_run)
    step = MatchingStep(0, step.synthetic, step.run, step.params, (step.rows[0][:2], *step.rows[1:]), step.draws)
    matching = iid.backward(step, 1.0)["iid/covariance"].item()
    assert matching == pytest.approx(plain(iid, step)[0], rel=1e-5)


def test_a_part_of_coefficient_zero_is_left_out(make_run: Make) -> None:
    iid, step = ready(make_run, term={"centralization": 0.0})
    assert set(iid.backward(step, 1.0)) == {"loss/iid", "iid/covariance"}
    assert step.run.pretrained == {}
    iid, step = ready(make_run, term={"covariance": 0.0}, network={"name": "mlp", "width": 8})
    assert set(iid.backward(step, 1.0)) == {"loss/iid", "iid/centralization"}


def test_following_the_gradient_lowers_both_parts(make_run: Make) -> None:
    iid, step = ready(make_run, term={"teacher": {**TEACHER, "pool": 1}}, augmentation="none")
    synthetic, values = step.synthetic, []
    synthetic.learned["images"].lr = 50.0
    for _ in range(10):
        synthetic.clear_gradient()
        values.append({name: value.item() for name, value in iid.backward(step, 1.0).items()})
        synthetic.step()
    assert all(values[-1][name] < 0.9 * values[0][name] for name in values[0])


def test_the_teacher_stays_as_long_as_the_network_and_is_taken_up_again(make_run: Make) -> None:
    iid, step = ready(make_run, term={"teacher": {**TEACHER, "pool": 50, "epochs": 1}, "covariance": 0})
    first = MatchingStep(0, step.synthetic, step.run, step.params, step.rows, step.draws)
    same = MatchingStep(1, step.synthetic, step.run, step.params, step.rows, step.draws, fresh_network=False)
    iid.backward(first, 1.0)
    kept = iid.state()["teacher"]
    iid.backward(same, 1.0)
    assert iid.state()["teacher"] == kept
    other = IID(iid.config, step.run)
    other.load_state(iid.state())
    other.backward(same, 1.0)
    assert other.state()["teacher"] == kept
    iid.backward(first, 1.0)
    assert iid.state()["teacher"] != kept


JOB = {"dataset": "cifar10", "ipc": 2, "method": "dm", "regularizers": {"iid": 1}}


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"ipc": 1}, "IID does nothing with one image a class"),
        ({"method": "random"}, "`random` matches none; use one of"),
        ({"network": {"name": "convnet", "norm": "batch"}}, "use `network.norm`: 'instance', or `covariance`: 0"),
        (
            {"regularizers": {"iid": {"weight": 1, "covariance": 0, "centralization": 0}}},
            "which leaves nothing; raise one",
        ),
    ],
)
def test_jobs_that_cannot_work_are_refused_with_a_way_out(change: dict[str, Any], detail: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse({**JOB, **change})
    assert any(detail in problem.detail for problem in caught.value.problems)


def test_mosaics_make_one_stored_image_enough() -> None:
    assert parse({**JOB, "ipc": 1, "decoder": "mosaic"}).images_per_class == 4


@pytest.mark.parametrize(
    ("network", "detail"),
    [
        ({"name": "mlp"}, "the features of `mlp` on 8 x 8 images are a map of 1 x 1 positions"),
        ({"name": "convnet", "width": 4, "depth": 3}, "the features of `convnet` on 8 x 8 images are a map of 1 x 1"),
    ],
)
def test_features_without_positions_are_refused_by_name(make_run: Make, network: dict[str, Any], detail: str) -> None:
    with pytest.raises(ConfigurationError, match=detail):
        ready(make_run, network=network)


def test_what_only_the_engine_sees_is_refused_there_as_well(make_run: Make) -> None:
    iid, step = ready(make_run)
    with pytest.raises(ConfigurationError, match="`dm` matches none"):
        iid.backward(Step(0, step.synthetic), 1.0)
    step.run.spec = step.run.spec.model_copy(update={"ipc": 1})
    with pytest.raises(ConfigurationError, match="one image a class"):
        IID(iid.config, step.run)

"""The step that matching methods share: what it computes once, what it keeps, and how features are compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from ddcore.augment import siamese
from ddcore.errors import ConfigurationError
from ddcore.formulas.feature_distances import printed_risk
from ddcore.machine.compute import Compute
from ddcore.methods.shared.feature_matching import MatchingStep, draw_step, feature_distance, require_spread
from ddcore.runtime.context import Run
from tests.ddcore.conftest import blobs
from tests.ddcore.watching import watched

Make = Callable[..., Run]


def drawn(run: Run, batch_real: int = 12, *, training: bool = True) -> MatchingStep:
    params = run.functional.new(run.random.stream("method/network"))
    return draw_step(run, 0, run.synthetic_set(1.0, 0.5), params, batch_real, training=training)


def by_class(step: MatchingStep) -> list[Tensor]:
    """Features of each class's real batch, class after class."""
    run = step.run
    return [
        run.functional.features(step.params, siamese.apply(drawn, run.real_images(rows))).detach()
        for rows, drawn in zip(step.rows, step.draws, strict=True)
    ]


@pytest.mark.parametrize("graph", [1, 24, 512])
def test_moments_are_those_of_each_class_and_few_real_images_are_in_memory(
    make_run: Make, monkeypatch: pytest.MonkeyPatch, graph: int
) -> None:
    run = make_run(compute=Compute(torch.device("cpu"), graph=graph), network={"name": "convnet", "width": 4})
    most = max(12, run.functional.graph_images)
    step = drawn(run)
    sizes: list[int] = []
    monkeypatch.setattr(run, "real_images", watched(run.real_images, lambda rows: sizes.append(len(rows))))
    means, deviations = step.real_moments
    assert sum(sizes) == 36
    assert max(sizes) <= most
    assert "real_features" not in step.__dict__
    expected = by_class(step)
    torch.testing.assert_close(means, torch.stack([f.mean(0) for f in expected]))
    torch.testing.assert_close(deviations, torch.stack([f.std(0) for f in expected]))
    assert all(torch.allclose(a, b) for a, b in zip(step.real_features, expected, strict=True))


def test_batches_are_capped_at_their_class(make_run: Make) -> None:
    assert [len(rows) for rows in drawn(make_run(), batch_real=5000).rows] == [24] * 3


@pytest.mark.parametrize("compared", [False, True])
def test_real_images_pass_once_where_a_regulariser_reads_their_features(
    make_run: Make, monkeypatch: pytest.MonkeyPatch, compared: bool
) -> None:
    term: dict[str, Any] = {"regularizers": {"bacon": 1.0}} if compared else {}
    run = make_run(**term)
    step, fetch = drawn(run), run.real_images
    passed: list[int] = []
    monkeypatch.setattr(run, "real_images", watched(fetch, lambda rows: passed.append(len(rows))))
    assert step.real_means.shape == (3, run.functional.features(step.params, fetch(torch.zeros(1).long())).shape[1])
    features = step.real_features_of(range(1, 3))
    assert [len(of_class) for of_class in features] == [12, 12]
    assert sum(passed) == (36 if compared else 60)


def test_batch_norm_takes_running_statistics_where_the_step_says_so(make_run: Make) -> None:
    network = {"name": "convnet", "width": 4, "norm": "batch"}
    run = make_run(ipc=6, network=network, compute=Compute(torch.device("cpu"), piece=8, training_piece=8, graph=0))
    step = drawn(run, training=False)
    before = {name: value.clone() for name, value in step.params.items()}
    assert len(list(step.class_groups())) > 1
    features = step.synthetic_features(range(3)).flatten(0, 1)
    alone = torch.cat([step.synthetic_features(range(c, c + 1)).flatten(0, 1) for c in range(3)])
    torch.testing.assert_close(features, alone)
    assert step.real_means.isfinite().all()
    assert all(torch.equal(step.params[name], value) for name, value in before.items())

    coupled = drawn(run)
    assert [list(group) for group in coupled.class_groups()] == [[0, 1, 2]]
    whole = coupled.real_features
    assert coupled.real_features_of(range(1, 2))[0] is whole[1]


@pytest.mark.parametrize("trade_off", [0.8, 0.25])
def test_named_distances_are_sums_over_the_classes(make_run: Make, trade_off: float) -> None:
    step = drawn(make_run())
    classes = range(1, 3)
    own, real = step.synthetic_features(classes).detach(), by_class(step)[1:]
    expected: dict[Literal["mean", "bacon", "bacon_paper"], float] = {"mean": 0.0, "bacon": 0.0, "bacon_paper": 0.0}
    for r, s in zip(real, own, strict=True):
        difference, deviation = s.mean(0) - r.mean(0), r.std(0)
        expected["mean"] += float(difference.square().sum())
        normal = torch.distributions.Normal(r.mean(0), deviation.exp())
        expected["bacon"] += float(-normal.log_prob(s.mean(0)).sum() + trade_off * 0.5 * difference.abs().sum())
        expected["bacon_paper"] += float(printed_risk(r, s).total(trade_off))
    for name, value in expected.items():
        assert feature_distance(name, trade_off)(step, classes, own).item() == pytest.approx(value, rel=1e-5)


def test_a_spread_needs_two_real_images_of_each_class(make_run: Make) -> None:
    require_spread("bacon", make_run(), 2)
    with pytest.raises(ConfigurationError, match=r"`method.batch_real` is 1; use 2 or more"):
        require_spread("bacon", make_run(), 1)
    run = make_run(blobs(per_class=2))
    run.sampler.counts = (2, 1, 2)
    with pytest.raises(ConfigurationError, match="class 'class 1' of blobs has a single training image"):
        require_spread("bacon", run, 8)

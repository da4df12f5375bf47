"""The BACON term: its gradient, what it shares with the method, and where it is refused."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch

from ddcore.augment import siamese
from ddcore.errors import ConfigurationError
from ddcore.formulas.feature_distances import Moments, printed_risk, released_risk
from ddcore.machine.compute import Compute
from ddcore.methods import build_method
from ddcore.nets import build
from ddcore.regularizers import build_regularizer
from ddcore.runtime.context import Run
from ddcore.spec import SpecError, parse
from tests.ddcore.watching import watched

Make = Callable[..., Run]


@pytest.mark.parametrize("method", ["dm", "dc", "dsa", "idm", "bacon"])
@pytest.mark.parametrize("variant", ["released", "paper"])
@pytest.mark.parametrize("graph", [0, 512])
def test_the_gradient_is_that_of_one_graph_for_all_classes(
    make_run: Make, method: str, variant: str, graph: int
) -> None:
    run = make_run(
        compute=Compute(torch.device("cpu"), graph=graph),
        method={"name": method, "batch_real": 8},
        regularizers=[{"name": "bacon", "weight": 3, "variant": variant, "trade_off": 0.4}],
    )
    base, term = build_method(run.spec.method, run), build_regularizer(run.spec.regularizers[0], run)
    synthetic = base.start()
    step: Any = base.draw(0, synthetic)
    base.backward(step)
    synthetic.clear_gradient()
    value = term.backward(step, 3.0)["loss/bacon"].item()

    network = build(run.spec.network, run.dataset.shape, 3)
    network.load_state_dict(step.params)
    stored = synthetic.stored.detach().clone().requires_grad_()
    images = synthetic.decoder.decode(stored, synthetic.ipc).split(synthetic.per_class)
    total = torch.zeros(())
    for rows, drawn, of_class in zip(step.rows, step.draws, images, strict=True):
        real = network.features(siamese.apply(drawn, run.real_images(rows))).detach()
        own = network.features(siamese.apply(drawn, of_class))
        terms = released_risk(Moments.of(real), own.mean(0)) if variant == "released" else printed_risk(real, own)
        total = total + terms.total(0.4)
    (3 * total).backward()
    assert value == pytest.approx(total.item(), rel=1e-5)
    assert stored.grad is not None
    torch.testing.assert_close(synthetic.gradient, stored.grad, rtol=1e-3, atol=1e-5 * stored.grad.abs().max().item())


@pytest.mark.parametrize("variant", ["released", "paper"])
@pytest.mark.parametrize("method", ["dm", "bacon"])
def test_real_images_pass_once_for_method_and_term(
    make_run: Make, monkeypatch: pytest.MonkeyPatch, method: str, variant: str
) -> None:
    run = make_run(
        method={"name": method, "batch_real": 8}, regularizers=[{"name": "bacon", "weight": 1, "variant": variant}]
    )
    base, term = build_method(run.spec.method, run), build_regularizer(run.spec.regularizers[0], run)
    step = base.draw(0, base.start())
    passed: list[int] = []
    monkeypatch.setattr(run, "real_images", watched(run.real_images, lambda rows: passed.append(len(rows))))
    base.backward(step)
    term.backward(step, 1.0)
    assert sum(passed) == 24


def test_following_the_gradient_lowers_the_term(make_run: Make) -> None:
    run = make_run(method={"name": "dm", "batch_real": 24, "lr_img": 0.5}, regularizers={"bacon": 1})
    base, term = build_method(run.spec.method, run), build_regularizer(run.spec.regularizers[0], run)
    synthetic = base.start()
    step = base.draw(0, synthetic)
    values = []
    for _ in range(5):
        synthetic.clear_gradient()
        values.append(term.backward(step, 1.0)["loss/bacon"].item())
        synthetic.step()
    assert all(later < earlier for earlier, later in pairwise(values))


@pytest.mark.parametrize("method", ["random", "herding"])
def test_a_method_without_features_is_refused_with_those_that_have_them(method: str) -> None:
    with pytest.raises(SpecError, match=rf"/regularizers/0: `bacon` compares .* `{method}` matches none; use one of"):
        parse({"dataset": "digits", "ipc": 2, "method": method, "regularizers": {"bacon": 1}})


def test_a_method_without_features_is_refused_by_the_engine_too(make_run: Make) -> None:
    run = make_run(regularizers={"bacon": 1})
    config = run.spec.regularizers[0]
    run.spec = run.spec.model_copy(update={"method": parse({"dataset": "blobs", "ipc": 2, "method": "random"}).method})
    with pytest.raises(ConfigurationError, match=r"`random` matches none; use one of .*'dm'"):
        build_regularizer(config, run)


def test_a_single_real_image_is_refused(make_run: Make) -> None:
    job = {"dataset": "blobs", "ipc": 2, "method": {"name": "dsa", "batch_real": 1}, "regularizers": {"bacon": 1}}
    with pytest.raises(SpecError, match=r"/regularizers/0: `bacon` measures the spread .*`method.batch_real` is 1"):
        parse(job)
    run = make_run(regularizers={"bacon": 1})
    run.sampler.counts = (1, 24, 24)
    with pytest.raises(ConfigurationError, match="class 'class 0'"):
        build_regularizer(run.spec.regularizers[0], run)

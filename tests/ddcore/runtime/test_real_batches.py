"""Representative batches against a plain reading of DREAM, and who may ask for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ddcore.nets import build
from ddcore.nets.functional import Params
from ddcore.runtime.context import Run
from ddcore.runtime.real_batches.random import RandomBatches
from ddcore.runtime.real_batches.representative import LLOYD_STEPS, RepresentativeBatches
from ddcore.spec import SpecError, parse

Make = Callable[..., Run]


def ready(make_run: Make, **fields: object) -> tuple[Run, RepresentativeBatches, Params]:
    run = make_run(sampler={"name": "representative", **fields})
    assert isinstance(run.real_batches, RepresentativeBatches)
    return run, run.real_batches, run.functional.new(torch.Generator().manual_seed(0))


def plain_representatives(features: Tensor, centroids: Tensor) -> list[int]:
    for _ in range(LLOYD_STEPS):
        nearest = torch.stack([(row - centroids).norm(dim=1).argmin() for row in features])
        centroids = torch.stack(
            [features[nearest == k].mean(0) if (nearest == k).any() else c for k, c in enumerate(centroids)]
        )
    chosen: list[int] = []
    for centroid in centroids.double():
        left = [row for row in range(len(features)) if row not in chosen]
        chosen.append(min(left, key=lambda row: float((features[row].double() - centroid).norm())))
    return chosen


@pytest.mark.parametrize("normalize", [True, False])
def test_batches_are_the_images_nearest_to_the_centroids(make_run: Make, normalize: bool) -> None:
    run, batches, params = ready(make_run, candidates=20, normalize=normalize)
    network = build(run.spec.network, run.dataset.shape, 3)
    network.load_state_dict(params)
    before: list[Tensor] | None = None
    for index in (0, 10):
        state = run.random.state()
        got = batches.rows(index, params, 2)
        run.random.load_state(state)
        candidates = run.sampler.draw_each(20, run.random.host_stream("method/candidates"))
        for label, rows in enumerate(candidates):

            def look(rows: Tensor) -> Tensor:
                pixels = run.dataset.train.images[rows].float() / 255
                with torch.no_grad():
                    return network.features(run.dataset.normalize(pixels) if normalize else pixels)

            start = rows[:2] if before is None else before[label]
            assert got[label].tolist() == rows[plain_representatives(look(rows), look(start))].tolist()
            assert (run.dataset.train.labels[got[label]] == label).all()
        before = got


def test_a_batch_is_kept_for_the_interval(make_run: Make) -> None:
    run, batches, params = ready(make_run, interval=3)
    drawn = []
    for index in range(7):
        drawn.append(torch.cat(batches.rows(index, params, 4)).tolist())
        run.functional.init_(params, torch.Generator().manual_seed(index))
    assert drawn[0] == drawn[1] == drawn[2] != drawn[3] == drawn[4] == drawn[5] != drawn[6]


def test_small_classes_and_few_candidates_give_what_they_have(make_run: Make) -> None:
    _, batches, params = ready(make_run, candidates=2)
    for batch, expected in ((9, 9), (100, 24)):
        batches.load_state({})
        rows = batches.rows(0, params, batch)
        assert [len(set(of_class.tolist())) for of_class in rows] == [expected] * 3


def test_a_saved_batch_is_taken_up_again(make_run: Make) -> None:
    _, batches, params = ready(make_run)
    rows = batches.rows(0, params, 4)
    _, others, _ = ready(make_run)
    others.load_state({name: tensor.clone() for name, tensor in batches.state().items()})
    assert all(map(torch.equal, others.rows(7, params, 4), rows))


def test_random_batches_are_those_of_the_sampler(make_run: Make) -> None:
    run = make_run()
    assert isinstance(run.real_batches, RandomBatches)
    expected = run.sampler.draw_each(6, make_run().random.host_stream("method/real"))
    assert all(map(torch.equal, run.real_batches.rows(0, {}, 6), expected))
    assert run.real_batches.state() == {}


@pytest.mark.parametrize("method", ["dm", "dc", "dsa", "idc", "dream"])
def test_matching_methods_may_use_them(method: str) -> None:
    spec = parse({"dataset": "digits", "ipc": 1, "method": method, "sampler": "representative"})
    assert spec.sampler.name == "representative"


def test_other_methods_may_not() -> None:
    job = {"dataset": "digits", "ipc": 1, "method": "herding", "sampler": "representative"}
    with pytest.raises(SpecError, match="`herding` cannot use the sampler 'representative'; use 'random'"):
        parse(job)

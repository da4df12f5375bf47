"""Sizes of datasets and of what a step sees, against the engine's."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ddcore.data import sources
from ddcore.data.sampling import ClassSampler, reserve
from ddcore.spec import DATASETS, DECODERS, MosaicConfig
from ddcore.spec.work import DataSizes
from ddcore.synthetic import decoders


@pytest.mark.parametrize("ipc", [1, 7, 20, 50, 200])
@pytest.mark.parametrize("fields", [{}, {"factor": 3}, {"scales": "multi"}, {"factor": 3, "scales": "bound"}])
def test_decoders_know_how_many_images_a_step_sees(ipc: int, fields: dict[str, Any]) -> None:
    config, shape = MosaicConfig(**fields), (3, 32, 32)
    decoder = decoders.build(config, shape)
    assert config.images_seen(ipc, shape, 10) == decoder.count(ipc)
    assert config.images_per_class(ipc, shape, 10) == decoder.finished.count(ipc)


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_sizes_of_named_datasets_add_up(name: str) -> None:
    facts = DATASETS[name]
    sizes = DataSizes.of(facts)
    assert (sizes.train, sizes.classes, min(sizes.counts)) == (
        facts.train_size, len(facts.classes), facts.smallest_class,
    )  # fmt: skip


def test_digits_are_as_their_facts_say_and_are_drawn_as_the_sampler_draws_them() -> None:
    dataset, facts = sources.load("digits"), DataSizes.of(DATASETS["digits"])
    sizes = DataSizes(dataset.shape, dataset.class_counts, len(dataset.test))
    assert (sizes.shape, sizes.train, sizes.test) == (facts.shape, facts.train, facts.test)
    generator = torch.Generator().manual_seed(0)
    kept = reserve(dataset, sizes.probe_images, generator)
    assert kept.shape == (10, sizes.probe_images)
    sampler = ClassSampler(dataset.train.labels, 10, exclude=kept)
    assert sizes.drawable == sum(sampler.counts)
    for per_class in (1, 64, 128, 1000):
        assert sizes.drawn(per_class) == sum(map(len, sampler.draw_each(per_class, generator)))
        assert sizes.drawn_evenly(per_class) == sampler.draw(per_class, generator).numel()


@pytest.mark.parametrize("smallest", [2, 3, 19, 20, 499, 500, 5000])
def test_probe_leaves_images_to_learn_from(smallest: int) -> None:
    sizes = DataSizes((1, 8, 8), (smallest, 10_000), 10)
    assert 1 <= sizes.probe_images <= min(50, smallest // 2)
    assert sizes.drawn_evenly(1) == 2


def test_every_decoder_sees_no_more_than_it_makes() -> None:
    for name in DECODERS:
        config = DECODERS.parse(name)
        assert 0 < config.images_seen(10, (3, 32, 32), 10) <= config.images_per_class(10, (3, 32, 32), 10)

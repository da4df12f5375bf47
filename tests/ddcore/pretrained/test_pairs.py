"""Pairs of networks: trained as a whole, kept, shared, and refused where they do not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator

from ddcore.augment.training import stacked
from ddcore.errors import ConfigurationError
from ddcore.machine import capacity
from ddcore.pretrained.pairs import NetworkPairs, Pair, pairs
from ddcore.runtime.context import Run
from ddcore.runtime.randomness import stream_seed
from ddcore.spec import PairsConfig
from ddcore.training import trainer
from tests.ddcore.recorder import Recorder
from tests.ddcore.watching import watched

Make = Callable[..., Run]
SMALL = PairsConfig(count=2, epochs=6, batch_size=24)


def made(run: Run, config: PairsConfig = SMALL) -> NetworkPairs:
    found = NetworkPairs(config, run)
    found.prepare()
    return found


def test_both_ends_of_the_released_training(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(augmentation="color_crop_cutout")
    seen: list[Any] = []
    monkeypatch.setattr(trainer, "train", watched(trainer.train, lambda *args, **_: seen.append(args[4])))
    pool = made(run)
    recipe = seen[0]
    assert (recipe.epochs, recipe.drops, recipe.drop_factor, recipe.restarts) == (6, (4, 5), 0.2, False)
    assert (recipe.lr, recipe.momentum, recipe.weight_decay, recipe.batch_size) == (0.01, 0.9, 5e-4, 24)
    assert (recipe.strategy, recipe.augmenter, recipe.cutmix) == (("color", "crop"), stacked, 0.5)
    fresh = run.functional.new(Generator().manual_seed(stream_seed(1, "pair")))
    assert all(torch.equal(pool[1].initial[name], fresh[name]) for name in fresh)
    assert not any(torch.equal(pool[1].final[name], fresh[name]) for name in run.functional.names)
    assert not torch.equal(pool[0].final["classifier.weight"], pool[1].final["classifier.weight"])
    scored = [
        trainer.accuracy(
            run.functional,
            end,
            run.dataset.test.images,
            run.dataset.test.labels,
            normalize=run.dataset.normalize,
        )
        for end in pool[0]
    ]
    assert scored[1] > scored[0] + 20


def test_a_pair_that_is_there_is_not_trained(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    monkeypatch.setattr(trainer, "train", watched(trainer.train, lambda *_, **__: pytest.fail("trained")))
    initial, final = (run.functional.new(Generator().manual_seed(seed)) for seed in (1, 2))
    pool = NetworkPairs(SMALL.model_copy(update={"count": 1}), run)
    pool.adopt(0, Pair(initial, final))
    pool.prepare()
    assert pool[0].final is final


def test_they_are_kept_and_shared(make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    run.cache = tmp_path
    first = made(run)
    monkeypatch.setattr(trainer, "train", lambda *_, **__: pytest.fail("trained again"))
    again = made(run)
    for ours, theirs in zip(first[1], again[1], strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert pairs(SMALL, run) is pairs(SMALL, run)
    with pytest.raises(IndexError, match="no pair 2 in a pool of 2"):
        again[2]


def test_whatever_changes_the_weights_changes_the_hash(make_run: Make) -> None:
    run = make_run()
    digests = {
        NetworkPairs(SMALL.model_copy(update=change), run).digest() for change in ({}, {"lr": 0.02}, {"epochs": 7})
    } | {NetworkPairs(SMALL, make_run(augmentation="color")).digest()}
    assert len(digests) == 4
    assert NetworkPairs(SMALL.model_copy(update={"count": 9}), run).digest() in digests


def test_progress_counts_epochs(make_run: Make) -> None:
    run, done = make_run(), []

    class Heard(Recorder):
        def on_progress(self, step: int, total: int) -> None:
            done.append((step, total))

    run.callback = heard = Heard()
    made(run, PairsConfig(count=2, epochs=2, batch_size=72))
    assert heard.phases == ["pretraining"]
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_pairs_that_do_not_fit_are_refused(make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two networks each; a disk for five of them takes two pairs."""
    run = make_run()
    run.cache = tmp_path
    monkeypatch.setattr(capacity, "free_disk", lambda _: 5 * run.functional.parameter_bytes)
    pairs(SMALL, run)
    with pytest.raises(ConfigurationError, match=r"`method\.pairs\.count` is 20, .* choose a .* of at most 2"):
        NetworkPairs(SMALL.model_copy(update={"count": 20}), run).check_room()

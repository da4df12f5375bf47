"""Recipes of the protocols: epochs and drops against the published loops, written out."""

from __future__ import annotations

from typing import Any

import pytest

from ddcore.augment.training import stacked
from ddcore.errors import ConfigurationError
from ddcore.spec import PROTOCOLS, EvaluationConfig
from ddcore.training.recipes import described, recipe_of, scheduled
from ddcore.training.trainer import Recipe


def rates(recipe: Recipe) -> list[float]:
    """The learning rate of every epoch."""
    found, lr = [], recipe.lr
    for epoch in range(1, recipe.epochs + 1):
        found.append(lr)
        lr *= recipe.drop_factor ** recipe.drops.count(epoch)
    return found


def published_once(epochs: int, lr: float = 0.01) -> list[float]:
    """The loop of DC and of its heirs: E + 1 epochs counted from 0, a tenth after that with the index E // 2 + 1."""
    found, schedule = [], [epochs // 2 + 1]
    for epoch in range(epochs + 1):
        found.append(lr)
        if epoch in schedule:
            lr *= 0.1
    return found


def published_twice(epochs: int, lr: float = 0.01) -> list[float]:
    """The loop of IDC: E epochs, a fifth once 2 E // 3 and once 5 E // 6 of them have been made."""
    found, made = [], 0
    while made < epochs:
        found.append(lr)
        made += 1
        lr *= 0.2 ** [2 * epochs // 3, 5 * epochs // 6].count(made)
    return found


@pytest.mark.parametrize("epochs", [1, 2, 5, 6, 300, 600, 1000])
def test_the_rate_of_every_epoch_is_the_published_one(epochs: int) -> None:
    once = recipe_of(EvaluationConfig(epochs=epochs), ())
    assert rates(once) == published_once(epochs)
    assert once.restarts
    kept = recipe_of(EvaluationConfig(protocol="pdd", epochs=epochs, lr=0.01), ())
    assert rates(kept) == published_once(epochs)
    assert not kept.restarts, "PDD's evaluate_synset lowers the rate of its optimiser and keeps it"
    twice = recipe_of(EvaluationConfig(protocol="idc", epochs=epochs), ())
    assert rates(twice) == published_twice(epochs)
    assert not twice.restarts
    halved = recipe_of(EvaluationConfig(protocol="ncfm", epochs=epochs), ())
    milestones = [epochs // 5, 2 * epochs // 5, 3 * epochs // 5, 4 * epochs // 5]
    assert rates(halved) == [0.001 * 0.5 ** sum(made >= m > 0 for m in milestones) for made in range(epochs)]
    assert not halved.restarts
    assert rates(recipe_of(EvaluationConfig(protocol="bptt", epochs=epochs), ())) == [0.01] * epochs


@pytest.mark.parametrize(("epochs", "passes", "drop"), [(300, 301, 152), (1000, 1001, 502), (5, 6, 4), (1, 2, 2)])
def test_the_standard_recipe_is_the_published_one(epochs: int, passes: int, drop: int) -> None:
    assert recipe_of(EvaluationConfig(epochs=epochs), ("flip",)) == Recipe(
        passes, 0.01, 0.9, 5e-4, 256, drops=(drop,), strategy=("flip",)
    )


DC = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4, "batch_size": 256, "optimizer": "sgd", "cutmix": 0.0}
ADAMW = {**DC, "lr": 0.001, "batch_size": 50, "optimizer": "adamw"}
TABLE: dict[str, tuple[int, dict[str, Any]]] = {
    "standard": (301, DC), "dc": (301, DC), "dc_mnist": (1001, DC), "dc_bn": (1001, DC), "dsa": (1001, DC),
    "dm": (1001, DC), "cafe": (601, DC), "cafe_dsa": (1001, DC), "idm": (1001, DC), "dc_bench": (301, DC),
    "dc_bench_dsa": (1001, DC), "dc_bench_autoaugment": (1001, DC), "dc_bench_randaugment": (1001, DC),
    "dc_bench_crop_flip": (1001, DC), "dc_bench_crop_flip_jitter": (1001, DC),
    "idc": (1000, {**DC, "batch_size": 64, "cutmix": 0.5}),
    "ncfm": (2000, {**DC, "optimizer": "adamw", "lr": 0.001, "batch_size": 128, "cutmix": 0.5}),
    "mtt": (1001, {**DC, "lr": 0.0213}), "seqmatch": (1001, {**DC, "lr": 0.0213}), "pdd": (501, {**DC, "lr": 0.0213}),
    "bptt": (300, {**DC, "weight_decay": 0.0, "batch_size": 640}),
    "linear_probe": (
        1000,
        {
            **DC, "optimizer": "adam", "lr": 0.00390625 / 10, "weight_decay": 0.0, "batch_size": 100, "cosine": True,
            "half_cosine": False, "trains": "head", "drops": (),
        },
    ),
    "fadrm": (
        300,
        {
            **ADAMW, "weight_decay": 0.01, "batch_size": 16, "cutmix": 1.0, "temperature": 20.0, "label_loss": "kl",
            "half_cosine": True,
        },
    ),
    "rded": (
        300,
        {**ADAMW, "weight_decay": 0.01, "cutmix": 1.0, "temperature": 20.0, "label_loss": "kl", "half_cosine": True},
    ),
    "cim": (
        1000,
        {**ADAMW, "weight_decay": 1e-4, "label_loss": "mse_logits", "drops": (666, 833), "drop_factor": 0.2},
    ),
}  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_has_the_recipe_of_the_table(protocol: str) -> None:
    passes, fields = TABLE[protocol]
    recipe = recipe_of(EvaluationConfig(protocol=protocol), (), stacked, learning_rate=0.0213)
    assert recipe.epochs == passes
    assert {name: getattr(recipe, name) for name in fields} == fields
    assert recipe.augmenter is stacked


def test_adam_comes_with_the_rate_of_dc_bench_and_without_drops() -> None:
    recipe = recipe_of(EvaluationConfig(protocol="dc_bench", optimizer="adam"), ())
    assert (recipe.optimizer, recipe.lr, recipe.weight_decay, recipe.drops) == ("adam", 0.003, 0, ())
    assert recipe_of(EvaluationConfig(optimizer="adam", lr=0.1), ()).lr == 0.1


def test_adamw_comes_with_the_decay_of_its_authors() -> None:
    recipe = recipe_of(EvaluationConfig(optimizer="adamw"), ())
    assert (recipe.optimizer, recipe.lr, recipe.weight_decay, recipe.drops) == ("adamw", 0.001, 0.01, ())


def test_a_shorter_schedule_keeps_its_shape() -> None:
    config = EvaluationConfig(epochs=300)
    recipe = recipe_of(config, ("crop",))
    assert scheduled(recipe, config, 20) == recipe_of(EvaluationConfig(epochs=20), ("crop",))


def test_a_learned_rate_that_is_not_there_is_refused() -> None:
    config = EvaluationConfig(protocol="mtt")
    assert recipe_of(config, (), learning_rate=0.02).lr == 0.02
    assert recipe_of(EvaluationConfig(), (), learning_rate=0.02).lr == 0.01
    with pytest.raises(ConfigurationError, match=r"this set learned none; give `evaluation\.lr`"):
        recipe_of(config, ())


def test_a_recipe_in_words() -> None:
    config = EvaluationConfig(protocol="idc", epochs=6, labels="soft", temperature=4)
    found = described(config, recipe_of(config, ("flip",)), "soft")
    assert found.model_dump(mode="json") == {
        "name": "idc",
        "optimizer": "sgd",
        "passes": 6,
        "lr": 0.01,
        "lr_is": "given",
        "lr_drops": {"after_passes": [4, 5], "factor": 0.2, "clears_momentum": False},
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "batch_size": 64,
        "augmentation": ["flip"],
        "augmenter": "stacked",
        "cutmix": 0.5,
        "labels": "soft",
        "temperature": 4.0,
        "scored_on": "test, all images, last pass",
    }
    online = EvaluationConfig(protocol="rded", epochs=6)
    in_words = described(online, recipe_of(online, ("flip",)), "online").model_dump(mode="json")
    assert (in_words["labels"], in_words["temperature"], in_words["lr_drops"]) == ("online", 20.0, None)
    assert (in_words["label_loss"], in_words["teacher_mode"]) == ("kl", "eval")
    assert (in_words["lr_schedule"], in_words["optimizer"]) == ("half_cosine", "adamw")
    probe = EvaluationConfig(protocol="linear_probe", epochs=6)
    of_head = described(probe, recipe_of(probe, ("crop",)), "hard").model_dump(mode="json")
    assert (of_head["lr_schedule"], of_head["trains"], of_head["augmenter"]) == ("cosine", "head", "resized_crop")
    raw = EvaluationConfig(protocol="cim")
    assert described(raw, recipe_of(raw, ()), "online").temperature is None
    adam = EvaluationConfig(optimizer="adam", lr=None, epochs=6)
    words = described(adam, recipe_of(adam, (), learning_rate=0.5), "hard")
    assert (words.momentum, words.lr_drops, words.temperature) == (None, None, None)
    assert (words.lr, words.lr_is) == (0.5, "learned with the set")

"""Recipes are told apart by what decides how networks are trained, and by nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from ddcore.spec import DATASETS, parse
from ddcore.spec.recipe import DECIDING, recipe_of

JOB: dict[str, Any] = {"dataset": "cifar10", "ipc": 10, "method": {"name": "dm", "iterations": 5}}


def key(facts: bool = True, **fields: Any) -> str:
    return recipe_of(parse({**JOB, **fields}).model_dump(mode="json"), DATASETS["cifar10"] if facts else None).key


@pytest.mark.parametrize(
    "fields",
    [
        {"ipc": 1, "seed": 9, "method": "random"},
        {"evaluation": {"repeats": 9, "controls": ["herding"], "scores": ["label_robust"], "worth": {}, "tests": 3}},
        {"network": {"name": "convnet", "depth": 3}},
        {"augmentation": "flip_color_crop_cutout_scale_rotate"},
        {"network": "mlp", "evaluation": {"networks": ["convnet", "lenet"]}},
        {"precision": "bf16", "compile": "off", "device": "cpu"},
    ],
)
def test_what_does_not_change_the_training(fields: dict[str, Any]) -> None:
    assert key(**fields) == key()


@pytest.mark.parametrize(
    "fields",
    [
        {"network": {"name": "convnet", "width": 64}},
        {"augmentation": "none"},
        {"whitening": True},
        {"evaluation": {"epochs": 301}},
        {"evaluation": {"lr": 0.02}},
        {"evaluation": {"optimizer": "adam"}},
        {"evaluation": {"cutmix": 0.5}},
        {"evaluation": {"labels": "soft"}},
        {"evaluation": {"labels": "stored", "stored_top": 3}},
        {"evaluation": {"batch_size": 32}},
        {"evaluation": {"trains": "head"}},
    ],
)
def test_what_changes_it(fields: dict[str, Any]) -> None:
    assert key(**fields) != key()


def test_the_teacher_counts_where_it_gives_labels() -> None:
    teacher = {"teacher": {"epochs": 3}}
    assert key(evaluation=teacher) == key()
    soft = {"labels": "soft"}
    assert key(evaluation={**soft, **teacher}) != key(evaluation=soft)


def test_the_highest_logits_that_are_stored_count_and_are_named() -> None:
    stored = {"labels": "stored"}
    assert len({key(evaluation={**stored, "stored_top": top}) for top in (None, 2, 3)}) == 3
    spec = parse({**JOB, "evaluation": {**stored, "stored_top": 3}}).model_dump(mode="json")
    assert recipe_of(spec, None).words.endswith("stored labels of the 3 highest logits")


def test_a_mirror_image_that_loses_its_class_leaves_flip_out() -> None:
    digits = parse({**JOB, "dataset": "digits"}).model_dump(mode="json")
    named = parse({**JOB, "dataset": "digits", "augmentation": "color_crop_cutout_scale_rotate"}).model_dump(
        mode="json"
    )
    assert recipe_of(digits, DATASETS["digits"]).key == recipe_of(named, DATASETS["digits"]).key


def test_an_older_specification_has_the_defaults_of_what_came_later() -> None:
    spec = parse(JOB).model_dump(mode="json")
    old = {**spec, "evaluation": {name: v for name, v in spec["evaluation"].items() if name not in DECIDING[8:]}}
    assert recipe_of(old, None).key == recipe_of(spec, None).key
    odd = {**spec, "network": {"name": "convnet", "colour": "blue"}}
    assert recipe_of(odd, DATASETS["cifar10"]).key != recipe_of(spec, DATASETS["cifar10"]).key


def test_the_words_name_what_decides() -> None:
    spec = parse({**JOB, "whitening": True, "evaluation": {"cutmix": 0.5, "lr": 0.5}}).model_dump(mode="json")
    words = recipe_of(spec, DATASETS["cifar10"]).words
    assert words == (
        "convnet (depth 3, width 128, norm instance), 300 epochs of sgd at learning rate 0.5, "
        "augmented by color crop flip rotate scale (siamese), CutMix, hard labels, whitened pixels"
    )

"""Protocols as defaults, pools of networks, and what cannot be scored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import pytest

from ddcore.spec import (
    METHODS,
    NETWORK_POOLS,
    PROTOCOLS,
    ConvNetConfig,
    DMConfig,
    EvaluationConfig,
    SpecError,
    TrainingCondition,
    method_config,
    parse,
)

JOB: dict[str, Any] = {"dataset": "cifar10", "ipc": 10, "method": "dm"}


def faults(evaluation: Any, **fields: Any) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        parse({**JOB, **fields, "evaluation": evaluation})
    return {problem.pointer: problem.detail for problem in caught.value.problems}


def test_the_defaults_are_the_standard_protocol() -> None:
    config = EvaluationConfig()
    assert config == EvaluationConfig(protocol="standard")
    assert (config.repeats, config.epochs, config.lr, config.batch_size) == (3, 300, 0.01, 256)
    assert (config.augmentation, config.controls, config.labels) == (None, ("random",), "hard")


PUBLISHED = {
    "standard": (3, 300, None, "siamese"), "dc": (20, 300, "none", "siamese"),
    "dc_mnist": (20, 1000, "crop_scale_rotate", "per_image"), "dc_bn": (20, 1000, "crop_noise", "per_image"),
    "dsa": (20, 1000, "auto", "siamese"), "dm": (5, 1000, "auto", "siamese"), "cafe": (20, 600, "none", "siamese"),
    "cafe_dsa": (20, 1000, "auto", "siamese"), "idm": (5, 1000, "auto", "siamese"),
    "dc_bench": (5, 300, "none", "siamese"), "dc_bench_dsa": (5, 1000, "auto", "siamese"),
    "dc_bench_autoaugment": (5, 1000, "autoaugment", "eight_bit"),
    "dc_bench_randaugment": (5, 1000, "randaugment", "eight_bit"),
    "dc_bench_crop_flip": (5, 1000, "crop_flip_cutout", "eight_bit"),
    "dc_bench_crop_flip_jitter": (5, 1000, "crop_flip_jitter", "eight_bit"),
    "idc": (3, 1000, "auto", "stacked"), "ncfm": (10, 2000, "auto", "stacked"),
    "mtt": (5, 1000, "auto", "siamese"), "bptt": (10, 300, "none", "siamese"),
    "rded": (3, 300, "auto", "siamese"), "cim": (3, 1000, "auto", "siamese"),
    "linear_probe": (5, 1000, "auto", "resized_crop"),
    "fadrm": (3, 300, "crop_flip_scale", "siamese"),
    "seqmatch": (5, 1000, "auto", "siamese"), "pdd": (5, 500, "auto", "siamese"),
}  # fmt: skip


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_decides_what_is_not_given(name: str) -> None:
    config = EvaluationConfig(protocol=name)
    assert (config.repeats, config.epochs, config.augmentation, config.augmenter) == PUBLISHED[name]
    changed = EvaluationConfig(protocol=name, repeats=2, epochs=7, lr=0.5)
    assert (changed.repeats, changed.epochs, changed.lr) == (2, 7, 0.5)
    assert changed.augmentation == config.augmentation
    assert EvaluationConfig.model_validate(json.loads(config.model_dump_json())) == config


def test_a_specification_that_was_written_out_keeps_its_evaluation() -> None:
    spec = parse({**JOB, "evaluation": {"protocol": "idc", "networks": ["M", "resnet18"], "scores": ["label_robust"]}})
    assert parse(json.loads(spec.model_dump_json())) == spec


@pytest.mark.parametrize("value", ["B", ["B"]])
def test_a_pool_of_networks_is_written_out(value: Any) -> None:
    networks = EvaluationConfig(networks=value).networks
    assert networks == NETWORK_POOLS["B"]
    assert [(n.name, n.model_dump()["norm"]) for n in networks] == [
        ("convnet", "batch"), ("convnet", "batch"), ("alexnet", "batch"), ("vgg11", "batch"), ("resnet18", "batch"),
    ]  # fmt: skip
    assert isinstance(networks[1], ConvNetConfig)
    assert networks[1].activation == "swish"


def test_pools_and_networks_mix() -> None:
    networks = EvaluationConfig.model_validate({"networks": ["M", {"name": "convnet", "width": 8}]}).networks
    assert [n.name for n in networks] == ["mlp", "convnet", "lenet", "alexnet", "vgg11", "resnet18", "convnet"]
    assert EvaluationConfig.model_validate({"networks": "lenet"}).networks == (NETWORK_POOLS["M"][2],)


@pytest.mark.parametrize(
    ("evaluation", "pointer", "detail"),
    [
        (
            {"protocol": "idcc"},
            "/protocol",
            "unknown protocol 'idcc', did you mean 'idc'? Others: 'dc', 'idm'; known: standard, dc,",
        ),
        ({"protocol": ["dc"]}, "/protocol", "`protocol` is ['dc']: input should be a valid string"),
        ({"networks": ["N"]}, "/networks/0", "unknown network 'N'"),
        ({"networks": 3}, "/networks", "`networks` is 3"),
        (
            {"schedule": "linear"},
            "/schedule",
            "one of 'drop_once', 'drop_once_kept', 'drop_twice', 'halve_four_times', 'half_cosine', 'cosine' or "
            "'constant'",
        ),
        ({"optimizer": "lion"}, "/optimizer", "must be one of 'sgd', 'adam' or 'adamw'"),
        ({"lr": 0}, "/lr", "`lr` is 0, but must be greater than 0"),
        ({"cutmix": 1.5}, "/cutmix", "`cutmix` is 1.5, but must be at most 1"),
        ({"tests": 0}, "/tests", "must be at least 1"),
        ({"temperature": 0}, "/temperature", "must be greater than 0"),
        ({"full_images": 0}, "/full_images", "must be at least 1"),
        ({"labels": "both"}, "/labels", "must be one of 'hard', 'soft', 'online' or 'stored'"),
        ({"labels": "online", "teacher": None}, "/teacher", "`teacher` is None: input should be a valid dictionary"),
        (
            {"label_loss": "mse_logits"},
            "/label_loss",
            "`label_loss` is 'mse_logits', but `labels` is 'hard', so no teacher labels the batches; use `labels`: "
            "'online', or drop it",
        ),
        ({"labels": "soft", "teacher_mode": "train"}, "/teacher_mode", "but `labels` is 'soft', so no teacher labels"),
        (
            {"labels": "online", "teacher_mode": "train"},
            "/teacher_mode",
            "the teacher `convnet` has no batch normalisation (`norm` is 'instance'); use `teacher_mode`: 'eval', or a "
            "network with `norm`: 'batch'",
        ),
        (
            {"labels": "online", "teacher_mode": "train", "teacher": {"network": "mlp"}},
            "/teacher_mode",
            "the teacher `mlp` has no batch normalisation (`norm` is 'none')",
        ),
        (
            {"protocol": "linear_probe", "networks": ["mlp", "lenet"]},
            "/networks",
            "`trains` is 'head', a linear classifier on the features of the teacher (`convnet`), but `networks` names "
            "`mlp`, `lenet`; set `evaluation.teacher.network`, and leave `networks` out",
        ),
        (
            {"stored_epochs": 3},
            "/stored_epochs",
            "`stored_epochs` is 3, but `labels` is 'hard', so no labels of epochs are stored; use `labels`: 'stored'",
        ),
        (
            {"labels": "online", "stored_top": 3},
            "/stored_top",
            "`stored_top` is 3, but `labels` is 'online', so no labels of epochs are stored; use `labels`: 'stored'",
        ),
        ({"labels": "stored", "stored_top": 0}, "/stored_top", "must be at least 1"),
        (
            {"labels": "online", "other_teachers": [{"epochs": 3}]},
            "/other_teachers",
            "averaged for labels that are stored, but `labels` is 'online'; use `labels`: 'stored', or drop them",
        ),
        (
            {"labels": "stored", "other_teachers": [{"epochs": 3}, {"network": "lenet"}, {"epochs": 3}]},
            "/other_teachers/2",
            "`convnet` with these fields is among the teachers before it, and the same network says the same; change",
        ),
        ({"labels": "stored", "other_teachers": [{}]}, "/other_teachers/0", "among the teachers before it"),
        (
            {"protocol": "fadrm", "labels": "stored", "other_teachers": [{"network": "lenet"}]},
            "/teacher_mode",
            "the teacher `lenet` has no batch normalisation (`norm` is 'none'); use `teacher_mode`: 'eval', or a",
        ),
        (
            {"labels": "stored", "stored_top": 6},
            "/stored_top",
            "`stored_top` is 6, which takes 20 bytes for each image with the numbers of the classes, where the logits "
            "of all 10 classes take 20, so it would save nothing; choose 1 to 5, or drop it",
        ),
        ({"labels": "stored", "stored_top": 10}, "/stored_top", "takes 32 bytes"),
        ({"trains": "body"}, "/trains", "must be one of 'network' or 'head'"),
        ({"augmenter": "resized_crop"}, "/augmentation", "give `evaluation.augmentation`: some of crop, flip joined"),
        ({"augmenter": "resized_crop", "augmentation": "scale"}, "/augmentation", "unknown augmentation 'scale'"),
        ({"controls": ["random", "random"]}, "/controls", "'random' is listed 2 times"),
        ({"scores": ["robust"]}, "/scores/0", "must be one of 'label_robust' or 'augmentation_robust'"),
        ({"teacher": {"epoch": 3}}, "/teacher/epoch", "did you mean `epochs`?"),
        ({"augmenter": "per_image"}, "/augmentation", "give `evaluation.augmentation`: some of crop, scale, rotate"),
        (
            {"augmenter": "per_image", "augmentation": "color"},
            "/augmentation",
            "unknown augmentation 'color'; join some of crop, scale, rotate, noise by '_', or say 'none'",
        ),
        ({"protocol": "dc_mnist", "augmentation": "auto"}, "/augmentation", "unknown augmentation 'auto'"),
        ({"augmentation": "noise"}, "/augmentation", "unknown augmentation 'noise'"),
        (
            {"protocol": "mtt"},
            "/lr",
            "`lr` is null, the learning rate that the set learned (protocol 'mtt'), but `dm` learns none; give "
            "`evaluation.lr`",
        ),
        (
            {"scores": ["augmentation_robust"], "augmentation": "none"},
            "/scores",
            "the networks are trained without; give `evaluation.augmentation`",
        ),
        ({"scores": ["label_robust"], "repeats": 0}, "/scores", "`repeats` is 0; choose 1 to 100"),
    ],
)
def test_each_fault_is_located_and_explained(evaluation: dict[str, Any], pointer: str, detail: str) -> None:
    found = faults(evaluation)
    assert list(found) == [f"/evaluation{pointer}"]
    assert detail in found[f"/evaluation{pointer}"]


def test_augmentation_may_be_cutmix_alone() -> None:
    parse({**JOB, "evaluation": {"scores": ["augmentation_robust"], "augmentation": "none", "cutmix": 0.5}})
    assert "/evaluation/scores" in faults({"scores": ["augmentation_robust"]}, augmentation="none")


@pytest.fixture
def toy() -> Iterator[str]:
    @method_config
    class ToyConfig(DMConfig):
        name: Literal["toy"] = "toy"  # type: ignore[assignment] # a component of its own, under its own name
        learns_lr: ClassVar[bool] = True
        job_defaults: ClassVar[dict[str, Any]] = {"evaluation": {"protocol": "mtt", "epochs": 300, "repeats": 3}}

    yield "toy"
    METHODS.unregister("toy")


def test_a_method_may_name_its_protocol_and_keep_the_usual_budget(toy: str) -> None:
    job = {**JOB, "method": toy}
    spec = parse(job).evaluation
    assert (spec.protocol, spec.lr, spec.epochs, spec.repeats) == ("mtt", None, 300, 3)
    spec = parse({**job, "evaluation": {"epochs": 9}}).evaluation
    assert (spec.protocol, spec.lr, spec.epochs, spec.repeats) == ("mtt", None, 9, 3)
    spec = parse({**job, "evaluation": {"protocol": "mtt"}}).evaluation
    assert (spec.epochs, spec.repeats) == (1000, 5)
    spec = parse({**job, "evaluation": {"protocol": "dc"}}).evaluation
    assert (spec.lr, spec.epochs) == (0.01, 300)


def test_a_protocol_replaces_the_evaluation_of_a_preset_and_fields_amend_it() -> None:
    preset = "paper/dm-cifar10-ipc10"
    amended = parse({"preset": preset, "evaluation": {"repeats": 2}}).evaluation
    assert (amended.repeats, amended.epochs) == (2, 1000)
    replaced = parse({"preset": preset, "evaluation": {"protocol": "dc"}}).evaluation
    assert replaced == EvaluationConfig(protocol="dc")


def test_labels_of_every_batch_come_with_their_temperature_and_adamw() -> None:
    usual = EvaluationConfig(labels="online")
    assert (usual.temperature, usual.optimizer, usual.lr, usual.weight_decay) == (20, "adamw", 0.001, 0.01)
    given = EvaluationConfig(labels="online", optimizer="sgd", lr=0.1)
    assert (given.optimizer, given.lr, given.weight_decay) == ("sgd", 0.1, 5e-4)
    assert EvaluationConfig(labels="online", temperature=4).temperature == 4
    assert EvaluationConfig(labels="soft").temperature == 1
    rded, cim = EvaluationConfig(protocol="rded"), EvaluationConfig(protocol="cim")
    assert (rded.labels, rded.label_loss, rded.temperature, rded.optimizer) == ("online", "kl", 20, "adamw")
    assert (cim.labels, cim.label_loss, cim.schedule, cim.weight_decay) == ("online", "mse_logits", "drop_twice", 1e-4)
    assert EvaluationConfig(protocol="rded", labels="hard").temperature == 1


def test_labels_that_a_method_learned_and_those_of_every_batch_exclude_each_other() -> None:
    job = {**JOB, "method": {"name": "tesla", "labels": "soft"}, "evaluation": {"labels": "online", "lr": 0.01}}
    with pytest.raises(SpecError, match=r"/evaluation/labels: .* learns labels of its own, .* use `method\.labels`"):
        parse(job)
    parse({**job, "method": "tesla"})


def test_a_rate_that_was_learned_with_classes_is_none_for_labels_of_every_batch() -> None:
    job = {**JOB, "method": "mtt", "evaluation": {"labels": "online"}}
    with pytest.raises(SpecError, match=r"/evaluation/lr: `lr` is null, .* give `evaluation\.lr` \(0\.001 is usual"):
        parse(job)
    given = parse({**job, "evaluation": {"labels": "online", "lr": 0.001}}).evaluation
    assert (given.protocol, given.optimizer, given.lr) == ("mtt", "adamw", 0.001)


def test_conditions_are_each_trained_once() -> None:
    config = EvaluationConfig(controls=("random", "full"), scores=("label_robust", "augmentation_robust"))
    first, others = config.conditions(0), config.conditions(1)
    assert others == (
        TrainingCondition("distilled", "hard"),
        TrainingCondition("random", "hard"),
        TrainingCondition("full", "hard"),
    )
    assert first == (
        *others,
        TrainingCondition("distilled", "soft"),
        TrainingCondition("random", "soft"),
        TrainingCondition("distilled", "hard", augmented=False),
        TrainingCondition("random", "hard", augmented=False),
    )
    assert config.conditions(1, "soft")[:2] == (
        TrainingCondition("distilled", "soft"),
        TrainingCondition("random", "hard"),
    )


@pytest.mark.parametrize(
    ("fields", "needed"),
    [
        ({}, False),
        ({"labels": "soft"}, True),
        ({"labels": "soft", "repeats": 0}, True),
        ({"labels": "online"}, True),
        ({"labels": "stored"}, True),
        ({"trains": "head"}, True),
        ({"scores": ("label_robust",)}, True),
        ({"scores": ("augmentation_robust",)}, False),
        ({"controls": ("herding",)}, True),
        ({"controls": ("herding",), "repeats": 0}, False),
        ({"controls": ("full", "random")}, False),
    ],
)
def test_a_teacher_is_trained_only_for_what_takes_one(fields: dict[str, Any], needed: bool) -> None:
    assert EvaluationConfig(**fields).needs_teacher == needed


def test_heads_have_the_architecture_of_the_teacher_and_keep_it() -> None:
    given: dict[str, Any] = {"teacher": {"network": "lenet"}}
    head = EvaluationConfig(protocol="linear_probe", **given)
    network = ConvNetConfig(width=7)
    assert head.architectures(network) == (head.teacher.network,)
    assert EvaluationConfig(**given).architectures(network) == (network,)
    assert (head.keeps_teacher, EvaluationConfig(**given).keeps_teacher) == (True, False)
    assert (head.learning_passes, EvaluationConfig().learning_passes) == (1, 3)
    parse({**JOB, "evaluation": {"protocol": "linear_probe", "networks": ["lenet"], **given}})


def test_labels_of_epochs_come_as_those_of_batches_do() -> None:
    usual = EvaluationConfig(labels="stored")
    assert (usual.temperature, usual.optimizer, usual.lr) == (20, "adamw", 0.001)
    assert (usual.labels_batches, usual.keeps_teacher, usual.labelled_epochs) == (True, False, 300)
    assert EvaluationConfig(labels="stored", stored_epochs=7).labelled_epochs == 7
    assert EvaluationConfig(labels="stored", epochs=5, stored_epochs=7).labelled_epochs == 5
    fadrm = EvaluationConfig(protocol="fadrm", labels="stored")
    assert (fadrm.label_loss, fadrm.teacher_mode, fadrm.temperature) == ("kl", "train", 20)


@pytest.mark.parametrize(("classes", "most"), [(2, 0), (3, 1), (10, 5), (256, 169), (257, 127), (1000, 499)])
def test_the_highest_logits_may_be_as_many_as_take_less_than_all(classes: int, most: int) -> None:
    """With 1 byte for a class of up to 256, else 2, and 2 bytes for each logit and for the others."""
    of_one = 3 if classes <= 256 else 4
    assert [k for k in range(1, classes + 2) if of_one * k + 2 < 2 * classes] == list(range(1, most + 1))
    refused = EvaluationConfig(labels="stored", stored_top=most + 1).unstorable(1, classes)
    assert refused is not None
    assert refused.detail.endswith(f"choose 1 to {most}, or drop it" if most else "save nothing; drop it")
    if most:
        assert EvaluationConfig(labels="stored", stored_top=most).unstorable(1, classes) is None


def test_labels_that_take_too_much_room_are_refused_with_what_fits() -> None:
    job = {"dataset": "cifar100", "ipc": 100, "method": "dm"}
    asked = {"labels": "stored", "epochs": 3000}
    ways_out = r"`stored_epochs` of 1 to 1073, or `stored_top` of 1 to 23, or use `labels`: 'online'"
    with pytest.raises(SpecError, match=rf"in 100 classes take 5\.6 GiB, .* {ways_out}"):
        parse({**job, "evaluation": asked})
    parse({**job, "evaluation": {**asked, "stored_epochs": 1073}})
    parse({**job, "evaluation": {**asked, "stored_top": 23}})
    ways_out = r"`stored_epochs` of 1 to 2902, or `stored_top` of 1 to 23, or use"
    with pytest.raises(SpecError, match=rf"100 classes, the highest 24 logits of each, take 2\.1 GiB, .* {ways_out}"):
        parse({**job, "evaluation": {**asked, "stored_top": 24}})
    parse({**job, "evaluation": {**asked, "stored_top": 24, "stored_epochs": 2902}})
    staged = {"dataset": "cifar10", "ipc": 10, "method": "seqmatch"}
    with pytest.raises(SpecError, match=r"networks learn it in stages .* use `staging`: 'together'"):
        parse({**staged, "evaluation": {"labels": "stored", "lr": 0.001, "staging": "at_rest"}})

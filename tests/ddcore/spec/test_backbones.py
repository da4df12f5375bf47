"""Backbones in a job: what is refused, what they cost, and how recipes are told apart by them."""

from __future__ import annotations

from typing import Any

import pytest

from ddcore.spec import ConvNetConfig, LinearGradientConfig, SpecError, parse
from ddcore.spec.backbones import USUAL_PARAMETERS, BackboneConfig
from ddcore.spec.cost import Cost, pools
from ddcore.spec.memory import parameter_bytes
from ddcore.spec.recipe import recipe_of
from ddcore.spec.work import DataSizes

OURS: dict[str, Any] = {"weights": "net", "network": {"name": "convnet", "width": 8}}
TIMM: dict[str, Any] = {"weights": "net", "timm": "resnet18"}
PROBE: dict[str, Any] = {"protocol": "linear_probe", "backbone": OURS}
CIFAR10 = DataSizes((3, 32, 32), (5000,) * 10, 10_000)


def job(backbone: Any = OURS, **fields: Any) -> Any:
    return {"dataset": "cifar10", "ipc": 2, "method": {"name": "linear_gradient", "backbone": backbone}, **fields}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (job({"weights": "net"}), r"/method/backbone: a backbone has neither `network` nor `timm`; give"),
        (job({**OURS, "timm": "resnet18"}), r"/method/backbone: a backbone has both `network` and `timm`; give"),
        (job({"timm": "resnet18"}), r"/method/backbone/weights: `weights` is required"),
        (job({**TIMM, "mean": (0.5,)}), r"`mean` and `std` belong together; give both of them, or neither"),
        (job({**TIMM, "mean": (0.5,) * 3, "std": (0.5,)}), r"`mean` has 3 values and `std` has 1; give one of each"),
        (job({**TIMM, "mean": (0.5,) * 2, "std": (0.5,) * 2}), r"`mean` has 2 values and `std` has 2; give"),
        (job({**TIMM, "mean": (0.5,), "std": (0,)}), r"`std` is \[0\.0\], but each value must be greater than 0"),
        (job({**TIMM, "size": 0}), r"/method/backbone/size: `size` is 0, but must be at least 1"),
        (job({**TIMM, "sha256": "abc"}), r"/method/backbone/sha256: `sha256` is 'abc'"),
        (job({**OURS, "network": {"name": "convnt"}}), r"/method/backbone/network: unknown network 'convnt'"),
        (job({**OURS, "weight": "net"}), r"unknown field `weight`, did you mean `weights`"),
        (
            job() | {"method": {"name": "linear_gradient", "backbone": OURS, "teacher": {"epochs": 9}}},
            r"/method/teacher: `teacher` is described, but `backbone` takes its place",
        ),
        (job(evaluation={"backbone": OURS}), r"/evaluation/backbone: .*but `trains` is 'network' .*'linear_probe', or"),
        (job(evaluation={**PROBE, "labels": "soft"}), r"/evaluation/backbone: `labels` is 'soft', which takes"),
        (job(evaluation={**PROBE, "labels": "online"}), r"/evaluation/backbone: `labels` is 'online', which takes"),
        (job(evaluation={**PROBE, "scores": ["label_robust"]}), r"/evaluation/backbone: `scores` has 'label_robust'"),
        (job(evaluation={**PROBE, "networks": ["lenet"]}), r"features of the backbone, but `networks` names `lenet`"),
        (job(evaluation={**PROBE, "teacher": {"epochs": 9}}), r"/evaluation/teacher: `teacher` is described"),
        (
            {"dataset": "cifar10", "ipc": 1, "method": "dm", "whitening": True, "evaluation": PROBE},
            r"/whitening: `backbone` sees pixels as it was trained to",
        ),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(body: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse(body)


def test_a_job_with_a_backbone_reads_back_as_it_was_written() -> None:
    spec = parse(job(evaluation=PROBE))
    assert parse(spec.model_dump(mode="json")) == spec


def test_no_network_is_trained_beside_a_backbone() -> None:
    spec = parse(job(evaluation={**PROBE, "controls": ["random", "herding", "best_coreset"]}))
    assert pools(spec) == {}
    assert not spec.evaluation.needs_teacher
    assert not spec.evaluation.keeps_teacher
    assert isinstance(spec.method, LinearGradientConfig)
    assert spec.method.frozen == spec.evaluation.frozen == spec.method.backbone
    assert spec.evaluation.architectures(ConvNetConfig()) == (spec.evaluation.backbone,)
    cost = Cost(spec, CIFAR10)
    assert {work.network.name for work in cost.works if work.phase == "evaluating"} == {"backbone"}
    looked_at = sum(work.passes for work in cost.works if work.phase == "evaluating")
    assert looked_at > 2 * CIFAR10.train - 0.2 * CIFAR10.train, "both rules look at every image through it"


def test_one_of_ours_costs_what_it_costs_at_the_size_that_it_sees() -> None:
    plain = BackboneConfig.model_validate({**OURS, "size": 64})
    inner = ConvNetConfig(width=8)
    assert plain.sees((3, 32, 32)) == (3, 64, 64)
    assert plain.flop((3, 32, 32), 10) == inner.flop((3, 64, 64), 10) > 3 * inner.flop((3, 32, 32), 10)
    assert parameter_bytes(plain, (3, 32, 32), 10) == parameter_bytes(inner, (3, 64, 64), 10)
    same = BackboneConfig.model_validate(OURS)
    assert same.sees((1, 28, 28)) == (1, 28, 28)
    assert same.flop((3, 32, 32), 10) == inner.flop((3, 32, 32), 10)
    resolved = plain.resolved((3, 32, 32)).network
    assert isinstance(resolved, ConvNetConfig)
    assert resolved.depth == 4
    colours = BackboneConfig.model_validate({**OURS, "mean": (0.5,) * 3, "std": (0.5,) * 3})
    assert colours.sees((1, 28, 28)) == (3, 28, 28)


def test_one_of_timm_costs_what_the_rule_says() -> None:
    """Near what is known of ResNet-50 (25.6 million, 4.1e9 multiplications) and ViT-S/16 (22 million, 4.6e9) at 224."""
    for parameters, macs in ((25_557_032, 4.1e9), (22_050_664, 4.6e9)):
        config = BackboneConfig.model_validate({**TIMM, "parameters": parameters})
        found = config.flop((3, 32, 32), 10) / 2
        assert found == pytest.approx(parameters * (224 / 16) ** 2, rel=1e-3)
        assert macs / 1.3 < found < 1.3 * macs
        assert parameter_bytes(config, (3, 32, 32), 10) == pytest.approx(4 * parameters, rel=1e-3)
    half = BackboneConfig.model_validate({**TIMM, "parameters": 25_557_032, "size": 112})
    assert half.flop((3, 32, 32), 10) == pytest.approx(2 * 25_557_032 * 49, rel=1e-3)
    unknown = BackboneConfig.model_validate(TIMM)
    assert parameter_bytes(unknown, (3, 32, 32), 10) == pytest.approx(4 * USUAL_PARAMETERS, rel=1e-3)


def test_memory_is_that_of_the_images_as_they_are_seen_and_of_the_weights() -> None:
    """A class has 20 views. At 224 they are a group of their own; at 32 the views of all 10 classes fit together."""
    together = []
    for size in (32, 224):
        spec = parse(job({**TIMM, "parameters": 1_000_000, "size": size}))
        (load,) = spec.method.loads(spec, CIFAR10)
        real, views = spec.method.batches(spec, load)
        assert (real.derivatives, views.derivatives) == (0, 1)
        together.append((real.images, views.images))
        kept = 4 * views.images * 4000 * 1000 * (size / 224) ** 2
        assert kept < views.bytes((3, 32, 32), 10) < 1.3 * kept + 6 * 4 * 1_000_000
    assert together == [(200, 200), (8, 20)]

    def peak(parameters: int) -> int:
        return Cost(parse(job({**TIMM, "parameters": parameters})), CIFAR10).peak_bytes

    assert peak(600_000_000) - peak(500_000_000) > 4 * 100_000_000


def test_recipes_are_told_apart_by_the_content_of_the_file() -> None:
    def key(**fields: Any) -> str:
        spec = parse(job(evaluation={**PROBE, "backbone": {**OURS, **fields}}))
        return recipe_of(spec.model_dump(mode="json"), spec.facts).key

    first, second = "a" * 64, "b" * 64
    assert key(sha256=first) == key(sha256=first, weights="copy", parameters=7) != key(sha256=second)
    assert key() != key(weights="copy") != key(sha256=first)
    assert key(sha256=first) != key(sha256=first, size=64)
    spec = parse(job(evaluation={**PROBE, "backbone": TIMM}))
    assert recipe_of(spec.model_dump(mode="json"), spec.facts).words.startswith("backbone resnet18, linear classifier")

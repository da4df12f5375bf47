import pytest

from ddcore.spec import DATASETS, CAFEConfig, GradientMatchingConfig, SpecError, all_presets, parse

PROMISED = [
    "paper/dm-cifar10-ipc1", "paper/dm-cifar10-ipc10", "paper/dm-cifar10-ipc50",
    "paper/dm-mnist-ipc1", "paper/dm-mnist-ipc10", "quick/dm-digits", "quick/dm-mim-cmi-digits",
    "quick/dc-digits", "quick/dsa-digits", "quick/herding-digits", "quick/cafe-digits",
    *(f"paper/{method}-{dataset}-ipc{ipc}" for method in ("cafe", "cafe_dsa")
      for dataset in ("mnist", "fashion_mnist", "svhn", "cifar10", "cifar100") for ipc in (1, 10, 50)),
    *(f"paper/{method}-{dataset}-ipc{ipc}" for method in ("dc", "dsa")
      for dataset in ("mnist", "fashion_mnist", "svhn", "cifar10", "cifar100") for ipc in (1, 10, 50)
      if (method, dataset, ipc) != ("dc", "cifar100", 50)),
]  # fmt: skip


def test_promised_presets_exist() -> None:
    assert set(PROMISED) <= set(all_presets())


@pytest.mark.parametrize("name", sorted(all_presets()))
def test_preset_is_a_valid_job_with_a_source(name: str) -> None:
    preset = all_presets()[name]
    spec = parse({"preset": name})
    assert spec.dataset in DATASETS
    assert preset.title
    assert preset.citation
    if name.startswith("paper/"):
        assert preset.expected is not None
        assert spec.dataset in name
        assert name.endswith(f"ipc{spec.ipc}")


def test_paper_presets_hold_the_published_setting() -> None:
    spec = parse({"preset": "paper/dm-mnist-ipc10"})
    assert spec.method.model_dump() == {
        "name": "dm", "iterations": 20_000, "lr_img": 1.0, "momentum": 0.5, "batch_real": 256,
    }  # fmt: skip
    assert spec.augmentation == "color_crop_cutout_scale_rotate"
    assert (spec.evaluation.epochs, spec.evaluation.lr, spec.evaluation.batch_size) == (1000, 0.01, 256)


@pytest.mark.parametrize("name", [name for name in PROMISED if name.startswith(("paper/dc", "paper/dsa"))])
def test_gradient_matching_presets_are_1001_networks_with_the_published_loops(name: str) -> None:
    spec = parse({"preset": name})
    assert isinstance(spec.method, GradientMatchingConfig)
    loops = {1: (1, 1), 10: (10, 50), 50: (50, 10)}[spec.ipc]
    assert (spec.method.outer_loop, spec.method.inner_loop) == loops
    assert spec.method.iterations == 1001 * loops[0]
    assert (spec.method.lr_img, spec.method.momentum, spec.method.lr_net) == (0.1, 0.5, 0.01)
    if spec.method.name == "dc":
        assert (spec.init, spec.augmentation) == ("noise", "none")
        assert spec.evaluation.epochs == (1000 if spec.dataset == "mnist" else 300)
    else:
        assert (spec.init, spec.evaluation.epochs) == ("real", 1000)
        assert ("flip" in spec.augmentation) == (spec.dataset not in ("mnist", "svhn"))


@pytest.mark.parametrize("name", [name for name in PROMISED if name.startswith("paper/cafe")])
def test_cafe_presets_are_2001_networks_from_noise_with_the_released_setting(name: str) -> None:
    spec, released = parse({"preset": name}), CAFEConfig()
    assert spec.method == released
    assert isinstance(spec.method, CAFEConfig)
    assert (spec.method.networks, spec.method.halve_at) == (2001, (1200, 1600, 1800))
    assert (spec.method.lambda_1, spec.method.lambda_2, spec.method.weight_discrimination) == (0.04, 0.03, 0.01)
    assert spec.method.iterations == 2001 * spec.method.max_image_steps, "the number of networks decides"
    assert spec.init == "noise"
    if name.startswith("paper/cafe_dsa"):
        assert ("flip" in spec.augmentation) == (spec.dataset not in ("mnist", "svhn"))
        assert (spec.evaluation.augmentation, spec.evaluation.epochs) == (None, 1000)
    else:
        assert spec.augmentation == "none"
        assert spec.evaluation.epochs == (1000 if spec.dataset == "mnist" else 600)


def test_fields_override_a_preset_object_by_object() -> None:
    base = parse({"preset": "paper/dm-cifar10-ipc10"})
    spec = parse(
        {"preset": "paper/dm-cifar10-ipc10", "seed": 7, "method": {"iterations": 300}, "evaluation": {"epochs": 9}}
    )
    assert (spec.seed, spec.method.iterations) == (7, 300)
    assert spec.method.model_dump(exclude={"iterations"}) == base.method.model_dump(exclude={"iterations"})
    assert (spec.evaluation.epochs, spec.evaluation.repeats) == (9, base.evaluation.repeats)


def test_a_method_of_another_name_replaces_the_one_of_the_preset() -> None:
    assert parse({"preset": "paper/dm-cifar10-ipc10", "method": "random"}).method.model_dump() == {
        "name": "random", "iterations": 0,
    }  # fmt: skip


def test_regularisers_replace_those_of_the_preset() -> None:
    assert parse({"preset": "quick/dm-mim-cmi-digits", "regularizers": {}}).regularizers == ()


def test_a_wrong_override_is_explained() -> None:
    with pytest.raises(SpecError, match="/ipc: `ipc` is 0, but must be at least 1"):
        parse({"preset": "paper/dm-cifar10-ipc10", "ipc": 0})

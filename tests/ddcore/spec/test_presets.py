import pytest

from ddcore.spec import DATASETS, GradientMatchingConfig, QueueMatchingConfig, SpecError, all_presets, parse

PROMISED = [
    "paper/dm-cifar10-ipc1", "paper/dm-cifar10-ipc10", "paper/dm-cifar10-ipc50",
    "paper/dm-mnist-ipc1", "paper/dm-mnist-ipc10", "quick/dm-digits", "quick/dm-mim-cmi-digits",
    "quick/dc-digits", "quick/dsa-digits", "quick/herding-digits",
    *(f"paper/{method}-{dataset}-ipc{ipc}" for method in ("dc", "dsa")
      for dataset in ("mnist", "fashion_mnist", "svhn", "cifar10", "cifar100") for ipc in (1, 10, 50)
      if (method, dataset, ipc) != ("dc", "cifar100", 50)),
    "quick/idm-digits", "quick/bacon-digits",
    *(f"paper/{method}-{dataset}-ipc{ipc}" for method in ("idm", "bacon")
      for dataset in ("svhn", "cifar10", "cifar100") for ipc in (1, 10, 50)),
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
        "name": "dm", "iterations": 20_000, "lr_img": 1.0, "momentum": 0.5, "batch_real": 256, "distance": "mean",
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


@pytest.mark.parametrize("name", [name for name in PROMISED if name.startswith(("paper/idm", "paper/bacon"))])
def test_queue_matching_presets_hold_the_released_commands(name: str) -> None:
    spec = parse({"preset": name})
    method = spec.method
    assert isinstance(method, QueueMatchingConfig)
    assert method.batch_real == (5000 if spec.ipc == 1 else 256)
    assert method.grow_every == (5 if spec.ipc == 1 else 30)
    assert method.eval_interval == (500 if spec.ipc == 50 else 100)
    many = spec.dataset == "cifar100"
    assert method.ce_weight == (0.1 if spec.ipc == 50 or (many and spec.ipc == 10) else 0.5)
    steps = {("idm", 10): 50, ("bacon", 10): 50, ("idm", 50): 40, ("bacon", 50): 50}
    assert method.network_steps == (steps.get((method.name, spec.ipc), 10) if many else 10)
    assert (method.iterations, method.lr_img, method.momentum, method.networks_trained) == (20_000, 0.2, 0.5, 2)
    assert (method.queue_start, method.queue_size, method.batch_train, method.lr_net) == (3, 100, 256, 0.01)
    assert (spec.decoder.name, spec.images_per_class, spec.init) == ("mosaic", 4 * spec.ipc, "real")
    assert (spec.evaluation.epochs, spec.evaluation.repeats) == (1000, 5)
    assert "flip" in spec.augmentation


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

import pytest

from ddcore.spec import DATASETS, GradientMatchingConfig, SpecError, TrajectoryConfig, all_presets, parse

PROMISED = [
    "paper/dm-cifar10-ipc1", "paper/dm-cifar10-ipc10", "paper/dm-cifar10-ipc50",
    "paper/dm-mnist-ipc1", "paper/dm-mnist-ipc10", "quick/dm-digits", "quick/dm-mim-cmi-digits",
    "quick/dc-digits", "quick/dsa-digits", "quick/herding-digits",
    "quick/mtt-digits", "quick/tesla-digits", "quick/bptt-digits", "quick/mtt-mim-digits",
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


TRAJECTORIES = {
    # dataset, ipc: whitening, N, M, max_start, lr_img, lr_lr, alpha_0, batch_syn
    ("cifar10", 1): (True, 50, 2, 2, 1e2, 1e-7, 0.01, None),
    ("cifar10", 10): (True, 30, 2, 20, 1e2, 1e-5, 0.001, None),
    ("cifar10", 50): (False, 30, 2, 40, 1e3, 1e-5, 0.001, None),
    ("cifar100", 1): (True, 20, 3, 20, 1e3, 1e-5, 0.01, None),
    ("cifar100", 10): (False, 20, 2, 20, 1e3, 1e-5, 0.01, None),
    ("cifar100", 50): (True, 80, 2, 40, 1e3, 1e-5, 0.01, 125),
}


def trajectory(name: str) -> tuple[object, ...]:
    spec = parse({"preset": name})
    m = spec.method
    assert isinstance(m, TrajectoryConfig)
    return (
        spec.whitening, m.student_steps, m.expert_epochs, m.max_start, m.lr_img, m.lr_lr, m.lr_init, m.batch_syn,
    )  # fmt: skip


@pytest.mark.parametrize(("dataset", "ipc"), list(TRAJECTORIES))
def test_trajectory_matching_presets_hold_the_published_settings(dataset: str, ipc: int) -> None:
    row = TRAJECTORIES[dataset, ipc]
    assert trajectory(f"paper/mtt-{dataset}-ipc{ipc}") == row
    first = (True, 50, 2, 5, 1e3, 1e-7, 0.01, None)
    assert trajectory(f"paper/tesla-{dataset}-ipc{ipc}") == (first if (dataset, ipc) == ("cifar10", 1) else row)
    for name, iterations, repeats in (("mtt", 5000, 5), ("tesla", 10_000, 3)):
        spec = parse({"preset": f"paper/{name}-{dataset}-ipc{ipc}"})
        assert (spec.method.iterations, spec.evaluation.repeats, spec.evaluation.epochs) == (iterations, repeats, 1000)


def test_terms_beside_trajectory_matching_change_nothing_else() -> None:
    pairs = [name for name in all_presets() if name.startswith(("paper/mtt+mim", "paper/mtt+cmi"))]
    assert len(pairs) == 9
    for name in pairs:
        alone, beside = (parse({"preset": p}) for p in (name.replace("+mim", "").replace("+cmi", ""), name))
        assert beside.model_copy(update={"regularizers": ()}) == alone
        assert [r.name for r in beside.regularizers] == [name[10:13]]


def test_memories_hold_as_many_mixtures_as_their_budget() -> None:
    found = {
        (spec.dataset, spec.ipc): spec.images_per_class
        for spec in (parse({"preset": name}) for name in all_presets() if name.startswith("paper/bptt+addressed"))
    }
    assert found == {("cifar10", 1): 115, ("cifar10", 10): 163, ("cifar100", 1): 40, ("cifar100", 10): 232}

"""What may be learned in stages, and how steps and work are counted."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ddcore.spec import METHODS, SpecError, parse
from ddcore.spec.work import DataSizes
from tests.ddcore.staging import BASES, MTT, method_fields

STAGED = {"dataset": "digits", "ipc": 6}


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"stages": 4}, r"/method/stages: `stages` is 4, which does not divide `ipc` = 6; choose one of 1, 2, 3, 6, "),
        ({"sizes": [3, 2]}, r"/method/sizes: .* 5 stored images of each class, but `ipc` is 6; let them agree"),
        ({"sizes": [3, 2, 1]}, r"/method/sizes: `sizes` is \[3, 2, 1\], but there are 2 `stages`"),
        ({"sizes": [6, 0]}, r"give each at least one image of each class"),
        ({"base": "dm"}, r"/method/base: `dm` cannot be learned in stages, .* use one of .*idc.*mtt"),
        ({"base": "seqmatch"}, r"/method/base: `seqmatch` cannot be learned in stages"),
        ({"base": "mt"}, r"/method/base: unknown method 'mt', did you mean 'mtt'"),
        ({"base": 3}, r"/method/base: a method is given by its name"),
        ({"base": {"name": "mtt", "lr_imgs": 1}}, r"/method/base/lr_imgs: unknown field `lr_imgs`, did you mean `lr_i"),
        ({"base": {"name": "idc", "lr_img": 0}}, r"/method/base/lr_img: `lr_img` is 0, but must be greater than 0"),
        ({"base": {"name": "mtt", "experts": {"epochs": 1}}}, r"/method/base/experts/epochs: experts of 1 epochs are"),
        ({"base": {"name": "tesla", "labels": "soft"}}, r"/method/base/labels: .* would not keep the labels"),
        ({"iterations": 7}, r"/method/iterations: `iterations` is 7, which 2 stages cannot share .* multiple of 2"),
        (
            {"iterations": 8, "base": {"name": "mtt", "iterations": 3}},
            r"/method/iterations: .* 2 stages of `base.iterations` = 3 steps are 6; give one of the two",
        ),
        ({"stages": 0}, r"/method/stages: `stages` is 0, but must be at least 1"),
        ({"pool": 0}, r"/method/pool: `pool` is 0, but must be at least 1"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_input_is_refused_by_name(fields: dict[str, Any], detail: str) -> None:
    with pytest.raises(SpecError, match=detail):
        parse({**STAGED, "method": {"name": "pdd", **fields}})


def test_a_mosaic_cut_by_changing_factors_cannot_be_frozen() -> None:
    job = {"dataset": "digits", "ipc": 4, "method": method_fields("idc", 2)}
    with pytest.raises(SpecError, match=r"/decoder/scales: .* earlier stages would not stay as they are"):
        parse({**job, "decoder": {"name": "mosaic", "factor": 3, "scales": "bound"}})


def test_either_count_of_steps_is_enough() -> None:
    def counts(**fields: Any) -> tuple[int, int]:
        method = parse({**STAGED, "method": {"name": "seqmatch", "stages": 3, **fields}}).method
        return method.iterations, method.matcher.iterations

    assert counts(iterations=30) == (30, 10)
    assert counts(base={"name": "idc", "iterations": 20}) == (60, 20)
    assert counts(base={"name": "idc", "iterations": 20}, iterations=60) == (60, 20)
    assert counts() == (15_000, 5000)
    assert counts(base="tesla") == (30_000, 10_000)


def test_terms_that_need_several_images_need_them_in_the_first_stage() -> None:
    job = {"dataset": "digits", "method": {"name": "pdd", "stages": 3}, "regularizers": {"cmi": 1.0}}
    parse({**job, "ipc": 6})
    with pytest.raises(SpecError, match=r"/regularizers/0: .* use `ipc` 6 or more or fewer `method.stages`"):
        parse({**job, "ipc": 3})


def test_every_base_that_says_so_can_be_staged_and_no_other() -> None:
    assert {name for name, config in METHODS.items() if config.stageable} == set(BASES)


def test_work_grows_with_the_stages() -> None:
    """Experts of every stage, and the trainings between: 3 passes a training image of 1 and 2 thirds of the set."""
    job = {"dataset": "digits", "ipc": 6, "method": {"name": "pdd", "stages": 3, "epochs": 9, "base": MTT}}
    data = DataSizes((1, 8, 8), (100,) * 10, 100)
    spec = parse(job)
    real = 3 * 2 * 3 * 1000
    assert spec.method.pretraining_passes(spec, data) == pytest.approx(3 * real + 3 * 2 * 10 * (20 + 40))
    assert spec.method.networks_pretrained == 2 + 2 * 2
    loads = list(spec.method.loads(spec, data))
    assert [(load.images, load.moving) for load in loads] == [(2, 2), (4, 2), (6, 2)]
    assert all(math.isclose(spec.method.image_passes(load), 12 * 3 * 20) for load in loads)
    staged = parse({**job, "method": {"name": "pdd", "stages": 3, "base": "idc"}})
    passes = [staged.method.image_passes(load) for load in staged.method.loads(staged, data)]
    views, real = 4, 3 * 10 * 64
    assert passes == [real + 10 * views * (9 * 2 + 3 * frozen) for frozen in (0, 2, 4)]

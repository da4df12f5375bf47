"""Images by their difficulty, and the experts that see a part of them in each epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from ddcore.nets import build
from ddcore.pretrained.difficulty import Curriculum
from ddcore.pretrained.experts import Experts
from ddcore.runtime.context import Run
from ddcore.spec import CurriculumConfig, ExpertsConfig, TeacherConfig
from ddcore.training import trainer

SCORERS: dict[str, Any] = {"network": {"name": "convnet", "width": 4}, "epochs": 1, "pool": 3}
CURRICULUM = CurriculumConfig(
    initial=0.5, added_by=1, first_removal=2, second_removal=3, scorers=TeacherConfig.model_validate(SCORERS)
)
EXPERTS = ExpertsConfig(count=2, lr=0.05, batch_size=24)
Make = Callable[..., Run]


def test_images_of_a_class_are_in_the_order_of_the_mean_error_of_the_networks(make_run: Make) -> None:
    run = make_run()
    curriculum = Curriculum(CURRICULUM, run)
    curriculum.prepare()
    images, labels = run.dataset.normalize(run.dataset.train.images), run.dataset.train.labels
    errors = []
    for index in range(3):
        network = build(CURRICULUM.scorers.network, run.dataset.shape, 3).eval()
        network.load_state_dict(curriculum._scorers[index])
        with torch.no_grad():
            errors.append((network(images).softmax(dim=1) - F.one_hot(labels, 3)).double().norm(dim=1))
    mean = torch.stack(errors).mean(dim=0)
    for label, rows in enumerate(curriculum.by_difficulty):
        assert sorted(rows.tolist()) == (labels == label).nonzero().flatten().tolist()
        assert bool((mean[rows].diff() > -1e-6).all())
    easiest = torch.cat([rows[:12] for rows in curriculum.by_difficulty])
    assert torch.equal(curriculum.rows(0), easiest), "half of 24 images of each class"
    assert len(curriculum.rows(1)) == len(curriculum.rows(2)) == 72
    hardest = torch.cat([rows[2:] for rows in curriculum.by_difficulty])
    assert torch.equal(curriculum.rows(3), hardest), "without a tenth"
    assert torch.equal(curriculum.rows(4), torch.cat([rows[4:] for rows in curriculum.by_difficulty]))


def test_every_epoch_of_an_expert_sees_its_part(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run, seen = make_run(), list[torch.Tensor]()
    experts = Experts(EXPERTS, 5, run, curriculum=CURRICULUM)
    curriculum = experts._curriculum
    assert curriculum is not None
    curriculum.prepare()
    train = trainer.train

    def watched(functional: Any, params: Any, images: Any, labels: Any, *arguments: Any, **options: Any) -> Any:
        seen.append(images)
        assert len(images) == len(labels)
        return train(functional, params, images, labels, *arguments, **options)

    monkeypatch.setattr(trainer, "train", watched)
    experts.prepare()
    images = run.dataset.train.images
    assert [len(part) for part in seen] == [36, 72, 72, 66, 60] * 2
    for epoch, part in enumerate(seen[:5]):
        assert torch.equal(part, images[curriculum.rows(epoch)])


def test_experts_of_a_curriculum_are_filed_for_themselves_and_found_again(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    run.cache = tmp_path
    plain, taught = Experts(EXPERTS, 2, run), Experts(EXPERTS, 2, run, curriculum=CURRICULUM)
    assert plain.digest() != taught.digest()
    other = Experts(EXPERTS, 2, run, curriculum=CURRICULUM.model_copy(update={"initial": 0.6}))
    assert other.digest() != taught.digest()
    taught.prepare()
    monkeypatch.setattr(trainer, "train", lambda *_, **__: pytest.fail("trained again"))
    again = make_run()
    again.cache = tmp_path
    found = Experts(EXPERTS, 2, again, curriculum=CURRICULUM)
    found.prepare()
    for name, value in taught.snapshot(1, 2).items():
        assert torch.equal(found.snapshot(1, 2)[name], value)
